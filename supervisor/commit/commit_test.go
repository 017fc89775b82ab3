// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestCommit commits what a call did, compares the workspace with what the
// call saw, and undoes it, and undoes that.
func TestCommit(t *testing.T) {
	for name, c := range map[string]struct {
		before, call func(t *testing.T, root string)
	}{
		"nothing": {func(t *testing.T, root string) { write(t, root+"/a", "a") }, func(t *testing.T, root string) {}},
		"files": {func(t *testing.T, root string) {
			write(t, root+"/stays", "stays")
			write(t, root+"/goes", "goes")
			write(t, root+"/changes", "changes")
		}, func(t *testing.T, root string) {
			write(t, root+"/new", "new")
			must(t, os.Remove(root+"/goes"))
			write(t, root+"/changes", "has changed")
			must(t, os.Chmod(root+"/stays", 0o600))
		}},
		"trees": {func(t *testing.T, root string) {
			mkdirs(t, root, "old/deep/er", "other")
			write(t, root+"/old/deep/file", "1")
			write(t, root+"/old/deep/er/file", "2")
		}, func(t *testing.T, root string) {
			must(t, os.RemoveAll(root+"/old"))
			mkdirs(t, root, "new/deep/er")
			write(t, root+"/new/deep/er/file", "3")
			must(t, os.Chmod(root+"/new/deep/er", 0o555))
			must(t, os.Link(root+"/new/deep/er/file", root+"/new/other"))
			must(t, os.Symlink("../anywhere", root+"/new/link"))
			must(t, os.Lchown(root+"/new/link", owner.UID, owner.GID))
		}},
		"types": {func(t *testing.T, root string) {
			mkdirs(t, root, "dir/in")
			write(t, root+"/dir/in/file", "1")
			write(t, root+"/file", "2")
			write(t, root+"/link", "2")
		}, func(t *testing.T, root string) {
			must(t, os.RemoveAll(root+"/dir"))
			write(t, root+"/dir", "a file now")
			must(t, os.Remove(root+"/file"))
			mkdirs(t, root, "file/in")
			write(t, root+"/file/in/it", "deep")
			must(t, os.Remove(root+"/link"))
			must(t, os.Symlink("target", root+"/link"))
			must(t, os.Lchown(root+"/link", owner.UID, owner.GID))
		}},
		"swap": {func(t *testing.T, root string) {
			mkdirs(t, root, "a", "b")
			write(t, root+"/a/1", "1")
			write(t, root+"/b/2", "2")
		}, func(t *testing.T, root string) {
			must(t, os.Rename(root+"/a", root+"/x"))
			must(t, os.Rename(root+"/b", root+"/a"))
			must(t, os.Rename(root+"/x", root+"/b"))
			write(t, root+"/b/1", "changed too")
			write(t, root+"/a/3", "new")
			must(t, os.Remove(root+"/a/2"))
		}},
		"nested": {func(t *testing.T, root string) {
			mkdirs(t, root, "a/b/c/d", "gone/kept")
			write(t, root+"/a/b/c/d/file", "1")
			write(t, root+"/a/b/file", "2")
			write(t, root+"/gone/kept/file", "3")
			write(t, root+"/gone/file", "4")
		}, func(t *testing.T, root string) {
			mkdirs(t, root, "new/in")
			must(t, os.Rename(root+"/a/b/c/d", root+"/new/in/d"))
			must(t, os.Rename(root+"/a/b", root+"/b"))
			must(t, os.Rename(root+"/a", root+"/b/c/a"))
			must(t, os.Rename(root+"/gone/kept", root+"/b/kept"))
			must(t, os.RemoveAll(root+"/gone"))
			write(t, root+"/b/file", "changed")
			write(t, root+"/b/kept/more", "more")
			must(t, os.Chmod(root+"/new/in", 0o500))
			must(t, os.Chmod(root+"/b", 0o711))
		}},
		"closed": {func(t *testing.T, root string) {
			mkdirs(t, root, "shut/in", "none", "to")
			write(t, root+"/shut/in/file", "1")
			write(t, root+"/shut/file", "1")
			write(t, root+"/none/file", "2")
			must(t, os.Chmod(root+"/shut/in", 0o555))
			must(t, os.Chmod(root+"/shut", 0o500))
			must(t, os.Chmod(root+"/none", 0))
			must(t, os.Chmod(root, 0o555))
		}, func(t *testing.T, root string) {
			must(t, os.Rename(root+"/shut/in", root+"/to/in"))
			write(t, root+"/shut/file", "other")
			write(t, root+"/none/more", "more")
			must(t, os.Remove(root+"/none/file"))
		}},
		"attributes": {func(t *testing.T, root string) {
			mkdirs(t, root, "dir")
			write(t, root+"/file", "1")
			must(t, unix.Setxattr(root+"/file", "user.old", []byte("1"), 0))
			must(t, unix.Setxattr(root+"/dir", "user.old", []byte("1"), 0))
		}, func(t *testing.T, root string) {
			must(t, unix.Removexattr(root+"/file", "user.old"))
			must(t, unix.Setxattr(root+"/file", "user.new", []byte("a\x00b"), 0))
			must(t, unix.Setxattr(root+"/dir", "user.old", []byte("2"), 0))
			must(t, os.Chmod(root+"/dir", 0o700))
			write(t, root+"/more", "2")
			must(t, unix.Setxattr(root+"/more", "user.new", []byte("x"), 0))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			ws := newWorkspace(t, scratch(t))
			c.before(t, ws)
			before := picture(t, ws)
			var want map[string]string
			set, source := perform(t, ws, func(view string) {
				c.call(t, view+"/.")
				want = picture(t, view+"/.")
			})
			equal(t, picture(t, ws), before)
			dir := newDir(t)
			commitAll(t, order(t, ws, dir, set, source))
			equal(t, picture(t, ws), want)
			back, trash, err := Undo(context.Background(), dir, openDir(t, ws), nil)
			must(t, err)
			second := newDir(t)
			commitAll(t, order(t, ws, second, back, trash))
			equal(t, picture(t, ws), before)
			again, trash, err := Undo(context.Background(), second, openDir(t, ws), nil)
			must(t, err)
			commitAll(t, order(t, ws, newDir(t), again, trash))
			equal(t, picture(t, ws), want)
			if got, err := filepath.Glob(ws + "/.clawsup-*"); err != nil || len(got) > 0 {
				t.Errorf("left over: %v %v", got, err)
			}
		})
	}
}

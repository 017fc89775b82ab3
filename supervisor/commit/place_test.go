// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// mounted mounts a file system of a size, in MiB, over a directory until the
// test ends, and gives a workspace on it.
func mounted(t *testing.T, kind string, size int) string {
	t.Helper()
	dir := filepath.Join(scratch(t), "mount")
	must(t, os.Mkdir(dir, 0o755))
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
	}
	switch kind {
	case "tmpfs":
		must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=755", size)))
	default:
		image := dir + ".img"
		must(t, os.WriteFile(image, nil, 0o600))
		must(t, os.Truncate(image, int64(size)<<20))
		inode := "256"
		if kind == "ext3" { // has times of whole seconds, until 2038
			inode = "128"
		}
		run("mke2fs", "-q", "-F", "-t", kind, "-I", inode, "-m", "0", image)
		run("mount", "-o", "loop", image, dir)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
	})
	return newWorkspace(t, dir)
}

// TestOtherFileSystem has the workspace on another than the trash.
func TestOtherFileSystem(t *testing.T) {
	for _, kind := range []string{"tmpfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			ws := mounted(t, kind, 64)
			mkdirs(t, ws, "gone/deep", "moved")
			write(t, ws+"/gone/deep/1", "1")
			write(t, ws+"/gone/secret", "1")
			must(t, os.Chmod(ws+"/gone/secret", 0o200))
			must(t, os.Symlink("nowhere", ws+"/gone/link"))
			must(t, os.Lchown(ws+"/gone/link", owner.UID, owner.GID))
			must(t, os.Chmod(ws+"/gone/deep", 0o500))
			write(t, ws+"/moved/2", "2")
			write(t, ws+"/3", "3")
			write(t, ws+"/4", "4")
			before := picture(t, ws)
			var want map[string]string
			set, source := perform(t, ws, func(view string) {
				must(t, os.RemoveAll(view+"/gone"))
				must(t, os.Rename(view+"/moved", view+"/here"))
				write(t, view+"/3", "three")
				must(t, os.Chmod(view+"/4", 0o600))
				mkdirs(t, view, "new")
				write(t, view+"/new/5", "5")
				want = picture(t, view+"/.")
			})
			dir := newDir(t)
			root, err := os.Open(ws)
			must(t, err)
			defer root.Close()
			commitAll(t, Order{Set: set, Source: source, Root: root, Owner: owner, Dir: dir})
			equal(t, picture(t, ws), want)
			leftovers(t, ws)
			back, trash, err := Undo(context.Background(), dir, root, nil)
			must(t, err)
			commitAll(t, Order{Set: back, Source: trash, Root: root, Owner: owner, Dir: newDir(t)})
			equal(t, picture(t, ws), before)
		})
	}
}

// TestFull commits more than there is room for: nothing is applied, nothing is
// left, and after there is room it succeeds.
func TestFull(t *testing.T) {
	for _, kind := range []string{"tmpfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			ws := mounted(t, kind, 16)
			write(t, ws+"/ballast", strings.Repeat("b", 10<<20))
			write(t, ws+"/goes", "goes")
			tick(t, scratch(t))
			before := picture(t, ws)
			files := memory{}
			set := &changeset.Set{}
			for i := range 30 {
				name := fmt.Sprintf("%02d", i)
				files[name] = strings.Repeat(name, 1<<18)
				set.Entries = append(set.Entries, created(name, files[name]).Entries...)
			}
			var st unix.Stat_t
			must(t, unix.Lstat(ws+"/goes", &st))
			set.Entries = append(set.Entries, changeset.Entry{Kind: changeset.Deleted, Path: "goes", Before: changeset.State{
				Type: changeset.Regular, Size: st.Size, Modified: st.Mtim.Nano(), Mode: 0o644, Identity: identityOf(&st)}})
			root, err := os.Open(ws)
			must(t, err)
			defer root.Close()
			o := Order{Set: set, Source: files, Root: root, Owner: owner, Dir: newDir(t)}
			if r, err := Commit(context.Background(), o); !errors.Is(err, unix.ENOSPC) {
				t.Fatalf("committed: %+v %v", r, err)
			}
			equal(t, picture(t, ws), before)
			must(t, os.Remove(ws+"/ballast"))
			o.Set.Entries = append(o.Set.Entries[:8:8], o.Set.Entries[30])
			commitAll(t, o)
		})
	}
}

func TestReadOnly(t *testing.T) {
	ws := mounted(t, "tmpfs", 8)
	dir := filepath.Dir(ws)
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	root, err := os.Open(ws)
	must(t, err)
	defer root.Close()
	o := Order{Set: created("f", "x"), Source: memory{"f": "x"}, Root: root, Owner: owner, Dir: newDir(t)}
	if r, err := Commit(context.Background(), o); !errors.Is(err, unix.EROFS) {
		t.Fatalf("committed: %+v %v", r, err)
	}
	equal(t, picture(t, ws), map[string]string{})
}

// TestMountPoint has something mounted in the workspace: it isn't entered.
func TestMountPoint(t *testing.T) {
	ws := newWorkspace(t, scratch(t))
	mkdirs(t, ws, "in")
	must(t, unix.Mount("tmpfs", ws+"/in", "tmpfs", 0, "mode=777"))
	defer func() { must(t, unix.Unmount(ws+"/in", 0)) }()
	o := order(t, ws, newDir(t), created("in/f", "x"), memory{"in/f": "x"})
	r, err := Commit(context.Background(), o)
	must(t, err)
	if len(r.Conflicts) != 1 {
		t.Errorf("report: %+v", r)
	}
	equal(t, picture(t, ws+"/in"), map[string]string{})
}

// TestRootIsTheOwner commits with root's rights, without capabilities.
func TestRootIsTheOwner(t *testing.T) {
	ws := newWorkspace(t, scratch(t))
	must(t, os.Chown(ws, 0, 0))
	mkdirs(t, ws, "theirs")
	must(t, os.Chmod(ws+"/theirs", 0o755))
	set := &changeset.Set{Entries: append(created("f", "x").Entries, created("theirs/f", "x").Entries...)}
	o := order(t, ws, newDir(t), set, memory{"f": "x", "theirs/f": "x"})
	o.Owner.UID, o.Owner.GID = 0, 0
	r, err := Commit(context.Background(), o)
	must(t, err)
	if r.Applied != 1 || len(r.Failed) != 1 || r.Failed[0].Path != raw.String("theirs/f") {
		t.Errorf("report: %+v", r)
	}
}

// TestImproperPaths has a set that leads out of the workspace.
func TestImproperPaths(t *testing.T) {
	ws := newWorkspace(t, scratch(t))
	must(t, os.Chmod(filepath.Dir(ws), 0o777))
	for _, path := range []string{"", "/f", "../f", "a/../../f", "f/", "a//f", ".", "f\x00"} {
		r, err := Commit(context.Background(), order(t, ws, newDir(t), created(path, "x"), memory{path: "x"}))
		if err == nil {
			t.Errorf("%q: %+v", path, r)
		}
	}
	if _, err := os.Lstat(filepath.Dir(ws) + "/f"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("outside: %v", err)
	}
	equal(t, picture(t, ws), map[string]string{})
}

func TestCompare(t *testing.T) {
	order := []string{"a", "a/b", "a/b/c", "a\x01", "a!", "aa", "b"}
	for i, a := range order {
		for j, b := range order {
			if got := compare(a, b); (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("compare %q, %q: %d", a, b, got)
			}
		}
	}
}

// TestManyDirectories deletes more directories than are held open.
func TestManyDirectories(t *testing.T) {
	ws := newWorkspace(t, scratch(t))
	for i := range 2*maxHeld + 10 {
		mkdirs(t, ws, fmt.Sprintf("%d/in", i))
		write(t, fmt.Sprintf("%s/%d/in/file", ws, i), "x")
	}
	before := picture(t, ws)
	set, source := perform(t, ws, func(view string) {
		for i := range 2*maxHeld + 10 {
			must(t, os.RemoveAll(fmt.Sprintf("%s/%d", view, i)))
		}
	})
	dir := newDir(t)
	commitAll(t, order(t, ws, dir, set, source))
	equal(t, picture(t, ws), map[string]string{})
	back, trash, err := Undo(t.Context(), dir, openDir(t, ws), nil)
	must(t, err)
	commitAll(t, order(t, ws, newDir(t), back, trash))
	equal(t, picture(t, ws), before)
}

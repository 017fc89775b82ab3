// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/clawsup/clawsup/supervisor/changeset"
)

// TestForeign deletes and replaces files of others, as the owner of their
// directory may. They come back as theirs.
func TestForeign(t *testing.T) {
	ws := newWorkspace(t, scratch(t))
	mkdirs(t, ws, "d")
	for _, name := range []string{"1", "d/2", "3"} {
		write(t, ws+"/"+name, name)
		must(t, os.Chown(ws+"/"+name, 1, 2))
	}
	must(t, os.Chmod(ws+"/1", os.ModeSetuid|0o755))
	before := picture(t, ws)
	set, source := perform(t, ws, func(view string) {
		must(t, os.Remove(view+"/1"))
		must(t, os.RemoveAll(view+"/d"))
		must(t, os.Remove(view+"/3"))
		write(t, view+"/3", "mine")
	})
	dir := newDir(t)
	commitAll(t, order(t, ws, dir, set, source))
	for path, text := range picture(t, ws) {
		if text[7:18] != "61234:61235" {
			t.Errorf("%s: %s", path, text)
		}
	}
	back, trash, err := Undo(context.Background(), dir, openDir(t, ws), nil)
	must(t, err)
	commitAll(t, order(t, ws, newDir(t), back, trash))
	equal(t, picture(t, ws), before)
}

// TestUndoInParts brings back one thing, and then the rest.
func TestUndoInParts(t *testing.T) {
	ws := newWorkspace(t, scratch(t))
	mkdirs(t, ws, "d")
	for _, name := range []string{"1", "2", "d/3", "d/4"} {
		write(t, ws+"/"+name, name)
	}
	before := picture(t, ws)
	set, source := perform(t, ws, func(view string) {
		must(t, os.Remove(view+"/1"))
		write(t, view+"/2", "two")
		must(t, os.RemoveAll(view+"/d"))
	})
	dir := newDir(t)
	commitAll(t, order(t, ws, dir, set, source))
	for _, only := range []func(string) bool{
		func(path string) bool { return path == "1" },
		func(path string) bool { return path == "d/3" },
		nil,
	} {
		back, trash, err := Undo(context.Background(), dir, openDir(t, ws), only)
		must(t, err)
		commitAll(t, order(t, ws, newDir(t), back, trash))
	}
	equal(t, picture(t, ws), before)
	list, err := Trash(dir)
	must(t, err)
	for _, l := range list {
		if !l.Gone {
			t.Errorf("the trash has %+v still", l)
		}
	}
}

// TestForgedTrash changes a file in the trash, as one can who had it open when
// it was deleted. It is not brought back as what it was.
func TestForgedTrash(t *testing.T) {
	ws := newWorkspace(t, scratch(t))
	write(t, ws+"/1", "true")
	f, err := os.OpenFile(ws+"/1", os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	set, source := perform(t, ws, func(view string) { must(t, os.Remove(view+"/1")) })
	dir := newDir(t)
	commitAll(t, order(t, ws, dir, set, source))
	_, err = f.WriteAt([]byte("fake"), 0)
	must(t, err)
	back, trash, err := Undo(context.Background(), dir, openDir(t, ws), nil)
	must(t, err)
	r, err := Commit(context.Background(), order(t, ws, newDir(t), back, trash))
	must(t, err)
	if r.Applied != 0 || len(r.Failed) != 1 || r.Failed[0].Kind != changeset.Created {
		t.Errorf("report: %+v", r)
	}
	equal(t, picture(t, ws), map[string]string{})
}

// TestCoarseTimes takes back what was given times that the file system can't
// have: a call must not make what it did irrevocable by that.
func TestCoarseTimes(t *testing.T) {
	ws := newWorkspace(t, mounted(t, "ext3", 16))
	write(t, ws+"/1", "1")
	before := picture(t, ws)
	set, source := perform(t, ws, func(view string) {
		for _, name := range []string{"1", "2", "3"} {
			write(t, view+"/"+name, "new")
		}
		must(t, os.Symlink("1", view+"/4"))
		future := time.Date(2222, 2, 2, 2, 2, 2, 2, time.UTC)
		must(t, os.Chtimes(view+"/3", future, future))
	})
	set.Entries[0].Notes &^= changeset.Conflict // it was written in this second
	dir := newDir(t)
	commitAll(t, order(t, ws, dir, set, source))
	back, trash, err := Undo(context.Background(), dir, openDir(t, ws), nil)
	must(t, err)
	commitAll(t, order(t, ws, newDir(t), back, trash))
	equal(t, picture(t, ws), before)
}

// TestHoles brings back a file of so many holes that nobody read it, from a trash
// on the same file system and on another, without reading them then.
func TestHoles(t *testing.T) {
	const size = 1 << 43 // to read it takes hours
	for name, ws := range map[string]string{"rename": newWorkspace(t, scratch(t)), "copy": newWorkspace(t, mounted(t, "tmpfs", 8))} {
		t.Run(name, func(t *testing.T) {
			write(t, ws+"/image", "boot")
			must(t, os.Truncate(ws+"/image", size))
			set, source := perform(t, ws, func(view string) { must(t, os.Remove(view+"/image")) })
			if d := set.Entries[0].Before.Digest; d != "" {
				t.Fatalf("the digest is %s", d)
			}
			dir := newDir(t)
			commitAll(t, order(t, ws, dir, set, source))
			back, trash, err := Undo(context.Background(), dir, openDir(t, ws), nil)
			must(t, err)
			commitAll(t, order(t, ws, newDir(t), back, trash))
			f, err := os.Open(ws + "/image")
			must(t, err)
			defer f.Close()
			info, err := f.Stat()
			must(t, err)
			head := make([]byte, 8)
			if _, err := f.ReadAt(head, 0); err != nil || info.Size() != size || string(head) != "boot\x00\x00\x00\x00" {
				t.Errorf("%d bytes, %q, %v", info.Size(), head, err)
			}
		})
	}
}

// TestForgedHoles puts a stranger's file in the place of one in the trash that
// nobody read, by a link, as one could who had its directory open: root would
// copy it.
func TestForgedHoles(t *testing.T) {
	ws := newWorkspace(t, scratch(t))
	mkdirs(t, ws, "d")
	write(t, ws+"/d/1", "image")
	set, source := perform(t, ws, func(view string) { must(t, os.RemoveAll(view+"/d")) })
	set.Entries[1].Before.Digest = "" // as if there had been holes before it
	dir := newDir(t)
	commitAll(t, order(t, ws, dir, set, source))
	forged := dir + "/trash/0/1"
	must(t, os.Remove(forged))
	must(t, os.WriteFile(forged, []byte("token"), 0o600))
	must(t, os.Chown(forged, 4242, 4242))
	back, trash, err := Undo(context.Background(), dir, openDir(t, ws), nil)
	must(t, err)
	r, err := Commit(context.Background(), order(t, ws, newDir(t), back, trash))
	must(t, err)
	if len(r.Failed) != 1 || r.Failed[0].Path != "d/1" {
		t.Errorf("report: %+v", r)
	}
	for path := range picture(t, ws) {
		if path != "d" {
			t.Errorf("there is %s", path)
		}
	}
}

// TestHardLinks keeps names of one file together, new ones and those that come
// back.
func TestHardLinks(t *testing.T) {
	ws := newWorkspace(t, scratch(t))
	mkdirs(t, ws, "old")
	write(t, ws+"/old/1", "old")
	must(t, os.Link(ws+"/old/1", ws+"/2"))
	set, source := perform(t, ws, func(view string) {
		must(t, os.RemoveAll(view+"/old"))
		must(t, os.Remove(view+"/2"))
		mkdirs(t, view, "new")
		write(t, view+"/new/1", "new")
		must(t, os.Link(view+"/new/1", view+"/3"))
	})
	dir := newDir(t)
	commitAll(t, order(t, ws, dir, set, source))
	one := func(a, b string) {
		t.Helper()
		x, err := os.Lstat(ws + "/" + a)
		must(t, err)
		y, err := os.Lstat(ws + "/" + b)
		must(t, err)
		if !os.SameFile(x, y) {
			t.Errorf("%s and %s are two files", a, b)
		}
	}
	one("new/1", "3")
	back, trash, err := Undo(context.Background(), dir, openDir(t, ws), nil)
	must(t, err)
	commitAll(t, order(t, ws, newDir(t), back, trash))
	one("old/1", "2")
}

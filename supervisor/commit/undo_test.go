// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"context"
	"os"
	"testing"

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

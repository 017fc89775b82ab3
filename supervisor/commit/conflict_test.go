// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// all has the paths of a report's entries, by what became of them.
func paths(list []Left) []string {
	var out []string
	for _, l := range list {
		out = append(out, string(l.Path))
	}
	return slices.Compact(out)
}

// TestLeft refuses paths, or changes files of the workspace before the commit,
// and wants what depends on them, no more, to stay as it was.
func TestLeft(t *testing.T) {
	for name, c := range map[string]struct {
		before, call func(t *testing.T, root string)
		refuse       []string
		meddle       func(t *testing.T, ws string) // between call and commit
		refused      []string
		conflicts    []string
		want         []string // the tree's paths then
	}{
		"a created directory": {
			call: func(t *testing.T, root string) {
				mkdirs(t, root, "new/in")
				write(t, root+"/new/in/1", "1")
				write(t, root+"/other", "2")
			},
			refuse: []string{"new"}, refused: []string{"new", "new/in", "new/in/1"}, want: []string{"other"},
		},
		"a file in a created directory": {
			call: func(t *testing.T, root string) {
				mkdirs(t, root, "new")
				write(t, root+"/new/1", "1")
				write(t, root+"/new/2", "2")
			},
			refuse: []string{"new/1"}, refused: []string{"new/1"}, want: []string{"new", "new/2"},
		},
		"a rename": {
			before: func(t *testing.T, root string) {
				mkdirs(t, root, "old")
				write(t, root+"/old/1", "1")
			},
			call: func(t *testing.T, root string) {
				must(t, os.Rename(root+"/old", root+"/new"))
				write(t, root+"/new/2", "2")
				write(t, root+"/old", "a file")
			},
			refuse: []string{"new"}, refused: []string{"new", "new/2", "old"}, want: []string{"old", "old/1"},
		},
		"half of a swap": {
			before: func(t *testing.T, root string) { mkdirs(t, root, "a", "b"); write(t, root+"/a/1", "1") },
			call: func(t *testing.T, root string) {
				must(t, os.Rename(root+"/a", root+"/x"))
				must(t, os.Rename(root+"/b", root+"/a"))
				must(t, os.Rename(root+"/x", root+"/b"))
			},
			refuse: []string{"a"}, refused: []string{"a", "b"}, want: []string{"a", "a/1", "b"},
		},
		"a deletion deep in one": {
			before: func(t *testing.T, root string) {
				mkdirs(t, root, "d/e", "d/f")
				for _, n := range []string{"d/1", "d/e/2", "d/e/3", "d/f/4"} {
					write(t, root+"/"+n, n)
				}
			},
			call:   func(t *testing.T, root string) { must(t, os.RemoveAll(root+"/d")) },
			refuse: []string{"d/e/2"}, refused: []string{"d", "d/e", "d/e/2"}, want: []string{"d", "d/e", "d/e/2"},
		},
		"a deletion with something in its place": {
			before: func(t *testing.T, root string) { mkdirs(t, root, "d"); write(t, root+"/d/1", "1") },
			call: func(t *testing.T, root string) {
				must(t, os.RemoveAll(root+"/d"))
				write(t, root+"/d", "file")
			},
			refuse: []string{"d/1"}, refused: []string{"d", "d/1"}, want: []string{"d", "d/1"},
		},
		"a move out of a deleted directory": {
			before: func(t *testing.T, root string) { mkdirs(t, root, "d/e"); write(t, root+"/d/e/1", "1") },
			call: func(t *testing.T, root string) {
				must(t, os.Rename(root+"/d/e", root+"/e"))
				must(t, os.Remove(root+"/d"))
			},
			refuse: []string{"e"}, refused: []string{"d", "e"}, want: []string{"d", "d/e", "d/e/1"},
		},
		"the first of two names": {
			call: func(t *testing.T, root string) {
				write(t, root+"/a", "both")
				must(t, os.Link(root+"/a", root+"/b"))
				must(t, os.Link(root+"/a", root+"/c"))
			},
			refuse: []string{"a"}, refused: []string{"a"}, want: []string{"b", "c"},
		},
		"a file that was changed": {
			before:    func(t *testing.T, root string) { write(t, root+"/1", "1"); write(t, root+"/2", "2") },
			call:      func(t *testing.T, root string) { write(t, root+"/1", "x"); write(t, root+"/2", "y") },
			meddle:    func(t *testing.T, ws string) { write(t, ws+"/1", "mine") },
			conflicts: []string{"1"}, want: []string{"1", "2"},
		},
		"a file that came": {
			call:      func(t *testing.T, root string) { mkdirs(t, root, "d"); write(t, root+"/d/1", "x") },
			meddle:    func(t *testing.T, ws string) { write(t, ws+"/d", "mine") },
			conflicts: []string{"d", "d/1"}, want: []string{"d"},
		},
		"a file that came into a deleted directory": {
			before:    func(t *testing.T, root string) { mkdirs(t, root, "d"); write(t, root+"/d/1", "1") },
			call:      func(t *testing.T, root string) { must(t, os.RemoveAll(root+"/d")) },
			meddle:    func(t *testing.T, ws string) { write(t, ws+"/d/mine", "mine") },
			conflicts: []string{"d"}, want: []string{"d", "d/mine"},
		},
		"a directory that became a link": {
			before: func(t *testing.T, root string) { mkdirs(t, root, "d", "other"); write(t, root+"/d/1", "1") },
			call: func(t *testing.T, root string) {
				write(t, root+"/d/1", "x")
				write(t, root+"/d/2", "x")
			},
			meddle: func(t *testing.T, ws string) {
				must(t, os.Rename(ws+"/d", ws+"/was"))
				must(t, os.Symlink("other", ws+"/d"))
			},
			conflicts: []string{"d/1", "d/2"}, want: []string{"d", "other", "was", "was/1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			ws := newWorkspace(t, scratch(t))
			if c.before != nil {
				c.before(t, ws)
			}
			set, source := perform(t, ws, func(view string) { c.call(t, view) })
			if c.meddle != nil {
				c.meddle(t, ws)
			}
			before := picture(t, ws)
			o := order(t, ws, newDir(t), set, source)
			o.Refused = func(path string) bool { return slices.Contains(c.refuse, path) }
			r, err := Commit(context.Background(), o)
			must(t, err)
			if got := paths(r.Refused); !slices.Equal(got, c.refused) {
				t.Errorf("refused: %q, want %q", got, c.refused)
			}
			if got := paths(r.Conflicts); !slices.Equal(got, c.conflicts) {
				t.Errorf("conflicts: %q, want %q", got, c.conflicts)
			}
			if len(r.Failed) > 0 {
				t.Errorf("failed: %+v", r.Failed)
			}
			after := picture(t, ws)
			var got []string
			for path := range after {
				got = append(got, path)
			}
			slices.Sort(got)
			if !slices.Equal(got, c.want) {
				t.Errorf("the tree has %q, want %q", got, c.want)
			}
			for _, path := range append(c.refused, c.conflicts...) {
				if was, ok := before[path]; ok && after[path] != was {
					t.Errorf("%s was touched: %s, was %s", path, after[path], was)
				}
			}
			leftovers(t, ws)
			back, trash, err := Undo(context.Background(), o.Dir, o.Root, nil)
			must(t, err)
			commitAll(t, order(t, ws, newDir(t), back, trash))
			equal(t, picture(t, ws), before)
		})
	}
}

// one makes a set of one created file.
func created(path, content string) *changeset.Set {
	return &changeset.Set{Entries: []changeset.Entry{{Kind: changeset.Created, Path: raw.String(path), After: regular(content)}}}
}

func TestContentIsWhatWasJudged(t *testing.T) {
	ws := newWorkspace(t, scratch(t))
	set := created("f", "judged")
	r, err := Commit(context.Background(), order(t, ws, newDir(t), set, memory{"f": "forged"}))
	must(t, err)
	if r.Applied != 0 || len(r.Failed) != 1 || !strings.Contains(r.Failed[0].Why, "not what was judged") {
		t.Errorf("report: %+v", r)
	}
	equal(t, picture(t, ws), map[string]string{})
}

func TestPrivilegedBitsAreStripped(t *testing.T) {
	ws := newWorkspace(t, scratch(t))
	set := created("f", "x")
	set.Entries[0].After.Mode = 0o6755
	commitAll(t, order(t, ws, newDir(t), set, memory{"f": "x"}))
	if info, err := os.Lstat(ws + "/f"); err != nil || info.Mode() != 0o755 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
}

func TestDroppedNeverLands(t *testing.T) {
	ws := newWorkspace(t, scratch(t))
	set := &changeset.Set{Entries: []changeset.Entry{{Kind: changeset.Dropped, Path: "fifo", After: changeset.State{Type: changeset.Special, Mode: 0o644}},
		{Kind: changeset.Created, Path: "other", After: changeset.State{Type: changeset.Special, Mode: 0o644}}}}
	r, err := Commit(context.Background(), order(t, ws, newDir(t), set, memory{}))
	must(t, err)
	if r.Applied != 0 || len(r.Failed) != 1 || r.Failed[0].Path != "other" {
		t.Errorf("report: %+v", r)
	}
	equal(t, picture(t, ws), map[string]string{})
}

// TestRights has a workspace with files that its owner may not touch: they are
// Failed, with a reason, and stay.
func TestRights(t *testing.T) {
	ws := newWorkspace(t, scratch(t))
	mkdirs(t, ws, "theirs", "sticky")
	for _, name := range []string{"theirs/1", "sticky/1", "immutable"} {
		write(t, ws+"/"+name, name)
	}
	must(t, os.Chown(ws+"/theirs", 1, 1))
	must(t, os.Chown(ws+"/sticky", 1, 1))
	must(t, os.Chown(ws+"/sticky/1", 1, 1))
	must(t, os.Chmod(ws+"/sticky", os.ModeSticky|0o777))
	set, source := perform(t, ws, func(view string) {
		write(t, view+"/theirs/1", "x")
		must(t, os.Remove(view+"/sticky/1"))
		write(t, view+"/sticky/2", "mine")
		must(t, os.Remove(view+"/immutable"))
	})
	immutable(t, ws+"/immutable", true)
	defer immutable(t, ws+"/immutable", false)
	var st unix.Stat_t // chattr moved its ctime
	must(t, unix.Lstat(ws+"/immutable", &st))
	for i := range set.Entries {
		if e := &set.Entries[i]; e.Path == "immutable" {
			e.Before.Identity = identityOf(&st)
		}
	}
	r, err := Commit(context.Background(), order(t, ws, newDir(t), set, source))
	must(t, err)
	if got := paths(r.Failed); !slices.Equal(got, []string{"immutable", "sticky/1", "theirs/1"}) || r.Applied != 1 || len(r.Conflicts) > 0 {
		t.Errorf("report: %+v", r)
	}
	for _, l := range r.Failed {
		if !strings.Contains(l.Why, "permi") {
			t.Errorf("%s: %s", l.Path, l.Why)
		}
	}
	for _, name := range []string{"theirs/1", "sticky/1", "immutable"} {
		if b, err := os.ReadFile(ws + "/" + name); err != nil || string(b) != name {
			t.Errorf("%s: %q %v", name, b, err)
		}
	}
	leftovers(t, ws)
}

func immutable(t *testing.T, path string, on bool) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	flags := 0
	if on {
		flags = 0x10 // FS_IMMUTABLE_FL of linux/fs.h
	}
	must(t, unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags))
}

// TestLongNames goes beyond PATH_MAX with names of 255 bytes.
func TestLongNames(t *testing.T) {
	ws := newWorkspace(t, scratch(t))
	set := &changeset.Set{}
	path := ""
	for i := range 30 {
		path = join(path, strings.Repeat(string(rune('a'+i%26)), 255))
		set.Entries = append(set.Entries, changeset.Entry{Kind: changeset.Created, Path: raw.String(path), After: changeset.State{Type: changeset.Directory, Mode: 0o755, Modified: 1e18}})
	}
	file := path + "/\xff\n"
	e := created(file, "deep").Entries[0]
	set.Entries = append(set.Entries, e)
	dir := newDir(t)
	commitAll(t, order(t, ws, dir, set, memory{file: "deep"}))
	root := openDir(t, ws)
	p := newPlace(int(root.Fd()), ^uint32(0))
	defer p.forget()
	st, err := p.look(file, inode{})
	if err != nil || st.Size != 4 {
		t.Fatalf("size %d %v", st.Size, err)
	}
	p.forget()
	for range 2 { // undo, and undo of undo
		back, trash, err := Undo(context.Background(), dir, root, nil)
		must(t, err)
		dir = newDir(t)
		commitAll(t, order(t, ws, dir, back, trash))
	}
	if st, err := p.look(file, inode{}); err != nil || st.Size != 4 {
		t.Fatalf("size %d %v", st.Size, err)
	}
}

func TestSparseFilesStaySparse(t *testing.T) {
	ws := newWorkspace(t, scratch(t))
	const size = 64 << 20
	set, source := perform(t, ws, func(view string) {
		f, err := os.Create(view + "/sparse")
		must(t, err)
		must(t, f.Truncate(size))
		_, err = f.WriteAt([]byte("middle"), size/2)
		must(t, err)
		must(t, f.Chown(owner.UID, owner.GID))
		must(t, f.Close())
	})
	commitAll(t, order(t, ws, newDir(t), set, source))
	var st unix.Stat_t
	must(t, unix.Stat(ws+"/sparse", &st))
	if st.Size != size || st.Blocks > 64 {
		t.Errorf("%d bytes in %d blocks", st.Size, st.Blocks)
	}
}

// TestReplacedWorkspace commits to a directory that was removed, and to one
// whose path leads elsewhere now.
func TestReplacedWorkspace(t *testing.T) {
	dir := scratch(t)
	ws := newWorkspace(t, dir)
	o := order(t, ws, newDir(t), created("f", "x"), memory{"f": "x"})
	must(t, os.Rename(ws, dir+"/was"))
	other := newWorkspace(t, dir)
	commitAll(t, o)
	equal(t, picture(t, other), map[string]string{})
	if _, err := os.Stat(dir + "/was/f"); err != nil {
		t.Error(err)
	}
	o = order(t, other, newDir(t), created("f", "x"), memory{"f": "x"})
	must(t, os.Remove(other))
	if r, err := Commit(context.Background(), o); err == nil {
		t.Errorf("committed to a directory that is gone: %+v", r)
	}
}

// TestPartOfAnUndo brings back one file of a deleted tree.
func TestPartOfAnUndo(t *testing.T) {
	ws := newWorkspace(t, scratch(t))
	mkdirs(t, ws, "d/e")
	write(t, ws+"/d/1", "1")
	write(t, ws+"/d/e/2", "2")
	before := picture(t, ws)
	set, source := perform(t, ws, func(view string) {
		must(t, os.RemoveAll(view+"/d"))
		write(t, view+"/new", "new")
	})
	dir := newDir(t)
	commitAll(t, order(t, ws, dir, set, source))
	back, trash, err := Undo(context.Background(), dir, openDir(t, ws), func(path string) bool { return path == "d/e/2" })
	must(t, err)
	commitAll(t, order(t, ws, newDir(t), back, trash))
	delete(before, "d/1")
	before["new"] = describe(t, ws+"/new")
	equal(t, picture(t, ws), before)
}

// TestUndoOfWhatWasChanged finds what somebody wrote since.
func TestUndoOfWhatWasChanged(t *testing.T) {
	ws := newWorkspace(t, scratch(t))
	write(t, ws+"/1", "1")
	write(t, ws+"/2", "2")
	set, source := perform(t, ws, func(view string) {
		write(t, view+"/1", "one")
		write(t, view+"/2", "two")
	})
	dir := newDir(t)
	commitAll(t, order(t, ws, dir, set, source))
	tick(t, scratch(t))
	write(t, ws+"/1", "mine")
	back, trash, err := Undo(context.Background(), dir, openDir(t, ws), nil)
	must(t, err)
	if len(back.Entries) != 2 || !back.Entries[0].Notes.Has(changeset.Conflict) || back.Entries[1].Notes != 0 {
		t.Errorf("set: %+v", back.Entries)
	}
	r, err := Commit(context.Background(), order(t, ws, newDir(t), back, trash))
	must(t, err)
	if r.Applied != 1 || !slices.Equal(paths(r.Conflicts), []string{"1"}) {
		t.Errorf("report: %+v", r)
	}
	if b, err := os.ReadFile(ws + "/1"); err != nil || string(b) != "mine" {
		t.Errorf("%q %v", b, err)
	}
}

// TestTrash lists what is there, and empties it.
func TestTrash(t *testing.T) {
	ws := newWorkspace(t, scratch(t))
	mkdirs(t, ws, "d")
	write(t, ws+"/d/1", "123")
	write(t, ws+"/d/2", "45")
	write(t, ws+"/f", "6")
	set, source := perform(t, ws, func(view string) {
		must(t, os.RemoveAll(view+"/d"))
		write(t, view+"/f", "7")
	})
	dir := newDir(t)
	commitAll(t, order(t, ws, dir, set, source))
	want := []Trashed{{Path: "d", Type: changeset.Directory, Size: 5}, {Path: "f", Type: changeset.Regular, Size: 1}}
	got, err := Trash(dir)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("trash %+v %v, want %+v", got, err, want)
	}
	must(t, Empty(dir))
	must(t, Empty(dir))
	got, err = Trash(dir)
	want[0].Gone, want[1].Gone = true, true
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("trash %+v %v, want %+v", got, err, want)
	}
	if _, _, err := Undo(context.Background(), dir, openDir(t, ws), nil); !errors.Is(err, ErrEmptied) {
		t.Errorf("undo without a trash: %v", err)
	}
}

// TestCancelled ends before anything was applied, and leaves nothing.
func TestCancelled(t *testing.T) {
	ws := newWorkspace(t, scratch(t))
	ctx, cancel := context.WithCancel(context.Background())
	set := &changeset.Set{}
	files := memory{}
	for i := range 50 {
		name := fmt.Sprintf("%03d", i)
		files[name] = name
		set.Entries = append(set.Entries, created(name, name).Entries...)
	}
	dir := newDir(t)
	o := order(t, ws, dir, set, cancelling{files, "030", cancel})
	if _, err := Commit(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	equal(t, picture(t, ws), map[string]string{})
	if left, err := filepath.Glob(dir + "/*"); err != nil || len(left) > 0 {
		t.Errorf("left over: %v %v", left, err)
	}
	o.Source = files
	commitAll(t, o)
}

type cancelling struct {
	memory
	at     string
	cancel func()
}

func (c cancelling) Open(e *changeset.Entry) (*os.File, error) {
	if string(e.Path) == c.at {
		c.cancel()
	}
	return c.memory.Open(e)
}

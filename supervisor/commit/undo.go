// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// ErrEmptied says that the trash has no more what an undo would need.
var ErrEmptied = errors.New("the trash does not have it any more")

// Undo gives the change set that takes back what the commit in dir did, of the
// paths for which only says yes (nil: all), and the source of its content, the
// trash. It is committed as any other, into a directory of its own. Entries
// whose file is not what the commit left have the note Conflict. A path in a
// directory that was deleted brings the directory back with it. What an undo
// brought back already is not in the set; after Empty there is ErrEmptied.
func Undo(ctx context.Context, dir string, root *os.File, only func(path string) bool) (*changeset.Set, Source, error) {
	fail := func(err error) (*changeset.Set, Source, error) { return nil, nil, fmt.Errorf("undo: %w", err) }
	all, err := readLanded(dir)
	if err != nil {
		return fail(err)
	}
	all = slices.DeleteFunc(all, func(l trace) bool { return l.Stray })
	u := newUndoing(all, only)
	p := newPlace(int(root.Fd()), ^uint32(0)) // nobody's directories are given rights: root looks
	defer p.forget()
	s := &trashSource{dir: filepath.Join(dir, trashName), from: map[string]string{}}
	set := &changeset.Set{}
	for i := range all {
		if err := ctx.Err(); err != nil {
			return fail(err)
		}
		if !u.chosen[i] {
			continue
		}
		e, err := u.inverse(i, p)
		if err != nil {
			return fail(fmt.Errorf("%s: %w", quote(string(all[i].Entry.Path)), err))
		}
		if e.Kind == changeset.Created && e.After.Type == changeset.Directory {
			// A part of it was brought back already, and the directory with it.
			if st, err := p.look(u.here(string(all[i].At)), inode{}); err == nil && typeOf(&st) == changeset.Directory && !u.occupies(string(all[i].At)) {
				continue
			}
		}
		if all[i].Trash != "" && (e.Kind == changeset.Created || e.Kind == changeset.Modified) {
			there, err := s.has(string(all[i].Trash))
			if err != nil {
				return fail(fmt.Errorf("%s: %w", quote(string(all[i].Entry.Path)), err))
			}
			if !there {
				continue
			}
			if e.Target, err = s.target(&e, string(all[i].Trash)); err != nil {
				return fail(fmt.Errorf("%s: %w", quote(string(all[i].Entry.Path)), err))
			}
			s.from[string(e.Path)] = string(all[i].Trash)
		}
		set.Entries = append(set.Entries, e)
		p.trim()
	}
	slices.SortStableFunc(set.Entries, func(a, b changeset.Entry) int {
		if c := compare(string(a.Path), string(b.Path)); c != 0 {
			return c
		}
		return rank(a.Kind) - rank(b.Kind)
	})
	relink(set)
	return set, s, nil
}

func rank(k changeset.Kind) int {
	if k == changeset.Deleted {
		return 0
	}
	return 1
}

// undoing is a commit seen from its end.
type undoing struct {
	all    []trace
	chosen []bool
	from   map[string]int // by path before: Renamed
	to     map[string]int // by path after: Renamed
	new    map[string]int // by path after: Created and Renamed
}

func newUndoing(all []trace, only func(path string) bool) *undoing {
	u := &undoing{all: all, chosen: make([]bool, len(all)), from: map[string]int{}, to: map[string]int{}, new: map[string]int{}}
	gone := map[string]int{}   // by path before: Deleted
	path := map[string][]int{} // by path
	for i, l := range all {
		path[string(l.Entry.Path)] = append(path[string(l.Entry.Path)], i)
		switch l.Entry.Kind {
		case changeset.Created:
			u.new[string(l.Entry.Path)] = i
		case changeset.Renamed:
			u.new[string(l.Entry.Path)] = i
			u.from[string(l.Entry.From)], u.to[string(l.Entry.Path)] = i, i
		case changeset.Deleted:
			gone[string(l.At)] = i
		}
	}
	var choose func(i int)
	choose = func(i int) {
		for _, j := range path[string(all[i].Entry.Path)] { // of a Deleted and a Created both
			if u.chosen[j] {
				continue
			}
			u.chosen[j] = true
			at := all[j].At
			if up, ok := gone[parent(string(at))]; ok && (all[j].Entry.Kind == changeset.Deleted || all[j].Entry.Kind == changeset.Renamed) {
				choose(up)
			}
		}
	}
	for i, l := range all {
		if only == nil || only(string(l.Entry.Path)) {
			choose(i)
		}
	}
	return u
}

// here gives where a path of before is in the workspace.
func (u *undoing) here(at string) string {
	for up := at; up != ""; up = parent(up) {
		if i, ok := u.from[up]; ok {
			return string(u.all[i].Entry.Path) + at[len(up):]
		}
	}
	return at
}

// occupies says whether the commit put something where a deleted path was.
func (u *undoing) occupies(at string) bool {
	_, ok := u.new[u.here(at)]
	return ok
}

// after gives where the path of after is, once this is undone.
func (u *undoing) after(path string) string {
	if path == "" {
		return ""
	}
	if i, ok := u.to[path]; ok && u.chosen[i] {
		return join(u.before(parent(string(u.all[i].Entry.From))), base(string(u.all[i].Entry.From)))
	}
	return join(u.after(parent(path)), base(path))
}

// before gives where the path of before is, once this is undone.
func (u *undoing) before(path string) string {
	if path == "" {
		return ""
	}
	if i, ok := u.from[path]; ok && !u.chosen[i] {
		return u.after(string(u.all[i].Entry.Path))
	}
	return join(u.before(parent(path)), base(path))
}

// inverse gives the entry that takes one back.
func (u *undoing) inverse(i int, p *place) (changeset.Entry, error) {
	l := &u.all[i]
	e := changeset.Entry{Path: raw.String(u.after(string(l.Entry.Path))), Before: l.Entry.After, After: l.Entry.Before}
	switch l.Entry.Kind {
	case changeset.Created:
		e.Kind, e.Path, e.After = changeset.Deleted, l.Entry.Path, changeset.State{}
	case changeset.Deleted:
		e.Kind, e.Before = changeset.Created, changeset.State{}
		e.Path = raw.String(u.before(string(l.At)))
		return e, nil
	case changeset.Renamed:
		e.Kind, e.From, e.Path = changeset.Renamed, l.Entry.Path, raw.String(u.before(string(l.Entry.From)))
	default:
		e.Kind = l.Entry.Kind
		if e.Path != l.Entry.Path {
			e.From = l.Entry.Path
		}
	}
	e.After.Identity = changeset.Identity{}
	st, err := p.look(string(l.Entry.Path), inode{})
	if err != nil && !errors.Is(err, errMoved) {
		return e, err
	}
	got := identityOf(&st)
	e.Before.Identity = l.Left
	switch {
	case l.Left == (changeset.Identity{}) || inodeOf(&st) != inode{l.Left.Dev, l.Left.Ino}:
		e.Notes |= changeset.Conflict
	case typeOf(&st) == changeset.Directory:
		// What came into a directory since forbids neither to move it nor to
		// give it its mode; whether it may go is seen when it shall.
		e.Before.Identity = got
		if alters(&e) && st.Mode&plain != l.Entry.After.Mode&plain {
			e.Notes |= changeset.Conflict
		}
	case got != l.Left, typeOf(&st) == changeset.Regular && st.Size != l.Entry.After.Size:
		e.Notes |= changeset.Conflict
	}
	if !e.Notes.Has(changeset.Conflict) { // not all of After lands, nor any time on each file system
		e.Before.Mode, e.Before.UID, e.Before.GID, e.Before.Modified = st.Mode&0o7777, st.Uid, st.Gid, st.Mtim.Nano()
	}
	return e, nil
}

// relink makes names of one file, as they were, names of one file again.
func relink(set *changeset.Set) {
	first := map[inode]raw.String{}
	for i := range set.Entries {
		e := &set.Entries[i]
		id := inode{e.After.Dev, e.After.Ino}
		e.After.Identity = changeset.Identity{}
		if e.Kind != changeset.Created || e.After.Type != changeset.Regular || e.After.Links < 2 || id == (inode{}) {
			continue
		}
		if path, ok := first[id]; ok {
			e.Link = path
		} else {
			first[id] = e.Path
		}
	}
}

// trashSource has the content of an undo.
type trashSource struct {
	dir  string            // the trash
	from map[string]string // by path of the entry: path in the trash
}

// Open gives a file of the trash.
func (s *trashSource) Open(e *changeset.Entry) (file *os.File, err error) {
	path, ok := s.from[string(e.Path)]
	if !ok {
		return nil, ErrEmptied
	}
	err = s.in(path, func(dir int, name string) error {
		fd, err := unix.Openat2(dir, name, beneath(unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK))
		if err == nil {
			file = os.NewFile(uintptr(fd), path)
		}
		return err
	})
	return file, err
}

// target reads a symbolic link of the trash; of anything else it is empty.
func (s *trashSource) target(e *changeset.Entry, path string) (target raw.String, err error) {
	if e.After.Type != changeset.Symlink {
		return "", nil
	}
	err = s.in(path, func(dir int, name string) error {
		b := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(dir, name, b)
		target = raw.String(b[:max(n, 0)])
		return err
	})
	return target, err
}

// in calls do with the directory of the trash that a path is in.
func (s *trashSource) in(path string, do func(dir int, name string) error) error {
	dir, err := os.OpenFile(s.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return ErrEmptied
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	p := newPlace(int(dir.Fd()), ^uint32(0))
	defer p.forget()
	fd, err := p.dir(parent(path), inode{}, search)
	if err == nil {
		err = do(fd, base(path))
	}
	if err != nil {
		return fmt.Errorf("open it in the trash: %w", err)
	}
	return nil
}

// has says whether the trash still has something: what was brought back already
// it has not.
func (s *trashSource) has(path string) (there bool, err error) {
	err = s.in(path, func(dir int, name string) error {
		st, err := lstat(dir, name)
		there = typeOf(&st) != changeset.None
		return err
	})
	if errors.Is(err, errMoved) {
		return false, nil
	}
	return there, err
}

// consume removes from the trash what a commit brought back. What can't be
// removed stays until the trash is emptied.
func (s *trashSource) consume(w *work) {
	for i := range slices.Backward(w.items) { // what is in a directory before it
		path, ok := s.from[string(w.items[i].Entry.Path)]
		if !ok || !w.made(i) || !w.live(i) {
			continue
		}
		flags := 0
		if w.items[i].Entry.After.Type == changeset.Directory {
			flags = unix.AT_REMOVEDIR
		}
		err := s.in(path, func(dir int, name string) error { return unlink(dir, name, flags) })
		for up := parent(path); up != "" && err == nil; up = parent(up) { // if nothing is in it any more
			err = s.in(up, func(dir int, name string) error { return unlink(dir, name, unix.AT_REMOVEDIR) })
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package changeset

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// vanish makes the entries of what the workspace has under a name, and the
// layer no more.
func (w *walker) vanish(p place, name string) error {
	if p.lower < 0 {
		return nil
	}
	was, err := join(p.was, name)
	if err == nil {
		_, err = w.remove(p.lower, name, was, p.depth)
	}
	return err
}

// uncovered makes the entries of what the workspace has in a directory, and the
// layer's opaque one doesn't.
func (w *walker) uncovered(p place) error {
	names, err := w.sorted(p.lower)
	if err != nil {
		return err
	}
	for _, name := range names {
		_, ok, err := look(p.upper, name)
		if err == nil && !ok {
			err = w.vanish(p, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// remove makes the entries of one thing of the workspace that is gone, and says
// whether there is a conflict in it.
func (w *walker) remove(dir int, name, path string, depth int) (conflict bool, err error) {
	if err := w.ctx.Err(); err != nil {
		return false, err
	}
	st, ok, err := look(dir, name)
	if err != nil || !ok {
		return false, at(path, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return w.removeFolder(dir, name, path, depth+1)
	}
	f, err := w.read(dir, name, &st)
	if errors.Is(err, errGone) {
		return w.elusive(dir, name, path)
	}
	if err != nil {
		return false, at(path, err)
	}
	e := w.entry(Deleted, path, path, &f, nil)
	return e.Notes.Has(Conflict), w.add(e)
}

// elusive makes the entry of what could not be opened as what it was.
func (w *walker) elusive(dir int, name, path string) (conflict bool, err error) {
	st, ok, err := look(dir, name)
	if err != nil || !ok {
		return false, at(path, err)
	}
	f := plain(&st)
	f.restive = true
	return true, w.add(w.entry(Deleted, path, path, &f, nil))
}

// removeFolder makes those of a directory, unless it is somewhere else now.
func (w *walker) removeFolder(dir int, name, path string, depth int) (conflict bool, err error) {
	if w.moved[path] {
		return false, nil
	}
	if depth > MaxDepth {
		return false, fmt.Errorf("%w: more than %d directories in one another", ErrTooMany, MaxDepth)
	}
	fd, err := directory(dir, name)
	if errors.Is(err, errGone) {
		return w.elusive(dir, name, path)
	}
	if err != nil {
		return false, at(path, err)
	}
	defer unix.Close(fd)
	f, err := w.open(fd)
	if err != nil {
		return false, at(path, err)
	}
	names, err := w.sorted(fd)
	if err != nil {
		return false, at(path, err)
	}
	number := len(w.entries)
	if err := w.add(w.entry(Deleted, path, path, &f, nil)); err != nil {
		return false, err
	}
	for _, name := range names {
		inner, err := join(path, name)
		if err != nil {
			return false, err
		}
		c, err := w.remove(fd, name, inner, depth)
		if err != nil {
			return false, err
		}
		conflict = conflict || c
	}
	if conflict {
		w.entries[number].Notes |= Conflict
	}
	return w.entries[number].Notes.Has(Conflict), nil
}

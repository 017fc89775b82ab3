// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/tree"
)

// apply takes the steps of all items. Each looks first whether it was taken
// already, so that it may be called again after it was cut off anywhere.
func (w *work) apply() {
	// Renamed directories leave their places, the innermost first: until then
	// every path is what it was.
	var renamed []int
	for i := range w.items {
		if w.items[i].Entry.Kind == changeset.Renamed {
			renamed = append(renamed, i)
		}
	}
	slices.SortStableFunc(renamed, func(a, b int) int {
		return cmp.Compare(depth(w.items[b].Entry.From), depth(w.items[a].Entry.From))
	})
	for _, i := range renamed {
		w.try(i, w.lift)
	}
	w.settleLifts(renamed)
	for i := range w.items {
		if w.items[i].Entry.Kind == changeset.Deleted && !w.covered(i) {
			w.try(i, w.take)
		}
	}
	w.settleLifts(renamed)
	// Now every place is free. From the outermost to the innermost each
	// directory is where it will be before something comes into it.
	for i := range w.items {
		switch e := &w.items[i].Entry; {
		case e.Kind == changeset.Created && w.top(i):
			w.try(i, w.put)
		case e.Kind == changeset.Modified:
			w.try(i, w.swap)
		case e.Kind == changeset.Renamed:
			w.try(i, w.arrive)
		case e.Kind == changeset.Created, e.Kind == changeset.Deleted:
			w.done[i] = w.live(i) // with the directory that it is in
		}
	}
	w.settleLifts(renamed)
	for i := range slices.Backward(w.items) {
		e := &w.items[i].Entry
		switch {
		case e.Kind == changeset.Changed:
			w.try(i, w.alter)
		case e.Kind == changeset.Renamed && w.live(i) && alters(e):
			if err := w.alter(i); err != nil {
				w.remark(i, fmt.Errorf("it was moved, but its mode or attributes could not be set: %w", err))
			}
		case e.Kind == changeset.Created && e.After.Type == changeset.Directory && w.live(i) && w.receives(i):
			if err := w.finishDir(i, string(e.Path)); err != nil {
				w.remark(i, fmt.Errorf("it was made, but its mode or time could not be set: %w", err))
			}
		}
	}
	// What was made for an item that came to nothing goes again.
	for i := range w.items {
		if !w.live(i) && w.top(i) {
			w.discard(i)
		}
	}
}

func depth(path raw.String) int { return strings.Count(string(path), "/") }

// try takes a step, if the item is to be applied still.
func (w *work) try(i int, step func(i int) error) {
	if !w.live(i) {
		return
	}
	if err := step(i); err != nil {
		w.blame(i, err)
	} else if w.items[i].Entry.Kind != changeset.Renamed || w.lifted[i] == arrived {
		w.done[i] = true
	}
	w.place.trim()
}

// covered says whether what was deleted goes with a directory above it.
func (w *work) covered(i int) bool {
	j, ok := w.taken[parent(string(w.items[i].At))]
	return ok && w.live(j)
}

// at opens the directory that a path of before is in now.
func (w *work) at(before string, id inode) (fd int, name string, err error) {
	where := w.now(before)
	fd, err = w.place.dir(parent(where), id, writing)
	return fd, base(before), err
}

// to opens the directory of an item's place, which has come to its own by now.
func (w *work) to(i int) (fd int, name string, err error) {
	path := string(w.items[i].Entry.Path)
	fd, err = w.place.dir(parent(path), w.home(i), writing)
	return fd, base(path), err
}

// lift moves a directory that is renamed to a hidden name in the root.
func (w *work) lift(i int) error {
	it := &w.items[i]
	id := inode{it.Entry.Before.Dev, it.Entry.Before.Ino}
	if w.again {
		if st, err := w.place.look(string(it.Entry.Path), inode{}); err == nil && inodeOf(&st) == id {
			w.lifted[i] = arrived
			return nil
		}
	}
	root, err := w.place.dir("", inode{}, writing)
	if err != nil {
		return err
	}
	st, err := lstat(root, w.hide(i))
	if err != nil {
		return err
	}
	if inodeOf(&st) == id {
		w.lifted[i] = hidden
		return nil
	}
	dir, name, err := w.at(string(it.Entry.From), it.Away)
	if err != nil {
		return err
	}
	if st, err = lstat(dir, name); err != nil {
		return err
	}
	if inodeOf(&st) != id {
		return errConflict
	}
	if err := w.movable(w.now(string(it.Entry.From)), id); err != nil {
		return err
	}
	if err := move(dir, name, root, w.hide(i)); err != nil {
		return err
	}
	w.place.forget()
	w.lifted[i] = hidden
	return nil
}

// movable gives the owner the right to change a directory's "..", which takes
// a right in the directory itself (rename(2)).
func (w *work) movable(path string, id inode) error {
	_, err := w.place.dir(path, id, writing)
	return err
}

// settleLifts brings directories back that can't come to their new place.
func (w *work) settleLifts(renamed []int) {
	for _, i := range slices.Backward(renamed) {
		if w.live(i) || w.lifted[i] != hidden {
			continue
		}
		if err := w.putBack(i); err != nil {
			l := w.over[i]
			l.Why += fmt.Sprintf("; its old place is taken too (%v), so that it is in the trash now", err)
			w.over[i] = l
		}
	}
}

func (w *work) putBack(i int) error {
	it := &w.items[i]
	w.place.forget()
	root, err := w.place.dir("", inode{}, writing)
	if err != nil {
		return err
	}
	delete(w.lifted, i)
	dir, name, err := w.at(string(it.Entry.From), it.Away)
	if err == nil {
		err = move(root, w.hide(i), dir, name)
	}
	w.place.forget()
	if err != nil {
		if root, again := w.place.dir("", inode{}, writing); again == nil {
			_ = w.stow(i, root, w.hide(i))
		}
	}
	return err
}

// arrive moves a directory that was lifted to its place.
func (w *work) arrive(i int) error {
	if w.lifted[i] == arrived {
		return nil
	}
	root, err := w.place.dir("", inode{}, writing)
	if err != nil {
		return err
	}
	dir, name, err := w.to(i)
	if err != nil {
		return err
	}
	if err := move(root, w.hide(i), dir, name); err != nil {
		return err
	}
	w.place.forget()
	w.lifted[i] = arrived
	return nil
}

// put moves what was made to its place, where nothing is.
func (w *work) put(i int) error {
	dir, name, err := w.to(i)
	if err != nil {
		return err
	}
	id := w.items[i].Staged
	st, err := lstat(dir, name)
	if err != nil || inodeOf(&st) == id {
		return err
	}
	if st, err = lstat(dir, w.hide(i)); err != nil {
		return err
	}
	if inodeOf(&st) != id {
		return errStage
	}
	return move(dir, w.hide(i), dir, name)
}

var errStage = errors.New("what was made ready for it is gone")

// take moves what was deleted to a hidden name, and from there to the trash.
func (w *work) take(i int) error {
	it := &w.items[i]
	held, name, err := w.at(string(it.At), it.Home)
	if err != nil {
		return err
	}
	// To look at all that is in a directory closes what is held.
	dir, err := unix.FcntlInt(uintptr(held), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	st, err := lstat(dir, w.hide(i))
	if err != nil {
		return err
	}
	if typeOf(&st) == changeset.None {
		if w.again && w.stowed(i) {
			return nil
		}
		if st, err = lstat(dir, name); err != nil {
			return err
		}
		if err := w.unchanged(it, &st); err != nil {
			return err
		}
		if err := move(dir, name, dir, w.hide(i)); err != nil {
			return err
		}
		w.place.forgetBelow(w.now(string(it.At)))
	}
	err = w.displaced(i, dir)
	if err == nil {
		err = w.stow(i, dir, w.hide(i))
	}
	if err != nil {
		if back := move(dir, w.hide(i), dir, name); back != nil {
			return w.strand(i, dir, err)
		}
	}
	return err
}

// swap exchanges a file with what was made for it.
func (w *work) swap(i int) error {
	it := &w.items[i]
	dir, name, err := w.to(i)
	if err != nil {
		return err
	}
	st, err := lstat(dir, name)
	if err != nil {
		return err
	}
	if inodeOf(&st) != it.Staged {
		if err := w.unchanged(it, &st); err != nil {
			return err
		}
		if st, err = lstat(dir, w.hide(i)); err != nil {
			return err
		}
		if inodeOf(&st) != it.Staged {
			return errStage
		}
		if err := exchange(dir, name, w.hide(i)); err != nil {
			return err
		}
	} else if w.again {
		if st, err = lstat(dir, w.hide(i)); err != nil || typeOf(&st) == changeset.None {
			return err // it is in the trash already
		}
	}
	err = w.displaced(i, dir)
	if err == nil {
		err = w.stow(i, dir, w.hide(i))
	}
	if err != nil {
		if back := exchange(dir, name, w.hide(i)); back != nil {
			return w.strand(i, dir, err)
		}
	}
	return err
}

// strand is for what was displaced by mistake and can't go back, since its
// place was taken in that moment: the trash keeps it.
func (w *work) strand(i, dir int, err error) error {
	if stow := w.stow(i, dir, w.hide(i)); stow != nil {
		return fmt.Errorf("%w; it has the name %s now, since its place was taken meanwhile", err, w.hide(i))
	}
	return fmt.Errorf("%w; it is in the trash now, since its place was taken meanwhile", err)
}

// unchanged compares a file, just before it is moved, with what was judged.
func (w *work) unchanged(it *item, st *unix.Stat_t) error {
	b := &it.Entry.Before
	if inodeOf(st) != (inode{b.Dev, b.Ino}) || typeOf(st) != b.Type {
		return errConflict
	}
	switch {
	case b.Type == changeset.Directory: // its ctime moved with what this commit did in it
	case w.again, w.moved[inodeOf(st)]:
		if st.Mtim.Nano() != b.Modified || st.Size != b.Size {
			return errConflict
		}
	case st.Ctim.Nano() != b.Ctime:
		return errConflict
	}
	return nil
}

// displaced compares what a rename brought to a hidden name with what was
// judged. The rename moved its ctime; a directory's content still has its own.
func (w *work) displaced(i, dir int) error {
	it := &w.items[i]
	b := &it.Entry.Before
	st, err := lstat(dir, w.hide(i))
	if err != nil {
		return err
	}
	if inodeOf(&st) != (inode{b.Dev, b.Ino}) || typeOf(&st) != b.Type {
		return errConflict
	}
	if b.Type == changeset.Regular && (st.Mtim.Nano() != b.Modified || st.Size != b.Size) {
		return errConflict
	}
	w.moved[inodeOf(&st)] = true
	if b.Type != changeset.Directory {
		return nil
	}
	return w.whole(join(parent(w.now(string(it.At))), w.hide(i)), string(it.At))
}

// whole says whether all in a deleted directory, which is at path now and was
// at before, is what was judged.
func (w *work) whole(path, before string) error {
	for list := []string{""}; len(list) > 0; {
		sub := list[len(list)-1] // with a slash before it
		list = list[:len(list)-1]
		fd, err := w.list(path + sub)
		if err != nil {
			return err
		}
		err = tree.Each(fd, func(name string) error {
			j, ok := w.taken[before+sub+"/"+name]
			if !ok {
				return fmt.Errorf("%w: %w", errConflict, errMore)
			}
			st, err := lstat(fd, name)
			if err != nil {
				return err
			}
			if err := w.unchanged(&w.items[j], &st); err != nil {
				return err
			}
			if typeOf(&st) == changeset.Directory {
				list = append(list, sub+"/"+name)
			}
			return nil
		})
		_ = unix.Close(fd)
		if err != nil {
			return err
		}
		w.place.trim()
	}
	return nil
}

// alter sets a mode and the attributes of a file that stays.
func (w *work) alter(i int) error {
	it := &w.items[i]
	e := &it.Entry
	dir, name, err := w.to(i)
	if err != nil {
		return err
	}
	fd, err := unix.Openat2(dir, name, beneath(unix.O_PATH|unix.O_NOFOLLOW))
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if err := w.unchanged(it, &st); err != nil {
		return err
	}
	if e.After.Type == changeset.Symlink {
		return errors.New("a symbolic link has neither a mode nor attributes")
	}
	if err := alterXattrs(fd, e.After.Xattrs); err != nil {
		return err
	}
	mode := e.After.Mode&plain | e.After.Mode&st.Mode&(unix.S_ISUID|unix.S_ISGID)
	for k := range w.opened {
		if w.opened[k].ID == inodeOf(&st) { // it gets this one when all is done
			w.opened[k].Mode = mode
			return w.journal.add(record{Opened: &w.opened[k]}, true)
		}
	}
	if st.Mode&0o7777 != mode {
		if err := chmod(fd, mode); err != nil {
			return err
		}
	}
	w.moved[inodeOf(&st)] = true
	return nil
}

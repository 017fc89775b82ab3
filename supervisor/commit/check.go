// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/tree"
)

// check compares every entry with the workspace, and finds what can't be
// applied: what is refused, what is another file now, and all that depends on it.
func (w *work) check(refuse func(path string) bool) error {
	found := make(map[int]error)
	for i := range w.items {
		if i%256 == 0 {
			if err := w.ctx.Err(); err != nil {
				return err
			}
		}
		err := w.examine(i)
		if fatal(err) {
			return fmt.Errorf("look at %s: %w", quote(string(w.items[i].Entry.Path)), err)
		}
		if err != nil {
			found[i] = err
		}
		w.place.trim()
	}
	w.depend()
	for i := range w.items {
		e := &w.items[i].Entry
		switch err := found[i]; {
		case refuse != nil && refuse(string(e.Path)):
			w.leave(i, refused, "it was refused")
		case e.Notes.Has(changeset.Conflict):
			w.leave(i, conflicting, "the file in the workspace is not the one that there was")
		case err != nil:
			w.blame(i, err)
		}
	}
	for i := range w.items {
		if err := w.accounted(i); fatal(err) {
			return err
		} else if err != nil {
			w.blame(i, err)
		}
	}
	return nil
}

// examine finds an item's place and compares what is there.
func (w *work) examine(i int) error {
	it := &w.items[i]
	e := &it.Entry
	if e.Kind == changeset.Deleted {
		it.At, it.Within = e.Path, -1
		return w.same(it, &it.Home)
	}
	at, within, _ := w.origin(string(e.Path))
	it.At, it.Within = raw.String(at), within
	switch {
	case e.Kind == changeset.Renamed:
		it.At = e.From
		if within < 0 {
			if err := w.occupied(it, at); err != nil {
				return err
			}
		}
		return w.same(it, &it.Away)
	case e.Kind == changeset.Created && within < 0:
		return w.occupied(it, at)
	case e.Kind == changeset.Created:
		return nil
	case within >= 0:
		return errMoved // what was there before is in no new directory
	}
	return w.same(it, &it.Home)
}

// occupied looks at the place that something new is to come to. What is there
// must be about to leave.
func (w *work) occupied(it *item, at string) error {
	fd, err := w.place.dir(parent(at), inode{}, search)
	if err != nil {
		return err
	}
	it.Home = w.place.open[parent(at)].id
	st, err := lstat(fd, base(at))
	if err != nil {
		return err
	}
	if typeOf(&st) == changeset.None {
		return nil
	}
	if _, leaves := w.from[at]; leaves {
		return nil
	}
	if _, leaves := w.taken[at]; leaves {
		return nil
	}
	return unix.EEXIST
}

// same compares what is at an item's path with what was judged.
func (w *work) same(it *item, home *inode) error {
	at := string(it.At)
	fd, err := w.place.dir(parent(at), inode{}, search)
	if err != nil {
		return err
	}
	*home = w.place.open[parent(at)].id
	st, err := lstat(fd, base(at))
	if err != nil {
		return err
	}
	b := &it.Entry.Before
	if typeOf(&st) != b.Type || inodeOf(&st) != (inode{b.Dev, b.Ino}) {
		return errConflict
	}
	if b.Type != changeset.Directory {
		if st.Ctim.Nano() != b.Ctime {
			return errConflict
		}
		return nil
	}
	if !alters(&it.Entry) {
		return nil
	}
	return w.sameDir(&it.Entry, fd, base(at), &st)
}

// sameDir compares what an entry changes of a directory. Its ctime moves with
// every name in it, which is of no matter here.
func (w *work) sameDir(e *changeset.Entry, dir int, name string, st *unix.Stat_t) error {
	mode := st.Mode & 0o7777
	for _, o := range w.opened {
		if o.ID == inodeOf(st) {
			mode = o.Mode
		}
	}
	fd, err := unix.Openat2(dir, name, beneath(unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW))
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	have, err := xattrs(fd)
	if err != nil && !errors.Is(err, unix.EACCES) { // its owner may not read them: nor change them
		return err
	}
	if mode != e.Before.Mode || err == nil && !sameXattrs(have, e.Before.Xattrs) {
		return errConflict
	}
	return nil
}

// alters says whether an entry of something that stays changes it.
func alters(e *changeset.Entry) bool {
	switch e.Kind {
	case changeset.Changed:
		return true
	case changeset.Renamed:
		return e.Before.Mode != e.After.Mode || !sameXattrs(e.Before.Xattrs, e.After.Xattrs)
	}
	return false
}

func sameXattrs(a, b []changeset.Xattr) bool {
	if len(a) != len(b) {
		return false
	}
	values := map[raw.String]string{}
	for _, x := range a {
		values[x.Name] = string(x.Value)
	}
	for _, x := range b {
		if v, ok := values[x.Name]; !ok || v != string(x.Value) {
			return false
		}
	}
	return true
}

// errMore says that a directory can't go since not all in it does.
var errMore = errors.New("something in the directory is not part of the change set")

// accounted says whether all that is in a directory which is to be deleted
// goes too.
func (w *work) accounted(i int) error {
	it := &w.items[i]
	if !w.live(i) || it.Entry.Kind != changeset.Deleted || it.Entry.Before.Type != changeset.Directory {
		return nil
	}
	fd, err := w.place.dir(string(it.At), inode{it.Entry.Before.Dev, it.Entry.Before.Ino}, listing)
	if err != nil {
		return err
	}
	defer w.place.trim()
	return tree.Each(fd, func(name string) error {
		at := join(string(it.At), name)
		if _, ok := w.taken[at]; ok {
			return nil
		}
		if _, ok := w.from[at]; ok {
			return nil
		}
		return fmt.Errorf("%w: %w", errConflict, errMore)
	})
}

func quote(s string) string { return strconv.QuoteToASCII(s) }

// SPDX-License-Identifier: Apache-2.0

package changeset

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/raw"
)

// setid are the bits of a mode that are never committed.
const setid = unix.S_ISUID | unix.S_ISGID

// entry makes an entry of what the workspace has at was, nil for nothing, and
// what the layer has at path.
func (w *walker) entry(kind Kind, path, was string, before, after *file) Entry {
	e := Entry{Kind: kind, Path: raw.String(path)}
	if before != nil {
		e.Before = before.State
		if kind == Renamed || kind != Deleted && was != path {
			e.From = raw.String(was)
		}
		e.Notes = w.notes(before)
	}
	if after == nil {
		return e
	}
	e.After, e.Target = after.State, raw.String(after.target)
	e.After.Identity = Identity{}
	kept := uint32(0)
	if before != nil && after.Type == Directory {
		kept = before.Mode & unix.S_ISGID
	}
	e.After.Mode &^= setid &^ kept
	if e.After.Mode != after.Mode || after.armed {
		e.Notes |= Privileged
	}
	if after.Type == Symlink && LeadsOut(path, after.target) {
		e.Notes |= Leaves
	}
	// A directory, and what has its content still, keeps what it had.
	fresh := kind == Created || kind == Modified
	if (after.beyond || len(after.others) > 0) && (fresh || !sameOthers(before, after)) {
		e.Notes |= Attributes
	}
	return e
}

// notes tells of what the workspace has.
func (w *walker) notes(before *file) Notes {
	var n Notes
	if w.Unsure || before.restive || w.late(before.Ctime) {
		n |= Conflict
	}
	if before.Links > 1 && before.Type != Directory {
		n |= HardLinked
	}
	if before.UID != w.Owner {
		n |= Foreign
	}
	return n
}

// late says whether a file with a ctime may have been changed since the call
// began. A file system that counts in seconds (ext4 with inodes of 128 bytes)
// stamps what is changed with the second that is over.
func (w *walker) late(ctime int64) bool {
	const second = int64(time.Second)
	if ctime%second == 0 {
		return ctime >= w.begin-w.begin%second
	}
	return ctime >= w.begin
}

func sameOthers(a, b *file) bool {
	return a.beyond == b.beyond && slices.EqualFunc(a.others, b.others, sameXattr)
}

// sameAttributes says whether two files differ in nothing but content, owner
// and times.
func sameAttributes(a, b *file) bool {
	return a.mode == b.mode && a.armed == b.armed && slices.EqualFunc(a.Xattrs, b.Xattrs, sameXattr) && sameOthers(a, b)
}

// sameContent says whether two files are of one type and one content.
func sameContent(a, b *file) bool {
	return a.Type == b.Type && a.Size == b.Size && a.Digest == b.Digest && a.target == b.target
}

// folder makes the entries of a directory of the layer and of what is in it.
func (w *walker) folder(p place, name string) error {
	q, err := w.below(p, name)
	if err != nil {
		return err
	}
	defer unix.Close(q.upper)
	after, err := w.open(q.upper)
	if err != nil {
		return err
	}
	how, origin, err := w.origin(q, p)
	if err != nil {
		return err
	}
	natural := ""
	if p.lower >= 0 {
		if natural, err = join(p.was, name); err != nil {
			return err
		}
	}
	moved := how == redirected && origin != natural
	switch {
	case moved:
		if err := w.vanish(p, name); err != nil {
			return err
		}
		q.lower, err = w.descend(origin)
		q.was = origin
	case natural == "", how != redirected && w.moved[natural]: // nothing was here, or it is elsewhere now
	default:
		q.lower, err = w.meet(p, name, natural)
		q.was, q.opaque = natural, how == opaque
	}
	gone := errors.Is(err, errGone)
	if err != nil && !gone {
		return err
	}
	if q.lower < 0 {
		e := w.entry(Created, q.path, "", nil, &after)
		if gone || after.origin != nil && how != opaque {
			e.Notes |= Conflict
		}
		if err := w.add(e); err != nil {
			return err
		}
		return w.walk(q)
	}
	defer unix.Close(q.lower)
	before, err := w.open(q.lower)
	if err != nil {
		return err
	}
	switch {
	case moved:
		err = w.add(w.entry(Renamed, q.path, q.was, &before, &after))
	case !sameAttributes(&before, &after):
		err = w.add(w.entry(Changed, q.path, q.was, &before, &after))
	}
	if err == nil {
		err = w.walk(q)
	}
	if err == nil && q.opaque {
		err = w.uncovered(q)
	}
	return err
}

// open reads what an open directory is.
func (w *walker) open(fd int) (file, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return file{}, fmt.Errorf("stat: %w", err)
	}
	f := plain(&st)
	return f, w.attributes(fd, &f)
}

// meet opens the directory that the workspace has where the layer has one; -1
// if it has none. Something else that it has there is Deleted.
func (w *walker) meet(p place, name, was string) (int, error) {
	st, ok, err := look(p.lower, name)
	if err != nil || !ok {
		return -1, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		_, err := w.remove(p.lower, name, was, p.depth)
		return -1, err
	}
	return directory(p.lower, name)
}

// descend opens a directory of the workspace.
func (w *walker) descend(path string) (int, error) {
	fd := w.lower
	for name := range strings.SplitSeq(path, "/") {
		next, err := directory(fd, name)
		if fd != w.lower {
			_ = unix.Close(fd)
		}
		if err != nil {
			return -1, err
		}
		fd = next
	}
	return fd, nil
}

// leaf makes the entry of what is no directory.
func (w *walker) leaf(p place, name, path string, st *unix.Stat_t) error {
	now := plain(st)
	was, there, err := w.beneath(p, name)
	if err != nil {
		return err
	}
	old := plain(&there)
	switch {
	case was != "" && old.Type == Directory,
		was != "" && now.Type == Special && (old.mode&unix.S_IFMT != now.mode&unix.S_IFMT || old.rdev != now.rdev):
		if err := w.vanish(p, name); err != nil {
			return err
		}
		was = ""
	}
	if now.Type == Special {
		if was == "" {
			return w.add(w.entry(Dropped, path, "", nil, &now))
		}
		if old.mode == now.mode {
			return nil
		}
		return w.add(w.entry(Dropped, path, was, &old, &now))
	}
	first, linked := w.links[st.Ino]
	if linked && was == "" {
		e := w.entries[first]
		e.Link, e.Path = e.Path, raw.String(path)
		e.Notes &^= Leaves
		if e.After.Type == Symlink && LeadsOut(path, string(e.Target)) {
			e.Notes |= Leaves
		}
		return w.add(e)
	}
	after, err := w.read(p.upper, name, st)
	if err != nil {
		return fmt.Errorf("the layer: %w", err)
	}
	if after.hollow {
		if was == "" {
			return w.add(w.entry(Dropped, path, "", nil, &after))
		}
		return w.add(w.entry(Dropped, path, was, &old, &after))
	}
	went := false
	if was != "" {
		before, err := w.read(p.lower, name, &there)
		if err == nil {
			return w.differ(path, was, &before, &after)
		}
		if went = errors.Is(err, errGone); !went {
			return fmt.Errorf("the workspace: %w", err)
		}
	}
	e := w.entry(Created, path, "", nil, &after)
	if went || after.origin != nil && w.went(after.origin) {
		e.Notes |= Conflict
	}
	if after.Links > 1 {
		w.links[st.Ino] = len(w.entries)
	}
	return w.add(e)
}

// beneath gives what the workspace has under a name of the layer, and its path
// there: empty for nothing.
func (w *walker) beneath(p place, name string) (was string, st unix.Stat_t, err error) {
	if p.lower < 0 {
		return "", st, nil
	}
	st, ok, err := look(p.lower, name)
	if err != nil || !ok {
		return "", st, err
	}
	was, err = join(p.was, name)
	return was, st, err
}

// differ makes the entry of a file that was there before, if it is another.
func (w *walker) differ(path, was string, before, after *file) error {
	switch {
	case !sameContent(before, after):
		return w.add(w.entry(Modified, path, was, before, after))
	case !sameAttributes(before, after) && before.Links > 1:
		// The other names may be anywhere, and keep mode and attributes.
		return w.add(w.entry(Modified, path, was, before, after))
	case !sameAttributes(before, after):
		return w.add(w.entry(Changed, path, was, before, after))
	}
	return nil
}

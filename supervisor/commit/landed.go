// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// trace is an item that was applied: a line of the file landed, which is also
// the trash's index, since an entry says all of what was there before.
type trace struct {
	Entry changeset.Entry    `json:"entry"`
	At    raw.String         `json:"at"`              // its path before the commit, or that of its place
	Left  changeset.Identity `json:"left,omitzero"`   // of what the commit left at the path
	Trash raw.String         `json:"trash,omitempty"` // what was there before: a path below the trash
	Stray bool               `json:"stray,omitempty"` // it was not applied: what the trash has came there in a race, and found no way back
}

// Landing is a file, directory or link that a commit created or modified.
type Landing struct {
	Entry    *changeset.Entry   // that was applied
	Path     raw.String         // below the workspace
	Identity changeset.Identity // as the commit left it
	Digest   string             // of a file's content or a link's target; of a directory empty
}

// settleLanded looks at what the items became.
func (w *work) settleLanded() {
	for i := range w.items {
		it := &w.items[i]
		if !w.live(i) {
			if w.stowed(i) {
				w.landed = append(w.landed, trace{Entry: it.Entry, At: it.At, Trash: raw.String(strconv.Itoa(i)), Stray: true})
			}
			continue
		}
		l := trace{Entry: it.Entry, At: it.At}
		switch it.Entry.Kind {
		case changeset.Modified:
			l.Trash = raw.String(strconv.Itoa(i))
		case changeset.Deleted:
			l.Trash = raw.String(w.trashed(i))
		}
		if it.Entry.Kind != changeset.Deleted {
			want := it.Staged
			if !w.made(i) {
				want = inode{it.Entry.Before.Dev, it.Entry.Before.Ino}
			}
			// What somebody has replaced since isn't the commit's: it stays without.
			if st, err := w.place.look(string(it.Entry.Path), w.home(i)); err == nil && inodeOf(&st) == want {
				l.Left = identityOf(&st)
			}
			w.place.trim()
		}
		w.landed = append(w.landed, l)
	}
}

// trashed is where in the trash something deleted is.
func (w *work) trashed(i int) string {
	at := string(w.items[i].At)
	top := i
	for {
		j, ok := w.taken[parent(string(w.items[top].At))]
		if !ok || !w.live(j) {
			break
		}
		top = j
	}
	return strconv.Itoa(top) + at[len(w.items[top].At):]
}

// writeWhole writes a file, to the disk, in place of one that is there.
func writeWhole(dir *os.File, name string, write func(io.Writer) error) error {
	fail := func(err error) error { return fmt.Errorf("write %s: %w", name, err) }
	draft := name + ".new"
	about("open")
	fd, err := unix.Openat(int(dir.Fd()), draft, unix.O_CREAT|unix.O_TRUNC|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fail(err)
	}
	f := os.NewFile(uintptr(fd), draft)
	defer f.Close()
	if err := write(f); err != nil {
		return fail(err)
	}
	if err := fsync(fd); err != nil {
		return fail(err)
	}
	about("rename")
	if err := unix.Renameat(int(dir.Fd()), draft, int(dir.Fd()), name); err != nil {
		return fail(err)
	}
	return nil
}

func writeLanded(w io.Writer, all []trace) error {
	var b []byte
	for i := range all {
		line, err := seal(&all[i])
		if err != nil {
			return err
		}
		if b = append(b, line...); len(b) >= 1<<20 || i == len(all)-1 {
			about("write")
			if _, err := w.Write(b); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	return nil
}

var errTorn = errors.New("a line is damaged")

func decodeLanded(r io.Reader) ([]trace, error) {
	var all []trace
	err := lines(r, func(line []byte) (bool, error) {
		var l trace
		if unseal(line, &l) != nil {
			return false, errTorn // it was renamed whole to its name
		}
		all = append(all, l)
		return true, nil
	})
	return all, err
}

func readLanded(dir string) ([]trace, error) {
	f, err := os.Open(filepath.Join(dir, landedName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, errors.New("nothing was committed there, or the commit was not finished")
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, err := decodeLanded(f)
	if err != nil {
		return nil, fmt.Errorf("read what landed: %w", err)
	}
	return all, nil
}

// Landed lists what the commit in dir created or modified, as it left it.
func Landed(dir string) ([]Landing, error) {
	all, err := readLanded(dir)
	if err != nil {
		return nil, err
	}
	var list []Landing
	for i := range all {
		l := &all[i]
		if k := l.Entry.Kind; !l.Stray && (k == changeset.Created || k == changeset.Modified) && l.Left != (changeset.Identity{}) {
			list = append(list, Landing{Entry: &l.Entry, Path: l.Entry.Path, Identity: l.Left, Digest: l.Entry.After.Digest})
		}
	}
	return list, nil
}

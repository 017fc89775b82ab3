// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// item is an entry with all that has to be known to apply it. The journal has
// it, so that Recover knows it too.
type item struct {
	Entry  changeset.Entry `json:"entry"`
	At     raw.String      `json:"at"`            // its path before the commit; of what is new: the path that its place had
	Home   inode           `json:"home,omitzero"` // the directory that its place is in; zero where Within is set
	Away   inode           `json:"away,omitzero"` // of Renamed: the directory that it was in
	Within int             `json:"within"`        // the item that creates the directory that its place is in; -1: none
	Staged inode           `json:"-"`             // what was made for it, in journal records of their own
}

// verdict is why an item is not applied.
type verdict uint8

const (
	refused verdict = iota + 1
	conflicting
	failing
)

var verdictNames = [...]string{refused: "refused", conflicting: "conflicting", failing: "failing"}

func (v verdict) MarshalText() ([]byte, error) {
	if int(v) >= len(verdictNames) || verdictNames[v] == "" {
		return nil, fmt.Errorf("there is no verdict %d", v)
	}
	return []byte(verdictNames[v]), nil
}

func (v *verdict) UnmarshalText(b []byte) error {
	for i, name := range verdictNames {
		if name != "" && name == string(b) {
			*v = verdict(i)
			return nil
		}
	}
	return fmt.Errorf("unknown verdict %q", b)
}

// left is an item that is not applied.
type left struct {
	Verdict verdict `json:"verdict"`
	Left
}

// work is a commit while it is at it.
type work struct {
	ctx     context.Context
	owner   rootfs.Owner
	id      string // of the names that it hides things under
	place   *place
	trash   int   // descriptor
	kin     *hand // with the right to link to others' files; nil until it is needed
	journal *journal
	again   bool // it was cut off, and Recover goes on

	items  []item
	done   []bool         // by item
	over   map[int]left   // by item: it is not applied
	gone   []left         // entries that are no items: they were left before the journal was written
	stage  []string       // by item: where it is staged
	users  map[int][]int  // by item: those that can't be applied without it
	needs  map[int][]int  // the reverse
	placed map[string]int // by path after: Created and Renamed
	from   map[string]int // by path before: Renamed
	taken  map[string]int // by path before: Deleted
	other  map[string]int // by path after: Modified
	lifted map[int]stand  // by item: where a Renamed is
	moved  map[inode]bool // what this commit itself touched under another name: its ctime says nothing more
	opened []opened       // directories that were given rights, to be taken again
	buffer []byte
	landed []trace
}

// stand is where a renamed directory is.
type stand uint8

const (
	hidden stand = iota + 1 // under a name of its own in the root
	arrived
)

// opened is a directory whose owner was given all rights for as long as the
// commit takes.
type opened struct {
	Path raw.String `json:"path"` // where it was then
	ID   inode      `json:"id"`
	Mode uint32     `json:"mode"` // that it gets again
}

// hide is the name that something of an item has in its directory until it is
// in its place, or in the trash.
func (w *work) hide(i int) string { return hiddenPrefix + w.id + "-" + strconv.Itoa(i) }

// hiddenPrefix begins every name that a commit hides something under.
const hiddenPrefix = ".clawsup-"

// index makes the tables of the items, which are in the set's order.
func (w *work) index() {
	n := len(w.items)
	w.done, w.over, w.stage = make([]bool, n), map[int]left{}, make([]string, n)
	w.users, w.needs = map[int][]int{}, map[int][]int{}
	w.placed, w.from, w.taken, w.other = make(map[string]int, n), map[string]int{}, make(map[string]int, n), map[string]int{}
	w.lifted, w.moved = map[int]stand{}, map[inode]bool{}
	for i := range w.items {
		switch e := &w.items[i].Entry; e.Kind {
		case changeset.Deleted:
			w.taken[string(e.Path)] = i
		case changeset.Created:
			w.placed[string(e.Path)] = i
		case changeset.Renamed:
			w.placed[string(e.Path)] = i
			w.from[string(e.From)] = i
		case changeset.Modified:
			w.other[string(e.Path)] = i
		}
	}
}

// origin gives the path that a place had before the commit, or the item that
// creates the directory it is in; and the Renamed that it lies beneath, or -1.
func (w *work) origin(path string) (at string, within, beneath int) {
	for up := parent(path); up != ""; up = parent(up) {
		i, ok := w.placed[up]
		if !ok {
			continue
		}
		e := &w.items[i].Entry
		if e.Kind == changeset.Renamed {
			return string(e.From) + path[len(up):], -1, i
		}
		return "", i, -1
	}
	return path, -1, -1
}

// now gives where the path of before is at this moment, renamed directories
// being on their way.
func (w *work) now(at string) string {
	for up := at; up != ""; up = parent(up) {
		i, ok := w.from[up]
		if !ok {
			continue
		}
		switch w.lifted[i] {
		case hidden:
			return w.hide(i) + at[len(up):]
		case arrived:
			return string(w.items[i].Entry.Path) + at[len(up):]
		}
	}
	return at
}

// home is the directory that an item's place is in.
func (w *work) home(i int) inode {
	if in := w.items[i].Within; in >= 0 {
		return w.items[in].Staged
	}
	return w.items[i].Home
}

// live says whether an item is still to be applied.
func (w *work) live(i int) bool {
	_, over := w.over[i]
	return !over
}

// errFatal says that the whole commit can't go on.
type errFatal struct{ error }

func (e errFatal) Unwrap() error { return e.error }

// fatal says whether an error is of the disk or the process, and so no matter
// of one item.
func fatal(err error) bool {
	var f errFatal
	if errors.As(err, &f) {
		return true
	}
	for _, all := range []error{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EIO, unix.EMFILE, unix.ENFILE, unix.ENOMEM,
		context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, all) {
			return true
		}
	}
	return false
}

// errConflict says that a file is another than was judged.
var errConflict = errors.New("the file in the workspace is another than was judged, or was changed since")

// blame leaves an item with the reason that an error is.
func (w *work) blame(i int, err error) {
	v, why := failing, err.Error()
	switch {
	case errors.Is(err, errMoved), errors.Is(err, errConflict), errors.Is(err, unix.EEXIST):
		v = conflicting
	case errors.Is(err, unix.EPERM):
		why += "; the file may be immutable, or of another in a sticky directory"
	case errors.Is(err, unix.EACCES):
		why += "; the workspace's owner may not do it"
	}
	if errors.Is(err, unix.EEXIST) {
		why = "something else has come to this path"
	}
	w.leave(i, v, why)
}

// remark reports what an item lacks that was applied otherwise.
func (w *work) remark(i int, err error) {
	w.gone = append(w.gone, w.leftOf(i, failing, err.Error()))
}

// report tells what came of it, in the set's order.
func (w *work) report() *Report {
	r := &Report{}
	all := w.gone
	for i := range w.items {
		if l, over := w.over[i]; over {
			all = append(all, l)
		} else {
			r.Applied++
		}
	}
	sortLeft(all)
	for _, l := range all {
		switch l.Verdict {
		case refused:
			r.Refused = append(r.Refused, l.Left)
		case conflicting:
			r.Conflicts = append(r.Conflicts, l.Left)
		default:
			r.Failed = append(r.Failed, l.Left)
		}
	}
	return r
}

// loosen gives the owner all rights in a directory of theirs, and writes down
// what to take again.
func (w *work) loosen(fd int, path string, st *unix.Stat_t) error {
	o := opened{Path: raw.String(path), ID: inodeOf(st), Mode: st.Mode & 0o7777}
	if err := w.journal.add(record{Opened: &o}, true); err != nil {
		return errFatal{err}
	}
	w.opened = append(w.opened, o)
	return chmod(fd, o.Mode|0o700)
}

// tighten takes the rights again, the last first, wherever the directories are.
func (w *work) tighten() {
	for len(w.opened) > 0 {
		o := w.opened[len(w.opened)-1]
		w.opened = w.opened[:len(w.opened)-1]
		path := w.known(string(o.Path))
		_ = w.restore(w.now(path), o) || w.restore(path, o)
	}
}

// known gives, for a path beneath a renamed directory's hidden name, the one
// that it had before.
func (w *work) known(path string) string {
	top, rest, _ := strings.Cut(path, "/")
	number, ok := strings.CutPrefix(top, hiddenPrefix+w.id+"-")
	if i, err := strconv.Atoi(number); ok && err == nil && i >= 0 && i < len(w.items) && w.items[i].Entry.Kind == changeset.Renamed {
		return strings.TrimSuffix(join(string(w.items[i].Entry.From), rest), "/")
	}
	return path
}

func (w *work) restore(path string, o opened) bool {
	fd, err := w.place.dir(path, o.ID, 0)
	if err != nil {
		return false
	}
	if chmod(fd, o.Mode) != nil {
		return false
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) == nil {
		for i := range w.landed {
			if l := &w.landed[i]; l.Left.Dev == o.ID.Dev && l.Left.Ino == o.ID.Ino {
				l.Left.Ctime = st.Ctim.Nano()
			}
		}
	}
	return true
}

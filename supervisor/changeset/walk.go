// SPDX-License-Identifier: Apache-2.0

package changeset

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/visible"
)

// Layer is what Walk reads.
type Layer struct {
	Upper  int       // directory descriptor of the layer's root, as the kernel's overlay left it, unmapped
	Lower  int       // directory descriptor of the workspace's root
	Owner  uint32    // uid of the workspace's owner, whose files are not Foreign
	Begin  time.Time // what the workspace's file system would have stamped when the call began: later changes are conflicts
	Unsure bool      // the clock was set since: everything that was there before is a Conflict
	Most   int       // entries; 0: MaxEntries
}

// The bounds.
const (
	MaxEntries = 1_000_000
	MaxDepth   = 512       // directories in one another; two descriptors for each are open
	MaxPath    = 32 << 10  // bytes of a path
	MaxText    = 128 << 20 // bytes of all paths, targets and attributes of a set
	MaxXattrs  = 64 << 10  // bytes of the names and values of a file's user.* attributes
	MaxHoles   = 16 << 30  // bytes of holes that one walk hashes
)

// ErrTooMany says that a set would have more entries than it may, or that they
// would be larger or deeper.
var ErrTooMany = errors.New("the call changed more files than a change set may name")

// Walk gives the change set of a layer that nothing writes any more. It takes
// root; the errors are those of the system, of ctx, and ErrTooMany.
func Walk(ctx context.Context, l Layer) (*Set, error) {
	w := newWalker(ctx, l)
	lower, err := directory(l.Lower, ".")
	if err != nil {
		return nil, fmt.Errorf("the workspace: %w", err)
	}
	defer unix.Close(lower)
	w.lower = lower
	for _, step := range []func(place) error{w.scan, w.walk} {
		upper, err := directory(l.Upper, ".")
		if err != nil {
			return nil, fmt.Errorf("the layer: %w", err)
		}
		err = step(place{upper: upper, lower: lower})
		_ = unix.Close(upper)
		if err != nil {
			return nil, err
		}
	}
	set := &Set{Entries: w.entries}
	set.Sort()
	return set, nil
}

// walker is at work on one layer.
type walker struct {
	Layer
	ctx     context.Context
	lower   int // the workspace's root, open for more than Layer.Lower may be
	begin   int64
	moved   map[string]bool // directories of the workspace over which the layer has one by a redirect
	links   map[uint64]int  // entry of the first name of a created file with several, by its inode
	entries []Entry
	found   int   // names in the layer
	text    int   // bytes that are left
	holes   int64 // bytes that are left
	hash    hash.Hash
	names   []byte // of a directory, for getdents64
	labels  []byte // names of attributes
	value   []byte // of an attribute, or a link's target
	block   []byte // of a file
}

func newWalker(ctx context.Context, l Layer) *walker {
	if l.Most <= 0 || l.Most > MaxEntries {
		l.Most = MaxEntries
	}
	return &walker{
		ctx: ctx, Layer: l, begin: l.Begin.UnixNano(), holes: MaxHoles, text: MaxText, hash: sha256.New(),
		moved: map[string]bool{}, links: map[uint64]int{},
		names: make([]byte, 64<<10), labels: make([]byte, 64<<10), value: make([]byte, 64<<10), block: make([]byte, 256<<10),
	}
}

// place is a directory of the layer, with the one of the workspace beneath it.
type place struct {
	upper int
	lower int    // -1: none
	path  string // in the layer
	was   string // in the workspace, if lower is not -1
	depth int

	opaque bool // what is in the one of the workspace is gone, unless it was moved
}

// placed is an error with the path at which it happened.
type placed struct {
	path string
	err  error
}

func (e *placed) Error() string { return visible.Quote(e.path) + ": " + e.err.Error() }
func (e *placed) Unwrap() error { return e.err }

// at says where an error happened, unless that is said already.
func at(path string, err error) error {
	const most = 200
	var said *placed
	if err == nil || errors.As(err, &said) {
		return err
	}
	if len(path) > most {
		path = path[:most] + "…"
	}
	return &placed{path, err}
}

// below opens a directory of the layer.
func (w *walker) below(p place, name string) (place, error) {
	path, err := join(p.path, name)
	if err != nil {
		return p, err
	}
	if p.depth+1 > MaxDepth {
		return p, fmt.Errorf("%w: more than %d directories in one another", ErrTooMany, MaxDepth)
	}
	fd, err := directory(p.upper, name)
	if err != nil {
		return p, at(path, err)
	}
	return place{upper: fd, lower: -1, path: path, depth: p.depth + 1}, nil
}

// scan finds what was moved, which has to be known before it is decided what
// is gone. It opens directories alone.
func (w *walker) scan(p place) error {
	var names []string
	err := w.list(p.upper, func(name []byte, kind byte) {
		w.found++
		if kind == unix.DT_DIR || kind == unix.DT_UNKNOWN {
			names = append(names, string(name))
		}
	})
	if err != nil {
		return at(p.path, err)
	}
	for _, name := range names {
		st, _, err := look(p.upper, name)
		if err != nil {
			return at(p.path, err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			continue
		}
		q, err := w.below(p, name)
		if err != nil {
			return err
		}
		if err = w.scanned(p, &q, name); err == nil {
			err = w.scan(q)
		}
		_ = unix.Close(q.upper)
		if err != nil {
			return at(q.path, err)
		}
	}
	return nil
}

// scanned notes where the workspace has a directory of the layer. Whether it is
// there is seen later.
func (w *walker) scanned(p place, q *place, name string) error {
	how, origin, err := w.origin(*q, p)
	if err != nil {
		return err
	}
	switch {
	case how == opaque:
		q.opaque = true
		return nil
	case how == byName && p.lower < 0:
		return nil
	case how == byName:
		q.lower = w.lower
		q.was, err = join(p.was, name)
		return err
	case w.moved[origin]:
		return fmt.Errorf("the layer has %s of the workspace twice", visible.Quote(origin))
	}
	q.lower, q.was, w.moved[origin] = w.lower, origin, true
	return nil
}

// walk makes the entries of what is in a directory.
func (w *walker) walk(p place) error {
	if p.depth == 0 {
		w.entries = make([]Entry, 0, min(w.found, w.Most))
	}
	names, err := w.sorted(p.upper)
	if err != nil {
		return at(p.path, err)
	}
	for _, name := range names {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		path, err := join(p.path, name)
		if err != nil {
			return err
		}
		st, ok, err := look(p.upper, name)
		switch {
		case err != nil || !ok:
			return at(path, fmt.Errorf("the layer: %w", errors.Join(err, errGone)))
		case whiteout(&st):
			err = w.vanish(p, name)
		case st.Mode&unix.S_IFMT == unix.S_IFDIR:
			err = w.folder(p, name)
		default:
			err = w.leaf(p, name, path, &st)
		}
		if err != nil {
			return at(path, err)
		}
	}
	return nil
}

// add appends an entry.
func (w *walker) add(e Entry) error {
	if len(w.entries) >= w.Most {
		return fmt.Errorf("%w: %d", ErrTooMany, w.Most)
	}
	w.text -= e.text()
	if w.text < 0 {
		return fmt.Errorf("%w: more than %d bytes of names and attributes", ErrTooMany, MaxText)
	}
	w.entries = append(w.entries, e)
	return nil
}

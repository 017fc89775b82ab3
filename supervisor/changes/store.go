// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/clawsup/clawsup/runtime/overlay"
	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Options say where a store is and what it is bound to.
type Options struct {
	Dir    string           // root's; a directory for each change set is in it
	Locks  string           // root's, gone with a reboot: locks of trees, common to all processes
	Maker  overlay.Maker    // without Blanks these are in Dir
	Bounds func() Bounds    // of the present configuration
	Now    func() time.Time // nil: time.Now
}

// Bounds are the configuration's.
type Bounds struct {
	Keep      time.Duration // of what is held, and of trash
	Max       int64         // bytes of all that is held and of all trash: see Expire
	Wait      time.Duration // for calls that are at work on a tree, before a commit
	Protected []string      // patterns beyond the built-in ones
}

// Store keeps change sets. Several processes may have one open.
type Store struct {
	o     Options
	gates *gates
	walks crowd // who reads a layer
	heavy crowd // who is at work on a large change set

	mu     sync.Mutex
	parked map[string]*piece // mu; by id
	news   chan struct{}     // mu; closed when a piece is parked, and replaced
}

// Errors, wrapped.
var (
	ErrUnknown  = errors.New("there is no such change set")
	ErrOver     = errors.New("it is decided already")
	ErrBusy     = errors.New("calls are at work on the workspace")
	ErrReplaced = errors.New("the workspace is another directory now than when the call began")
)

// Names in a store's directory beside those of change sets.
const (
	blanksName = ".blanks"
	making     = ".making-" // a change set that is about to be
	going      = ".going-"  // one that was removed, while its files go
	unread     = ".unread-" // one whose record can't be read
)

// Open makes a store ready: it finishes commits that were cut off, holds what a
// killed call left, if anything, and empties what is too old. It doesn't touch
// what another process is at work on.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Maker.Blanks == "" {
		o.Maker.Blanks = filepath.Join(o.Dir, blanksName)
	}
	for _, dir := range []string{o.Dir, o.Maker.Blanks, filepath.Join(o.Dir, sessionsName)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(o.Dir, 0o700); err != nil {
		return nil, err
	}
	gates, err := openGates(o.Locks)
	if err != nil {
		return nil, err
	}
	s := &Store{o: o, gates: gates, walks: walkers(), heavy: newCrowd(1), parked: map[string]*piece{}, news: make(chan struct{})}
	if err := errors.Join(s.recover(ctx), s.Expire(ctx)); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close gives up what is open. What is undecided is durable then, and who was
// asked about a change set is asked no more.
func (s *Store) Close() error {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.parked))
	clear(s.parked)
	s.mu.Unlock()
	var errs []error
	for _, p := range all {
		if p.State == Asking {
			p.become(Held, s.o.Now())
			p.Reason = "who asked about it ended before there was an answer"
		}
		errs = append(errs, p.settle(), p.leave())
	}
	return errors.Join(append(errs, s.gates.dir.Close())...)
}

// List gives all change sets, newest first. One whose record can't be read is
// left out; the next Open sets it aside.
func (s *Store) List() ([]Change, error) {
	entries, err := s.entries()
	if err != nil {
		return nil, err
	}
	b := s.o.Bounds()
	list := make([]Change, len(entries))
	for i, e := range entries {
		list[i] = e.fill(s.path(e.ID), b)
	}
	return list, nil
}

// Find gives the change set with an id, or a beginning of one that no other has.
func (s *Store) Find(id string) (Change, error) {
	if err := checkID(id); err != nil {
		return Change{}, err
	}
	e, err := readEntry(s.path(id))
	if errors.Is(err, os.ErrNotExist) {
		var all []os.DirEntry
		if all, err = os.ReadDir(s.o.Dir); err != nil {
			return Change{}, err
		}
		all = slices.DeleteFunc(all, func(d os.DirEntry) bool { return !strings.HasPrefix(d.Name(), id) })
		switch len(all) {
		case 0:
			return Change{}, unknown(id, os.ErrNotExist)
		case 1:
			id = all[0].Name()
			e, err = readEntry(s.path(id))
		default:
			return Change{}, fmt.Errorf("%s: %w: %d begin with it", visible.Text(id), ErrUnknown, len(all))
		}
	}
	if err != nil {
		return Change{}, unknown(id, err)
	}
	return e.fill(s.path(id), s.o.Bounds()), nil
}

// Set gives the entries. Those of a Writing one are read from its layer now,
// unless a call is at work: then it is ErrBusy.
func (s *Store) Set(ctx context.Context, id string) (*changeset.Set, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	e, err := readEntry(s.path(id))
	if err != nil {
		return nil, unknown(id, err)
	}
	if e.State != Writing {
		return e.set(s.path(id))
	}
	p, err := s.claim(id)
	if errors.Is(err, errTaken) {
		return nil, fmt.Errorf("%s: %w", id, ErrBusy)
	}
	if err != nil {
		return nil, err
	}
	if p.State != Writing {
		set, err := p.set(p.dir)
		return set, errors.Join(err, p.leave())
	}
	set, err := p.look(ctx)
	return set, errors.Join(err, p.shut(), p.leave())
}

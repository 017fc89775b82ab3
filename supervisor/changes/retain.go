// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/clawsup/clawsup/supervisor/commit"
)

// Who decides where nobody did.
const byRetention = "retention"

// mostOver bounds the records of what is over and takes no room.
const mostOver = 10_000

// allocated is what a file takes on the disk.
func allocated(st os.FileInfo) int64 {
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return s.Blocks * 512
	}
	return st.Size()
}

// Expire does what the bounds say of age and size. What is held too long is
// discarded, trash is emptied, and what is left of either, the record of it,
// goes after as long again. What somebody is at work on stays. Where there is
// more than Bounds.Max, trash is emptied above three quarters of it, and then
// what is held is discarded, the oldest of whoever has the most first.
func (s *Store) Expire(ctx context.Context) error {
	entries, err := s.entries()
	if err != nil {
		return err
	}
	slices.Reverse(entries) // the oldest first
	b, now := s.o.Bounds(), s.o.Now()
	var errs []error
	over := 0
	for _, e := range entries {
		if e.State.Over() {
			over++
		}
	}
	var rest []*entry
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if e.Working != "" {
			errs = append(errs, s.orphan(ctx, e.ID, b, now))
			continue
		}
		t := e.fate(b, now, over)
		if t == stay {
			rest = append(rest, e)
			continue
		}
		_, err := s.meet(e, t, b)
		if errors.Is(err, errTaken) || errors.Is(err, ErrUnknown) {
			continue
		}
		if t == vanish && err == nil {
			over--
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, s.shrink(ctx, rest, b, now))...)
}

// fate is what becomes of a change set by itself.
type fate int

const (
	stay   fate = iota
	tooOld      // discarded, or its trash emptied
	noRoom      // the same, see shrink
	vanish      // the record goes
)

func (e *entry) fate(b Bounds, now time.Time, over int) fate {
	old := !now.Before(e.Since.Add(b.Keep))
	switch {
	case e.State == Asking: // who asked decides
		return stay
	case e.State == Discarded, e.State == Committed && !e.Trash:
		if old || over > mostOver {
			return vanish
		}
		return stay
	case old:
		return tooOld
	}
	return stay
}

// orphan looks after what a call wrote whose process is gone. What can't be
// listed for as long as it is kept is discarded.
func (s *Store) orphan(ctx context.Context, id string, b Bounds, now time.Time) error {
	p, err := s.claim(id)
	if errors.Is(err, errTaken) || errors.Is(err, ErrUnknown) {
		return nil
	}
	if err != nil {
		return err
	}
	if p.Working == "" { // it has ended meanwhile
		return p.leave()
	}
	if err = p.takeUp(ctx); err != nil && !p.gone && !now.Before(p.Since.Add(b.Keep)) {
		_, gone := p.discard(byRetention, "what the call changed could not be listed: "+clip(err.Error()))
		return gone
	}
	return errors.Join(err, p.leave())
}

// meet does it, if nobody is at work on the change set, and gives the bytes
// that it set free.
func (s *Store) meet(e *entry, t fate, b Bounds) (int64, error) {
	p, err := s.claim(e.ID)
	if err != nil {
		return 0, err
	}
	size := p.fill(p.dir, b).Bytes
	switch {
	case p.State != e.State, !p.Since.Equal(e.Since), p.layer != nil, p.Trying: // somebody is at it, or was when it was cut off
		return 0, p.leave()
	case t == vanish:
		return 0, p.remove()
	case p.State == Committed:
		err := p.empty()
		return size, errors.Join(err, p.leave())
	}
	_, err = p.discard(byRetention, p.tooLong(t, b))
	return size, err
}

// tooLong says in words why something is discarded.
func (p *piece) tooLong(t fate, b Bounds) string {
	if t == noRoom {
		return fmt.Sprintf("all change sets together took more than %d bytes, and it was the oldest of who had most of it", b.Max)
	}
	return fmt.Sprintf("nobody decided within %s", b.Keep)
}

// empty empties the trash.
func (p *piece) empty() error {
	if err := commit.Empty(filepath.Join(p.dir, commitName)); err != nil {
		return err
	}
	p.Trash, p.Trashed, p.Since = false, 0, p.store.o.Now()
	return p.keep(p.dir)
}

// Trash lists what a committed change set has in the trash.
func (s *Store) Trash(id string) ([]commit.Trashed, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	e, err := readEntry(s.path(id))
	if err != nil {
		return nil, unknown(id, err)
	}
	if e.State != Committed || !e.Trash {
		return nil, nil
	}
	return commit.Trash(filepath.Join(s.path(id), commitName))
}

// Empty empties the trash of change sets that were committed before a moment,
// or of one, and gives the bytes that it set free.
func (s *Store) Empty(ctx context.Context, id string, before time.Time) (int64, error) {
	if id != "" {
		wait, cancel := s.bounded(ctx)
		defer cancel()
		p, err := s.take(wait, id)
		if err != nil {
			return 0, err
		}
		n, err := p.emptied(before)
		return n, errors.Join(err, p.leave())
	}
	entries, err := s.entries()
	if err != nil {
		return 0, err
	}
	var total int64
	var errs []error
	for _, e := range entries {
		if !e.Trash || ctx.Err() != nil {
			continue
		}
		p, err := s.claim(e.ID)
		if errors.Is(err, errTaken) || errors.Is(err, ErrUnknown) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		n, err := p.emptied(before)
		total += n
		errs = append(errs, err, p.leave())
	}
	return total, errors.Join(append(errs, ctx.Err())...)
}

func (p *piece) emptied(before time.Time) (int64, error) {
	if p.State != Committed || !p.Trash || p.Ended.After(before) {
		return 0, nil
	}
	n := p.Trashed
	return n, p.empty()
}

// Forget drops what is known of a session that is over: its open change set is
// held, and nothing is its own any more.
func (s *Store) Forget(ctx context.Context, session string) error {
	if err := checkSession(session); err != nil {
		return err
	}
	entries, err := s.entries()
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if e.Session != session || e.State != Writing || !e.Keep {
			continue
		}
		if err := s.forget(ctx, e.ID); err != nil && !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrOver) {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	if _, err := os.Lstat(filepath.Join(s.o.Dir, sessionsName, session)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	dir, l, err := s.session(ctx, session)
	if err != nil {
		return err
	}
	defer l.release()
	return os.RemoveAll(dir)
}

func (s *Store) forget(ctx context.Context, id string) error {
	wait, cancel := s.bounded(ctx)
	defer cancel()
	p, err := s.undecided(wait, id, "")
	if err != nil {
		return err
	}
	return errors.Join(p.hold("the session ended before anybody decided"), p.leave())
}

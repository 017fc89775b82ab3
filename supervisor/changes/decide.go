// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"context"
	"errors"
	"fmt"
)

// open gives the caller a change set of which nothing is decided, or ErrOver. A
// commit of it that was cut off is finished first: what is in the workspace
// already, or half of it, can't be discarded.
func (s *Store) open(ctx context.Context, id string) (*piece, error) {
	p, err := s.take(ctx, id)
	if err != nil {
		return nil, err
	}
	if p.Trying {
		if err := p.resume(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("change set %s: a commit of it was cut off, and can't be finished: %w", id, err), p.leave())
		}
	}
	if p.State.Over() {
		return nil, errors.Join(fmt.Errorf("change set %s: %w: it was %s", id, ErrOver, p.State), p.leave())
	}
	return p, nil
}

// undecided gives the caller a change set that is to be decided, with its
// entries listed, or ErrOver. It waits as long as the bounds say.
func (s *Store) undecided(ctx context.Context, id, reason string) (*piece, error) {
	p, err := s.open(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := p.freeze(ctx, reason); err != nil {
		return nil, errors.Join(err, p.shut(), p.leave())
	}
	return p, nil
}

// bounded is for waits: the cause of their end is ErrBusy.
func (s *Store) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, s.o.Bounds().Wait, ErrBusy)
}

// Asked says that people are asked about a held change set. Until there is an
// answer, by Commit, Discard or Hold, no other process decides about it.
func (s *Store) Asked(id, ticket string) error {
	ctx, cancel := s.bounded(context.Background())
	defer cancel()
	p, err := s.undecided(ctx, id, "")
	if err != nil {
		return err
	}
	p.become(Asking, s.o.Now())
	p.Ticket, p.Reason = ticket, ""
	return errors.Join(p.settle(), p.leave())
}

// Hold says that nobody decided, and why.
func (s *Store) Hold(id, reason string) (Change, error) {
	ctx, cancel := s.bounded(context.Background())
	defer cancel()
	p, err := s.undecided(ctx, id, reason)
	if err != nil {
		return Change{}, err
	}
	err = p.hold(reason)
	c := p.fill(p.dir, s.o.Bounds())
	return c, errors.Join(err, p.leave())
}

// hold makes it held, durably, and closes the layer.
func (p *piece) hold(reason string) error {
	p.become(Held, p.store.o.Now())
	p.Reason, p.Ruled = reason, false
	if p.Because == nil {
		p.foresee()
	}
	return p.settle()
}

// Discard throws a change set away.
func (s *Store) Discard(ctx context.Context, id, by, reason string) (Change, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	p, err := s.open(ctx, id)
	if err != nil {
		return Change{}, err
	}
	return p.discard(by, reason)
}

// discard throws the piece's layer away, and gives the piece up.
func (p *piece) discard(by, reason string) (Change, error) {
	s := p.store
	was := p.entry
	p.become(Discarded, s.o.Now())
	p.By, p.Reason, p.Working = by, reason, ""
	// First the record: without its layer an undecided one would be lost work
	// that nobody wanted to lose.
	if err := p.entry.keep(p.dir); err != nil {
		p.entry = was
		return Change{}, errors.Join(err, p.leave())
	}
	err := p.drop()
	if p.Keep {
		err = errors.Join(err, s.unkeep(p))
	}
	c := p.fill(p.dir, s.o.Bounds())
	return c, errors.Join(err, p.leave())
}

// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"errors"
	"sync"
	"time"
)

// closer is a box or a template on its way out.
type closer interface{ Close() error }

// closeAll closes side by side: the end of a box is mostly waiting for the kernel.
func closeAll(all []closer) error {
	errs := make([]error, len(all))
	var group sync.WaitGroup
	for i, c := range all {
		group.Go(func() { errs[i] = c.Close() })
	}
	group.Wait()
	return errors.Join(errs...)
}

// discard closes in the background, and lets those try that wait for room.
func (p *Pool[S, B]) discard(all []closer) {
	for _, c := range all {
		p.work.Go(func() {
			p.report(c.Close())
			p.Released()
		})
	}
}

func (p *Pool[S, B]) report(err error) {
	if err != nil {
		p.source.Trouble(err)
	}
}

// Drain closes the waiting boxes and the templates for which match says so, and
// says how many boxes there were. A box that was being made meanwhile never
// waits in the pool: it goes to the Take that makes it and has begun before, or
// is closed. Keys that are drained are forgotten, with the specs that were
// theirs. match is asked under the pool's lock: for a template with each
// profile and without a session, for a box with everybody who asked for its key. Where
// those are too many to remember, it is taken to match.
func (p *Pool[S, B]) Drain(match func(Labels) bool) (int, error) {
	p.mu.Lock()
	before := p.waiting
	rest := p.drain(match, time.Now())
	n := before - p.waiting
	p.mu.Unlock()
	err := closeAll(rest)
	p.Released()
	return n, err
}

func (p *Pool[S, B]) drain(match func(Labels) bool, now time.Time) (rest []closer) {
	for _, s := range p.shelves {
		if s.owners.match(match) {
			rest = append(rest, p.forget(s, dropped)...)
		}
	}
	for _, t := range p.templates {
		if t.profiles.match(func(name string) bool { return match(Labels{Profile: name}) }) {
			rest = append(rest, p.drop(t, dropped, now)...)
		}
	}
	return rest
}

// Stop drains the pool of everything and refuses all Takes, also those that
// wait or have begun, until Start.
func (p *Pool[S, B]) Stop() error { return p.stop(ErrStopped) }

func (p *Pool[S, B]) stop(why error) error {
	p.mu.Lock()
	if p.shut == nil || why == ErrClosed {
		p.shut = why
	}
	p.stops++
	rest := p.drain(func(Labels) bool { return true }, time.Now())
	p.endLine(why)
	p.mu.Unlock()
	return closeAll(rest)
}

// Start ends a Stop.
func (p *Pool[S, B]) Start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shut == ErrStopped {
		p.shut = nil
	}
}

// Close drains the pool for good and returns when nothing of it is left but
// boxes that were taken. Takes that are making a box end first; ending their
// contexts speeds it up.
func (p *Pool[S, B]) Close() error {
	err := p.stop(ErrClosed)
	p.cancel()
	p.work.Wait()
	return err
}

// Set changes the bounds. What is beyond them is closed in the background.
func (p *Pool[S, B]) Set(config Config) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.config = config
	p.trimBoxes(now)
	p.discard(p.trimTemplates(now))
	for _, s := range p.shelves {
		p.feed(s, now)
	}
	p.admit()
	p.arm(now) // the other clocks
}

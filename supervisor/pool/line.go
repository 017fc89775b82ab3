// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"time"
)

// retryEvery is how often the first in line tries again where the host has no
// room and no box goes: other programs may have made room.
const retryEvery = time.Second

// Refused says why a Take got no box in the time that it had.
type Refused struct {
	Waited time.Duration
	Reason error // the Source's last error, or that too many were being made
	Cause  error // ctx's; nil: Config.Wait was over
}

func (r *Refused) Error() string {
	return fmt.Sprintf("no sandbox within %v: %v", r.Waited.Round(time.Millisecond), r.Reason)
}

// Unwrap gives Reason and, where there is one, Cause.
func (r *Refused) Unwrap() []error {
	if r.Cause == nil {
		return []error{r.Reason}
	}
	return []error{r.Reason, r.Cause}
}

var errBusy = errors.New("other calls' sandboxes are being made, as many at once as may be")

// line orders the Takes that make their own boxes. The pool's lock guards it.
type line[S any, B Box] struct {
	waiting list.List // *waiter, in the order of their arrival
	going   int       // how many are making a box
	last    uint64    // number of the latest
	// tight: one found the host without room. Then only as many go as there is
	// reason to think that it helps: tries. It ends when nobody waits who had to,
	// or after some successes in a row.
	tight  bool
	tries  int
	luck   int    // the successes
	failed int    // those in line or going that found no room
	gone   uint64 // how often a box went, or may have
}

// muchLuck is how many successes in a row show that there is room again.
const muchLuck = 4

// waiter is a Take in line.
type waiter[S any, B Box] struct {
	shelf  *shelf[S, B]
	number uint64
	begun  time.Time
	stops  int           // Pool.stops when it began
	wake   chan struct{} // something of the below has changed; holds one
	place  *list.Element // pool.mu; where it waits; nil: it doesn't
	going  bool          // pool.mu; it may make a box
	failed bool          // pool.mu; it found the host without room
	box    *Taken[S, B]  // pool.mu; it has one
	err    error         // pool.mu; it gets none
	reason error         // pool.mu; why it has none yet
}

// takeNew makes a box, in turn. It is called with the lock.
func (p *Pool[S, B]) takeNew(ctx context.Context, w *Want[S], s *shelf[S, B], now time.Time) (*Taken[S, B], error) {
	p.work.Add(1)
	defer p.work.Done()
	p.line.last++
	me := &waiter[S, B]{
		shelf: s, number: p.line.last, begun: now, stops: p.stops,
		wake: make(chan struct{}, 1), reason: errBusy,
	}
	p.queue(me)
	for give := 1; ; {
		if err := p.await(ctx, me); err != nil {
			return nil, p.countRefused(s, w, err)
		}
		if me.box == nil {
			me.box = p.find(s, time.Now()) // made ahead while this one tried
		}
		if me.box != nil {
			p.finish(me)
			return p.own(me.box, w, me)
		}
		gone := p.line.gone
		box, err := p.try(ctx, w, me)
		if err == nil {
			p.line.luck++
			p.finish(me)
			return p.own(box, w, me)
		}
		if !p.source.Exhausted(err) {
			p.finish(me)
			return nil, err
		}
		p.fail(me, err)
		if len(s.waiting) > 0 {
			continue
		}
		if rest := p.giveUp(s, give, time.Now()); len(rest) > 0 {
			give *= 2
			p.mu.Unlock()
			p.report(closeAll(rest))
			p.mu.Lock()
			continue
		}
		if wait := p.config.Wait; wait > 0 && time.Since(me.begun) >= wait {
			return nil, p.countRefused(s, w, p.leave(ctx, me))
		}
		if p.line.gone != gone {
			p.line.tries++ // that may be what was missing
		}
		p.line.going--
		me.going = false
		p.queue(me)
	}
}

func (p *Pool[S, B]) countRefused(s *shelf[S, B], w *Want[S], err error) error {
	if r := (*Refused)(nil); errors.As(err, &r) {
		p.count(s, w.Labels, refused)
	}
	return err
}

// try makes one box, and a second time if it was the template that failed. It is
// called with the lock, and gives it up meanwhile.
func (p *Pool[S, B]) try(ctx context.Context, w *Want[S], me *waiter[S, B]) (*Taken[S, B], error) {
	for again := false; ; again = true {
		if err := p.stopped(me); err != nil {
			return nil, err
		}
		t := p.attach(me.shelf, w.Spec, w.Once, time.Now())
		p.mu.Unlock()
		box, took, err := p.prepare(ctx, t, w.Spec)
		p.mu.Lock()
		now := time.Now()
		dead := p.prepared(t, took, err, now)
		if err == nil {
			p.count(me.shelf, w.Labels, made)
			own := &Taken[S, B]{Box: box, pool: p, shelf: me.shelf, from: t}
			p.handOut(own, now)
			return own, nil
		}
		if again || !dead {
			return nil, err
		}
	}
}

// own gives a waiter its box, unless the pool was stopped since it began.
func (p *Pool[S, B]) own(t *Taken[S, B], w *Want[S], me *waiter[S, B]) (*Taken[S, B], error) {
	err := p.stopped(me)
	if err == nil {
		return t, nil
	}
	p.release(t, time.Now())
	p.count(me.shelf, w.Labels, dropped)
	p.discard([]closer{t.Box})
	return nil, err
}

// stopped says that a waiter began before a stop.
func (p *Pool[S, B]) stopped(me *waiter[S, B]) error {
	if p.stops == me.stops {
		return nil
	}
	return cmp.Or(p.shut, ErrStopped)
}

// await returns when a waiter may make a box, or has one. It is called with the
// lock, and gives it up meanwhile.
func (p *Pool[S, B]) await(ctx context.Context, me *waiter[S, B]) error {
	for me.place != nil {
		next, wait := retryEvery, p.config.Wait
		if wait > 0 {
			next = min(next, wait-time.Since(me.begun))
		}
		timer := time.NewTimer(next)
		again := false
		p.mu.Unlock()
		select {
		case <-me.wake:
		case <-timer.C:
			again = true
		case <-ctx.Done():
		}
		timer.Stop()
		p.mu.Lock()
		switch {
		case me.place == nil: // whatever else there is
		case ctx.Err() != nil, wait > 0 && time.Since(me.begun) >= wait:
			return p.leave(ctx, me)
		case again && p.line.going == 0 && p.line.waiting.Front() == me.place:
			p.line.tries = max(p.line.tries, 1)
			p.admit()
		}
	}
	return me.err
}

// leave takes a waiter out of the line for whom time is over, and says so.
func (p *Pool[S, B]) leave(ctx context.Context, me *waiter[S, B]) error {
	p.finish(me)
	cause := context.Cause(ctx)
	if cause != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return cause // the caller gave up
	}
	return &Refused{Waited: time.Since(me.begun), Reason: me.reason, Cause: cause}
}

// queue puts a waiter in line, before all that came later.
func (p *Pool[S, B]) queue(me *waiter[S, B]) {
	if me.err = p.stopped(me); me.err != nil { // nobody would wake it
		p.finish(me)
		return
	}
	l := &p.line
	e := l.waiting.Back()
	for e != nil && e.Value.(*waiter[S, B]).number > me.number {
		e = e.Prev()
	}
	if e == nil {
		me.place = l.waiting.PushFront(me)
	} else {
		me.place = l.waiting.InsertAfter(me, e)
	}
	p.admit()
}

// call takes a waiter out of the line and wakes it.
func (p *Pool[S, B]) call(me *waiter[S, B]) {
	p.line.waiting.Remove(me.place)
	me.place = nil
	select {
	case me.wake <- struct{}{}:
	default:
	}
}

// fail notes that a waiter found the host without room.
func (p *Pool[S, B]) fail(me *waiter[S, B], reason error) {
	me.reason = reason
	p.line.tight, p.line.luck = true, 0
	if !me.failed {
		me.failed = true
		p.line.failed++
	}
}

// finish ends a waiter's wait, or its turn. The next may try where there was no
// room: if this one had success there may be more, and if not it uses none.
func (p *Pool[S, B]) finish(me *waiter[S, B]) {
	if me.place != nil {
		p.call(me)
	}
	if me.going {
		me.going = false
		p.line.going--
	}
	p.settle(me)
	p.line.tries++
	p.admit()
	p.nudge()
}

// settle undoes fail.
func (p *Pool[S, B]) settle(me *waiter[S, B]) {
	if me.failed {
		me.failed = false
		p.line.failed--
	}
}

// freed says that a box went, or that there may be room for another reason.
func (p *Pool[S, B]) freed() {
	p.line.gone++
	p.line.tries++
	p.admit()
}

// admit lets go who may.
func (p *Pool[S, B]) admit() {
	l := &p.line
	for l.waiting.Len() > 0 && (p.config.Makers <= 0 || l.going < p.config.Makers) {
		if l.tight = l.tight && l.luck < muchLuck; l.tight {
			if l.tries <= 0 {
				break
			}
			l.tries--
		}
		me := l.waiting.Front().Value.(*waiter[S, B])
		me.going = true
		l.going++
		p.call(me)
	}
	if l.waiting.Len() == 0 && l.failed == 0 {
		l.tight = false
	}
	l.tries = min(l.tries, l.waiting.Len()) // no more than can be used
}

// serve gives a box to the first in line for its key.
func (p *Pool[S, B]) serve(t *Taken[S, B], now time.Time) bool {
	for e := p.line.waiting.Front(); e != nil; e = e.Next() {
		if me := e.Value.(*waiter[S, B]); me.shelf == t.shelf {
			p.call(me)
			me.box = t
			p.handOut(t, now)
			return true
		}
	}
	return false
}

// endLine ends all waiting with an error.
func (p *Pool[S, B]) endLine(err error) {
	for p.line.waiting.Len() > 0 {
		me := p.line.waiting.Front().Value.(*waiter[S, B])
		p.call(me)
		p.settle(me)
		me.err = err
	}
}

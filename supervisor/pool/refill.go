// SPDX-License-Identifier: Apache-2.0

package pool

import "time"

// refill makes boxes ahead of demand, one after the other, and does what is
// due by the clock, until the pool is closed.
func (p *Pool[S, B]) refill() {
	for p.context.Err() == nil {
		p.mu.Lock()
		now := time.Now()
		p.expire(now)
		s := p.pick(now)
		if s == nil {
			p.mu.Unlock()
			select {
			case <-p.kick:
			case <-p.timer.C:
			case <-p.context.Done():
			}
			continue
		}
		p.ahead = s
		spec, cost := s.spec, s.cost
		t := p.attach(s, spec, false, now)
		p.mu.Unlock()

		box, took, err := p.prepare(p.context, t, spec)

		p.mu.Lock()
		now = time.Now()
		p.ahead = nil
		p.prepared(t, took, err, now)
		if err == nil {
			p.deliver(&Taken[S, B]{Box: box, pool: p, shelf: s, from: t, cost: cost}, now)
		}
		p.mu.Unlock()
		// Without room there is none for more than calls. Anything else is tried
		// again when the key is asked for again, and then a call is told, too.
		if err != nil && p.context.Err() == nil && !p.source.Exhausted(err) {
			p.report(err)
		}
	}
}

// nudge wakes the refiller if it may have something to make.
func (p *Pool[S, B]) nudge() {
	if len(p.hungry) == 0 || p.ahead != nil || p.busy() {
		return
	}
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// busy says that Takes make their own boxes, or wait to.
func (p *Pool[S, B]) busy() bool { return p.line.going > 0 || p.line.waiting.Len() > 0 }

// pick is the shelf to make the next box for, with room made for it; nil: none
// now. One for which there is no room waits for its next arrival, or it would be
// looked at in vain over and over.
func (p *Pool[S, B]) pick(now time.Time) *shelf[S, B] {
	for len(p.hungry) > 0 && !p.busy() {
		s := p.hungry[0]
		p.hungry[0] = nil
		p.hungry = p.hungry[1:]
		s.hungry = false
		if p.lacks(s, now) <= 0 {
			continue
		}
		// A template that had to go for others isn't brought back unasked.
		if p.templates[s.under] == nil && len(p.templates) >= p.config.Templates {
			continue
		}
		if p.makeRoom(s, now) {
			return s
		}
	}
	return nil
}

// deliver puts a box that was made ahead where it belongs.
func (p *Pool[S, B]) deliver(t *Taken[S, B], now time.Time) {
	s := t.shelf
	p.count(s, s.owner, made)
	switch {
	case s.gone || t.from.gone: // drained meanwhile, or there is a new template
		p.count(s, s.owner, dropped)
		p.discard([]closer{t.Box})
	case p.serve(t, now):
	case p.line.tight: // others need the room
		p.count(s, s.owner, evicted)
		p.discard([]closer{t.Box})
	case len(s.waiting) >= s.demand.wanted(&p.config, now) || !p.fits(t.cost): // bounds have changed
		p.count(s, s.owner, dropped)
		p.discard([]closer{t.Box})
	default:
		p.put(t)
	}
	p.feed(s, now)
}

// expire does what is due, and arms the timer for what comes next.
func (p *Pool[S, B]) expire(now time.Time) {
	p.wake = time.Time{}
	p.timer.Stop()
	p.expireHolds(now)
	p.expireShelves(now)
	p.expireTemplates(now)
}

// expireHolds lets replacements be made that have waited long enough.
func (p *Pool[S, B]) expireHolds(now time.Time) {
	for p.holds.Len() > 0 {
		t := p.holds.Front().Value.(*Taken[S, B])
		if due := t.taken.Add(p.config.Patience); now.Before(due) {
			p.arm(due)
			return
		}
		p.release(t, now)
	}
}

// expireTemplates drops those that are too old, and those that nobody needs.
func (p *Pool[S, B]) expireTemplates(now time.Time) {
	for _, t := range p.templates {
		if t.since.IsZero() {
			continue // it arms the timer itself when it is ready
		}
		if p.config.Age > 0 {
			if due := t.since.Add(p.config.Age); now.Before(due) {
				p.arm(due)
			} else {
				p.discard(p.drop(t, dropped, now))
				continue
			}
		}
		if p.config.Idle <= 0 || t.users > 0 {
			continue
		}
		if due := t.used.Add(p.config.Idle); now.Before(due) {
			p.arm(due)
		} else { // and none of its keys was asked for since
			p.discard(p.drop(t, dropped, now))
		}
	}
}

// expireShelves forgets keys that nobody asks for, and closes what waits beyond
// what is wanted.
func (p *Pool[S, B]) expireShelves(now time.Time) {
	for p.config.Idle > 0 && p.order.Len() > 0 {
		s := p.order.Back().Value.(*shelf[S, B])
		if due := s.demand.last.Add(p.config.Idle); now.Before(due) {
			p.arm(due)
			break
		}
		p.discard(p.forget(s, dropped))
	}
	for i := len(p.stocked) - 1; i >= 0; i-- { // from behind: it may get shorter
		s := p.stocked[i]
		wanted := s.demand.wanted(&p.config, now)
		p.discard(p.shed(s, len(s.waiting)-wanted, dropped))
		if n := len(s.waiting); n > max(p.config.Least, 0) {
			// No sooner than in a while: what is a hair too early would be early again.
			p.arm(latest(s.demand.fewer(n), now.Add(time.Second)))
		}
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

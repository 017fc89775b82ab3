// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"container/list"
	"slices"
	"time"
)

// shelf is what the pool knows and has of one key. The pool's lock guards it.
type shelf[S any, B Box] struct {
	key, under Key // under: the template's
	spec       S   // the latest
	cost       int64
	owner      Labels // the latest
	owners     few[Labels]
	demand     demand
	waiting    []*Taken[S, B] // the oldest first
	held       int            // taken boxes whose replacement waits for the end of their call
	hungry     bool           // in Pool.hungry
	gone       bool           // forgotten, or never kept: nothing is put on it any more
	place      *list.Element  // in Pool.order
	counts     counts
}

// arrive notes a request and gives the shelf of its key.
func (p *Pool[S, B]) arrive(w *Want[S], now time.Time) *shelf[S, B] {
	s := p.shelves[w.Key]
	if s == nil {
		s = &shelf[S, B]{key: w.Key, under: w.Template, gone: w.Once || w.Alone}
		if !s.gone {
			for len(p.shelves) >= maxKeys {
				p.discard(p.forget(p.order.Back().Value.(*shelf[S, B]), dropped))
			}
			p.shelves[w.Key] = s
			s.place = p.order.PushFront(s)
		}
	}
	s.spec, s.cost, s.owner = w.Spec, w.Cost, w.Labels
	if s.cost <= 0 {
		s.cost = DefaultCost
	}
	if s.gone {
		return s
	}
	s.owners.add(w.Labels)
	p.order.MoveToFront(s.place)
	s.demand.arrive(now, p.took)
	if p.config.Idle > 0 {
		p.arm(now.Add(p.config.Idle))
	}
	return s
}

// find takes the oldest box of a shelf that can be used.
func (p *Pool[S, B]) find(s *shelf[S, B], now time.Time) *Taken[S, B] {
	for len(s.waiting) > 0 {
		if t := s.waiting[0].from; !t.live.Alive() {
			p.discard(p.drop(t, died, now))
			break
		}
		box := p.unshelve(s)
		if box.Box.Waiting() {
			p.handOut(box, now)
			return box
		}
		p.count(s, s.owner, died)
		p.discard([]closer{box.Box})
	}
	return nil
}

// put has a box wait.
func (p *Pool[S, B]) put(t *Taken[S, B]) {
	s := t.shelf
	if len(s.waiting) == 0 {
		p.stocked = append(p.stocked, s)
	}
	s.waiting = append(s.waiting, t)
	p.waiting++
	p.memory += t.cost
}

// unshelve takes the oldest box off a shelf that has one.
func (p *Pool[S, B]) unshelve(s *shelf[S, B]) *Taken[S, B] {
	t := s.waiting[0]
	s.waiting[0] = nil
	s.waiting = s.waiting[1:]
	p.waiting--
	p.memory -= t.cost
	if len(s.waiting) == 0 {
		s.waiting = nil
		i := slices.Index(p.stocked, s)
		p.stocked = slices.Delete(p.stocked, i, i+1)
	}
	return t
}

// shed takes n of a shelf's boxes off, or all that there are.
func (p *Pool[S, B]) shed(s *shelf[S, B], n int, why event) (rest []closer) {
	for ; n > 0 && len(s.waiting) > 0; n-- {
		rest = append(rest, p.unshelve(s).Box)
		p.count(s, s.owner, why)
	}
	return rest
}

// forget takes a shelf out of the pool.
func (p *Pool[S, B]) forget(s *shelf[S, B], why event) []closer {
	rest := p.shed(s, len(s.waiting), why)
	s.gone = true
	delete(p.shelves, s.key)
	p.order.Remove(s.place)
	return rest
}

// lacks is how many boxes of a shelf are still to be made.
func (p *Pool[S, B]) lacks(s *shelf[S, B], now time.Time) int {
	if s.gone {
		return 0
	}
	return s.demand.wanted(&p.config, now) - len(s.waiting) - s.held
}

// feed has the refiller look at a shelf.
func (p *Pool[S, B]) feed(s *shelf[S, B], now time.Time) {
	if !s.hungry && p.lacks(s, now) > 0 {
		s.hungry = true
		p.hungry = append(p.hungry, s)
	}
	p.nudge()
}

// few remembers the first few values that it was given, and whether there were more.
type few[T comparable] struct {
	list []T
	many bool
}

const fewMost = 16

func (f *few[T]) add(v T) {
	switch {
	case f.many || slices.Contains(f.list, v):
	case len(f.list) == fewMost:
		f.many = true
	default:
		f.list = append(f.list, v)
	}
}

// match says whether one of the values may match: where there were too many to
// remember, one may.
func (f *few[T]) match(m func(T) bool) bool { return f.many || slices.ContainsFunc(f.list, m) }

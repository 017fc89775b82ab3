// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"slices"
	"time"
)

// fits says whether one more box may wait.
func (p *Pool[S, B]) fits(cost int64) bool {
	return p.waiting < p.config.Boxes && (p.config.Memory <= 0 || p.memory+cost <= p.config.Memory)
}

// makeRoom says whether one more box may wait for a shelf, and closes for it
// what is worth less. If that isn't enough everything stays.
func (p *Pool[S, B]) makeRoom(s *shelf[S, B], now time.Time) bool {
	var victims []*Taken[S, B]
	for !p.fits(s.cost) {
		from := p.lesser(s, now)
		if from == nil {
			for _, t := range slices.Backward(victims) {
				p.putBack(t)
			}
			return false
		}
		victims = append(victims, p.unshelve(from))
	}
	for _, t := range victims {
		p.count(t.shelf, t.shelf.owner, evicted)
		p.discard([]closer{t.Box})
	}
	return true
}

// putBack undoes an unshelve.
func (p *Pool[S, B]) putBack(t *Taken[S, B]) {
	p.put(t)
	s := t.shelf
	copy(s.waiting[1:], s.waiting)
	s.waiting[0] = t
}

// worth weighs shelves: the rate of arrivals for each box that waits. Shelves
// whose owner has more than a share are worth less than all others.
type worth struct {
	over bool
	each float64
}

func (w worth) less(other worth) bool {
	if w.over != other.over {
		return w.over
	}
	return w.each < other.each
}

// shares count the waiting boxes of each owner.
type shares struct {
	sessions map[Labels]int
	profiles map[string]int
}

func (p *Pool[S, B]) shares() shares {
	h := shares{map[Labels]int{}, map[string]int{}}
	for _, s := range p.stocked {
		h.sessions[s.owner] += len(s.waiting)
		h.profiles[s.owner.Profile] += len(s.waiting)
	}
	return h
}

// weigh is what a shelf is worth with more boxes than it has.
func (p *Pool[S, B]) weigh(s *shelf[S, B], more int, h shares, now time.Time) worth {
	c := &p.config
	over := c.ProfileShare > 0 && h.profiles[s.owner.Profile]+more > c.ProfileShare ||
		c.SessionShare > 0 && s.owner.Session != "" && h.sessions[s.owner]+more > c.SessionShare
	return worth{over, s.demand.rateAt(now) / float64(len(s.waiting)+more)}
}

// least is the stocked shelf that is worth least.
func (p *Pool[S, B]) least(h shares, now time.Time) (least *shelf[S, B], is worth) {
	for _, s := range p.stocked {
		if w := p.weigh(s, 0, h, now); least == nil || w.less(is) {
			least, is = s, w
		}
	}
	return least, is
}

// lesser is the shelf that must give way to one more box of s; nil: all are
// worth as much or more. It is never s: with one more it is worth less.
func (p *Pool[S, B]) lesser(s *shelf[S, B], now time.Time) *shelf[S, B] {
	h := p.shares()
	least, is := p.least(h, now)
	if least == nil || !is.less(p.weigh(s, 1, h, now)) {
		return nil
	}
	return least
}

// giveUp takes up to n waiting boxes out of the pool, those that are worth least
// first, or else idle templates of others, for a host without room. The shelf
// that it is for has none.
func (p *Pool[S, B]) giveUp(s *shelf[S, B], n int, now time.Time) (rest []closer) {
	for len(rest) < n {
		least, _ := p.least(p.shares(), now)
		if least == nil {
			break
		}
		rest = append(rest, p.shed(least, 1, evicted)...)
	}
	for len(rest) < n {
		t := p.leastUsed(func(t *template[S, B]) bool { return t.key == s.under })
		if t == nil {
			break
		}
		rest = append(rest, p.drop(t, evicted, now)...)
	}
	return rest
}

// trimBoxes closes what waits beyond the bounds, what is worth least first.
func (p *Pool[S, B]) trimBoxes(now time.Time) {
	c := &p.config
	for p.waiting > max(c.Boxes, 0) || c.Memory > 0 && p.memory > c.Memory {
		least, _ := p.least(p.shares(), now)
		p.discard(p.shed(least, 1, evicted))
	}
}

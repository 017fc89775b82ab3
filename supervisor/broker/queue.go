// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// turnKey says whose bounds a turn counts against.
type turnKey struct {
	line  string // calls of one line go in their order: a session, or a caller without one
	agent string // empty: not an agent's
	skill string // name; empty: a raw command
}

// bounds are how many turns there may be at once, and how many may wait. What
// is 0 has no bound of its own.
type bounds struct {
	all, line, skill, waiting int
	agent                     func(name string) (atOnce, waiting int)
}

// turn is one call's place in the queue, and after wait its right to use the
// host. While a person is asked, the call has none.
type turn struct {
	key   turnKey
	queue *queue
	line  *line
	agent *share        // of all that are no agent's, too
	skill *share        // nil: a raw command
	ready chan struct{} // closed when it may go

	going bool // queue.mu
	over  bool // queue.mu
}

// share is what one line, agent or skill has of the queue. All of it is
// guarded by queue.mu.
type share struct {
	of      holder
	name    string // of an agent
	turns   int    // that count against it, also while people are asked
	going   int
	waiting int
	parked  []*line // whose first may not go because there is no room here
}

// holder is what a share is of.
type holder int

const (
	ofLine holder = iota
	ofAgent
	ofSkill
)

// line is the turns of one key. All of it is guarded by queue.mu.
type line struct {
	share
	waits []*turn // in their order
	ahead bool    // it is in queue.order
	at    *share  // where it is parked; nil: it isn't
}

// errFull says that the queue takes no more.
var errFull = errors.New("the queue is full")

// queue gives turns, fairly: lines take theirs in rotation, so that a session
// with a hundred calls doesn't hold up another with one.
//
// A line whose first may not go is parked at what is in its way, and looked at
// again when there is room. So what it takes to enter and to leave doesn't
// depend on how many wait.
type queue struct {
	mu      sync.Mutex
	bounds  bounds            // mu
	lines   map[string]*line  // mu
	agents  map[string]*share // mu
	skills  map[string]*share // mu
	order   []*line           // mu; lines that may have a turn to give, the next first
	going   int               // mu
	waiting int               // mu
}

func newQueue(b bounds) *queue {
	return &queue{bounds: b, lines: map[string]*line{}, agents: map[string]*share{}, skills: map[string]*share{}}
}

// set takes other bounds. Who goes already goes on.
func (q *queue) set(b bounds) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bounds = b
	for _, all := range []map[string]*share{q.agents, q.skills} {
		for _, s := range all {
			s.parked = nil
		}
	}
	for _, l := range q.lines {
		l.at, l.parked = nil, nil
		q.queue(l)
	}
	q.dispatch()
}

// enter takes a place in the queue, or says at once that it is full. Agents
// share its length; the host's own calls have as much for themselves, so that no
// agent keeps them out.
func (q *queue) enter(key turnKey) (*turn, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	hosts, own := 0, 0
	if s := q.agents[""]; s != nil {
		hosts = s.waiting
	}
	if s := q.agents[key.agent]; s != nil {
		own = s.waiting
	}
	beside := hosts
	if key.agent != "" {
		beside = q.waiting - hosts
	}
	if beside >= q.bounds.waiting {
		return nil, errFull
	}
	if _, most := q.ofAgent(key.agent); most > 0 && own >= most {
		return nil, errFull
	}
	t := &turn{key: key, queue: q, line: q.lines[key.line], agent: shareOf(q.agents, ofAgent, key.agent)}
	if t.line == nil {
		t.line = &line{}
		q.lines[key.line] = t.line
	}
	if key.skill != "" {
		t.skill = shareOf(q.skills, ofSkill, key.skill)
	}
	t.shares(func(s *share) { s.turns++ })
	q.add(t)
	q.dispatch()
	return t, nil
}

func shareOf(all map[string]*share, of holder, name string) *share {
	s := all[name]
	if s == nil {
		s = &share{of: of, name: name}
		all[name] = s
	}
	return s
}

// shares calls f with those that a turn counts against.
func (t *turn) shares(f func(*share)) {
	f(&t.line.share)
	f(t.agent)
	if t.skill != nil {
		f(t.skill)
	}
}

// again takes a place for a call that was in already: it can't be refused.
func (t *turn) again() {
	q := t.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if !t.over && !t.going {
		q.add(t)
		q.dispatch()
	}
}

func (q *queue) add(t *turn) {
	t.ready = make(chan struct{})
	t.line.waits = append(t.line.waits, t)
	q.queue(t.line)
	q.waiting++
	t.agent.waiting++
}

// queue puts a line into the rotation, unless it is there, or parked, or empty.
func (q *queue) queue(l *line) {
	if !l.ahead && l.at == nil && len(l.waits) > 0 {
		l.ahead = true
		q.order = append(q.order, l)
	}
}

func (q *queue) ofAgent(name string) (atOnce, waiting int) {
	if name == "" || q.bounds.agent == nil {
		return 0, 0
	}
	return q.bounds.agent(name)
}

// wait returns when it is this turn's turn, or with ctx's cause.
func (t *turn) wait(ctx context.Context) error {
	t.queue.mu.Lock()
	ready := t.ready
	t.queue.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// pause gives the turn back until again.
func (t *turn) pause() { t.give(false) }

// leave gives it back for good. It may be called more than once.
func (t *turn) leave() { t.give(true) }

func (t *turn) give(over bool) {
	q := t.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if t.over {
		return
	}
	t.over = over
	if t.going {
		t.going = false
		q.going--
		t.shares(func(s *share) {
			s.going--
			q.unpark(s)
		})
	} else if i := slices.Index(t.line.waits, t); i >= 0 {
		q.withdraw(t, i)
	}
	q.dispatch()
	if over {
		q.forget(t)
	}
}

// forget drops what nothing counts against any more.
func (q *queue) forget(t *turn) {
	t.shares(func(s *share) { s.turns-- })
	if t.line.turns == 0 {
		delete(q.lines, t.key.line)
	}
	if t.agent.turns == 0 {
		delete(q.agents, t.key.agent)
	}
	if t.skill != nil && t.skill.turns == 0 {
		delete(q.skills, t.key.skill)
	}
}

// withdraw takes a turn that waits out of its line.
func (q *queue) withdraw(t *turn, i int) {
	q.cut(t, i)
	if i > 0 {
		return
	}
	// What was in its way is none of the next one's business, nor what it was
	// looked at for.
	l := t.line
	if l.at != nil {
		l.at.parked = without(l.at.parked, l)
		l.at = nil
	}
	if l.ahead && len(l.waits) == 0 {
		q.order = without(q.order, l)
		l.ahead = false
	}
	q.queue(l)
	t.shares(q.unpark)
}

func without(list []*line, l *line) []*line {
	return slices.DeleteFunc(list, func(other *line) bool { return other == l })
}

// cut takes turn i out of its line.
func (q *queue) cut(t *turn, i int) {
	q.waiting--
	t.agent.waiting--
	t.line.waits = slices.Delete(t.line.waits, i, i+1)
}

// unpark has a line looked at again that a share kept back, if that has room.
// Dispatch goes on with the next one when that didn't take it.
func (q *queue) unpark(s *share) {
	if len(s.parked) == 0 || !q.room(s) {
		return
	}
	l := s.parked[0]
	s.parked = slices.Delete(s.parked, 0, 1)
	l.at = nil
	q.queue(l)
}

// dispatch lets go who may: the first of each line, line by line.
func (q *queue) dispatch() {
	for len(q.order) > 0 && (q.bounds.all == 0 || q.going < q.bounds.all) {
		l := q.order[0]
		q.order = slices.Delete(q.order, 0, 1)
		l.ahead = false
		t := l.waits[0]
		if s := q.inTheWay(t); s != nil {
			l.at = s
			s.parked = append(s.parked, l)
		} else {
			q.cut(t, 0)
			t.going = true
			q.going++
			t.shares(func(s *share) { s.going++ })
			close(t.ready)
			q.queue(l)
		}
		t.shares(q.unpark)
	}
}

// inTheWay gives the share that has no room for a turn, or nil.
func (q *queue) inTheWay(t *turn) (full *share) {
	t.shares(func(s *share) {
		if full == nil && !q.room(s) {
			full = s
		}
	})
	return full
}

// room says whether another turn of a share may go.
func (q *queue) room(s *share) bool {
	most := 0
	switch s.of {
	case ofLine:
		most = q.bounds.line
	case ofAgent:
		most, _ = q.ofAgent(s.name)
	case ofSkill:
		most = q.bounds.skill
	}
	return most == 0 || s.going < most
}

// numbers gives how many go and how many wait.
func (q *queue) numbers() (going, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.going, q.waiting
}

// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
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
	ready chan struct{} // closed when it may go

	going bool // queue.mu
	over  bool // queue.mu
}

// errFull says that the queue takes no more.
var errFull = errors.New("the queue is full")

// queue gives turns, fairly: lines take theirs in rotation, so that a session
// with a hundred calls doesn't hold up another with one.
type queue struct {
	mu      sync.Mutex
	bounds  bounds             // mu
	lines   map[string][]*turn // mu; waiting ones, in their order; never an empty slice
	order   []string           // mu; lines with waiting turns, the next first
	waiting int                // mu
	agents  map[string]int     // mu; waiting ones by agent
	going   map[string]int     // mu; by "all", "line X", "agent X", "skill X"
}

func newQueue(b bounds) *queue {
	return &queue{bounds: b, lines: map[string][]*turn{}, agents: map[string]int{}, going: map[string]int{}}
}

// set takes other bounds. Who goes already goes on.
func (q *queue) set(b bounds) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bounds = b
	q.dispatch()
}

// enter takes a place in the queue, or says at once that it is full. Agents
// share its length; the host's own calls have as much for themselves, so that no
// agent keeps them out.
func (q *queue) enter(key turnKey) (*turn, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	beside := q.agents[""]
	if key.agent != "" {
		beside = q.waiting - q.agents[""]
	}
	if beside >= q.bounds.waiting {
		return nil, errFull
	}
	if _, most := q.ofAgent(key.agent); most > 0 && q.agents[key.agent] >= most {
		return nil, errFull
	}
	t := &turn{key: key, queue: q}
	q.add(t)
	q.dispatch()
	return t, nil
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
	if len(q.lines[t.key.line]) == 0 {
		q.order = append(q.order, t.key.line)
	}
	q.lines[t.key.line] = append(q.lines[t.key.line], t)
	q.waiting++
	q.agents[t.key.agent]++
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
		q.count(t, -1)
	} else {
		q.withdraw(t)
	}
	q.dispatch()
}

// withdraw takes a turn that waits out of its line.
func (q *queue) withdraw(t *turn) {
	line := q.lines[t.key.line]
	for i, other := range line {
		if other == t {
			q.cut(t.key.line, i)
			return
		}
	}
}

// cut takes turn i out of a line.
func (q *queue) cut(name string, i int) {
	line := q.lines[name]
	q.waiting--
	if q.agents[line[i].key.agent]--; q.agents[line[i].key.agent] == 0 {
		delete(q.agents, line[i].key.agent)
	}
	line = append(line[:i:i], line[i+1:]...)
	if len(line) > 0 {
		q.lines[name] = line
		return
	}
	delete(q.lines, name)
	for j, other := range q.order {
		if other == name {
			q.order = append(q.order[:j:j], q.order[j+1:]...)
			return
		}
	}
}

// dispatch lets go who may: the first of each line, line by line.
func (q *queue) dispatch() {
	for passed := 0; passed < len(q.order); {
		name := q.order[0]
		q.order = append(q.order[1:len(q.order):len(q.order)], name)
		t := q.lines[name][0]
		if !q.may(t) {
			passed++
			continue
		}
		passed = 0
		q.cut(name, 0)
		t.going = true
		q.count(t, 1)
		close(t.ready)
	}
}

func (q *queue) may(t *turn) bool {
	agent, _ := q.ofAgent(t.key.agent)
	for _, b := range []struct {
		name string
		most int
	}{
		{"all", q.bounds.all},
		{"line " + t.key.line, q.bounds.line},
		{"agent " + t.key.agent, agent},
		{"skill " + t.key.skill, q.bounds.skill},
	} {
		if b.most > 0 && q.going[b.name] >= b.most && b.name != "skill " {
			return false
		}
	}
	return true
}

func (q *queue) count(t *turn, by int) {
	for _, name := range []string{"all", "line " + t.key.line, "agent " + t.key.agent, "skill " + t.key.skill} {
		if q.going[name] += by; q.going[name] == 0 {
			delete(q.going, name)
		}
	}
}

// numbers gives how many go and how many wait.
func (q *queue) numbers() (going, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.going["all"], q.waiting
}

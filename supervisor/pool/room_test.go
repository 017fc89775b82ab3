// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"fmt"
	"testing"
	"time"
)

// waiting is how many boxes wait for a request's key.
func waiting(p *pool, w want) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.shelves[w.Key]; s != nil {
		return len(s.waiting)
	}
	return 0
}

// use makes n calls for a key, one a second.
func use(t *testing.T, p *pool, w want, n int) {
	t.Helper()
	for range n {
		call(t, p, w, ms)
		after(time.Second)
	}
}

func TestBoundOfBoxes(t *testing.T) {
	c := Config{Boxes: 4, Templates: 1, Least: 1, Patience: ms}
	inBubble(t, c, func(t *testing.T, p *pool, m *maker) {
		for i := range 10 {
			use(t, p, ask(i), 1)
			if live, _ := m.now(); live != min(i+1, c.Boxes) {
				t.Errorf("%d boxes after %d keys", live, i+1)
			}
		}
		for i := range 10 { // the latest have their boxes
			if n := waiting(p, ask(i)); n != i/6 {
				t.Errorf("key %d: %d", i, n)
			}
		}
		if s := p.Stats().Total; s.Evicted != 6 || s.Waiting != 4 {
			t.Errorf("%+v", s)
		}
	})
}

// A key that is asked for often keeps its box before one that is asked for once.
func TestRateIsWorth(t *testing.T) {
	c := Config{Boxes: 1, Templates: 1, Least: 1, Patience: ms}
	inBubble(t, c, func(t *testing.T, p *pool, m *maker) {
		use(t, p, ask(1), 20)
		use(t, p, ask(2), 1)
		if waiting(p, ask(1)) != 1 {
			t.Error("one call turned out twenty")
		}
		after(4 * time.Minute)
		use(t, p, ask(3), 1)
		if waiting(p, ask(3)) != 1 {
			t.Error("who comes now finds no room from long ago")
		}
	})
}

func TestBoundOfMemory(t *testing.T) {
	c := Config{Boxes: 10, Templates: 1, Least: 1, Patience: ms, Memory: 10}
	sized := func(n int, cost int64) want {
		w := ask(n)
		w.Cost = cost
		return w
	}
	inBubble(t, c, func(t *testing.T, p *pool, m *maker) {
		use(t, p, sized(1, 4), 1)
		use(t, p, sized(2, 4), 1)
		use(t, p, sized(3, 4), 1)
		for i, n := range []int{0, 1, 1} {
			if got := waiting(p, ask(i+1)); got != n {
				t.Errorf("key %d: %d", i+1, got)
			}
		}
		if s := p.Stats().Total; s.Memory != 8 {
			t.Errorf("%+v", s)
		}
		// What never fits drives nobody out, and what fits if two go gets both.
		use(t, p, sized(4, 11), 1)
		if n := waiting(p, ask(2)) + waiting(p, ask(3)); n != 2 {
			t.Errorf("%d are left", n)
		}
		use(t, p, sized(5, 10), 1)
		if s := p.Stats().Total; s.Memory != 10 || s.Waiting != 1 || waiting(p, ask(5)) != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// Victims that don't suffice stay, in their order.
func TestVictimsThatDoNotSufficeStay(t *testing.T) {
	c := Config{Boxes: 10, Templates: 1, Least: 1, Patience: ms, Memory: 10}
	inBubble(t, c, func(t *testing.T, p *pool, m *maker) {
		pair, hot, big := ask(1), ask(2), ask(3)
		pair.Cost, hot.Cost, big.Cost = 3, 4, 7
		for range 2 {
			go call(t, p, pair, ms)
		}
		after(time.Second)
		use(t, p, hot, 10)
		p.mu.Lock()
		oldest := p.shelves[pair.Key].waiting[0]
		p.mu.Unlock()
		use(t, p, big, 1)
		if waiting(p, pair) != 2 || waiting(p, hot) != 1 || waiting(p, big) != 0 {
			t.Errorf("%d %d %d", waiting(p, pair), waiting(p, hot), waiting(p, big))
		}
		if b := take(t, p, pair); b != oldest {
			t.Error("not the oldest first")
		} else {
			end(t, b)
		}
		if s := p.Stats().Total; s.Evicted != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// An agent with many sessions, each of them busy, leaves room to others.
func TestSharesOfProfiles(t *testing.T) {
	c := Config{Boxes: 8, Templates: 9, Least: 1, PerKey: 4, Patience: ms, ProfileShare: 4}
	inBubble(t, c, func(t *testing.T, p *pool, m *maker) {
		for range 10 {
			for i := range 20 {
				call(t, p, askFor(i, "greedy", fmt.Sprint(i), 1), ms)
			}
		}
		after(time.Second)
		if s := p.Stats().Total; s.Waiting != 8 {
			t.Errorf("alone: %+v", s)
		}
		modest := func(i int) want { return askFor(100+i, "modest", "", 2) }
		for i := range 4 {
			use(t, p, modest(i), 1)
		}
		for range 10 {
			for i := range 20 {
				call(t, p, askFor(i, "greedy", fmt.Sprint(i), 1), ms)
			}
		}
		after(time.Second)
		for i := range 4 {
			if waiting(p, modest(i)) != 1 {
				t.Errorf("key %d of the modest profile has none", i)
			}
		}
		if s := p.Stats(); s.Total.Waiting != 8 || s.Profiles[0].Waiting != 4 || s.Profiles[1].Waiting != 4 {
			t.Errorf("%+v", s)
		}
	})
}

func TestSharesOfSessions(t *testing.T) {
	c := Config{Boxes: 6, Templates: 9, Least: 1, PerKey: 4, Patience: ms, SessionShare: 3}
	inBubble(t, c, func(t *testing.T, p *pool, m *maker) {
		greedy := func() {
			for range 30 {
				for i := range 8 {
					call(t, p, askFor(i, "p", "greedy", 1), ms)
				}
			}
			after(time.Second)
		}
		greedy()
		for i := range 3 {
			use(t, p, askFor(100+i, "p", "modest", 1), 1)
		}
		greedy()
		s := p.Stats().Sessions
		if len(s) != 2 || s[0].Session != "greedy" || s[0].Waiting != 3 || s[1].Session != "modest" || s[1].Waiting != 3 {
			t.Errorf("%+v", s)
		}
	})
}

func TestBoundOfTemplates(t *testing.T) {
	c := Config{Boxes: 10, Templates: 2, Least: 1, Patience: ms}
	inBubble(t, c, func(t *testing.T, p *pool, m *maker) {
		for i := range 3 {
			use(t, p, askFor(i, fmt.Sprint(i), "", i), 1)
		}
		if _, templates := m.now(); templates != 2 {
			t.Errorf("%d templates", templates)
		}
		for i, n := range []int{0, 1, 1} { // the oldest is gone with its box, and isn't brought back
			if got := waiting(p, askFor(i, fmt.Sprint(i), "", i)); got != n {
				t.Errorf("template %d: %d", i, got)
			}
		}
		if s := p.Stats().Total; s.Evicted != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// More templates at once than may be kept are made, and go when they are used.
func TestTemplatesInUseStay(t *testing.T) {
	c := Config{Boxes: 10, Templates: 1, Least: 1, Patience: ms}
	inBubble(t, c, func(t *testing.T, p *pool, m *maker) {
		for i := range 3 {
			go call(t, p, askFor(i, "p", "", i), time.Second)
		}
		after(m.template + ms)
		if _, templates := m.now(); templates != 3 {
			t.Errorf("%d templates", templates)
		}
		after(10 * ms)
		if _, templates := m.now(); templates != 1 {
			t.Errorf("%d templates", templates)
		}
		after(time.Second)
	})
}

func TestKeysAreForgotten(t *testing.T) {
	c := Config{Boxes: 2 * maxKeys, Templates: 1, Least: 1}
	inBubble(t, c, func(t *testing.T, p *pool, m *maker) {
		for i := range maxKeys + 10 {
			call(t, p, ask(i), ms)
			after(10 * ms)
			if i == maxKeys/2 {
				call(t, p, ask(0), ms)
				after(10 * ms)
			}
		}
		if live, _ := m.now(); live != maxKeys || len(p.shelves) != maxKeys || p.order.Len() != maxKeys {
			t.Errorf("%d boxes of %d keys", live, len(p.shelves))
		}
		if waiting(p, ask(0)) != 1 || waiting(p, ask(10)) != 0 || waiting(p, ask(11)) != 1 {
			t.Error("not the oldest were forgotten")
		}
	})
}

func TestSet(t *testing.T) {
	c := Default()
	c.Least = 2
	inBubble(t, c, func(t *testing.T, p *pool, m *maker) {
		for i := range 4 {
			use(t, p, askFor(i, "p", "", i%2), 1)
		}
		bounds := func(c Config, boxes, templates int) {
			t.Helper()
			p.Set(c)
			after(time.Second)
			if live, n := m.now(); live != boxes || n != templates {
				t.Errorf("%+v: %d boxes, %d templates", c, live, n)
			}
		}
		bounds(c, 8, 2)
		fewer := c
		fewer.Boxes = 5
		bounds(fewer, 5, 2)
		bounds(c, 8, 2) // it remembers
		fewer = c
		fewer.Memory = 3 * DefaultCost
		bounds(fewer, 3, 2)
		fewer = c
		fewer.PerKey = 1
		bounds(fewer, 4, 2)
		fewer = c
		fewer.Templates = 1
		bounds(fewer, 4, 1)
		bounds(Config{}, 0, 0)
		bounds(c, 8, 2)
		fewer = c
		fewer.Idle = time.Millisecond
		bounds(fewer, 0, 0)
	})
}

// What is finished under other bounds than it was begun doesn't wait.
func TestSetWhileMaking(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		call(t, p, ask(1), ms)
		after(m.prepare / 2)
		c := Default()
		c.Boxes = 0
		p.Set(c)
		after(time.Second)
		if live, templates := m.now(); live != 0 || templates != 1 {
			t.Errorf("%d boxes, %d templates", live, templates)
		}
		if s := p.Stats().Total; s.Dropped != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestSecondCallFindsABox(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		begin := time.Now()
		b := take(t, p, ask(1))
		if took := time.Since(begin); took != m.template+m.prepare {
			t.Errorf("the first took %v", took)
		}
		expect(t, p, Line{Misses: 1, Made: 1, Wanted: 1})
		end(t, b)
		end(t, b) // does nothing more
		after(m.prepare)
		expect(t, p, Line{Misses: 1, Made: 2, Waiting: 1, Wanted: 1})
		begin = time.Now()
		b = take(t, p, ask(1))
		if took := time.Since(begin); took != 0 {
			t.Errorf("the second took %v", took)
		}
		expect(t, p, Line{Hits: 1, Misses: 1, Made: 2, Wanted: 1})
		end(t, b)
		if m.built != 1 {
			t.Errorf("%d templates were made", m.built)
		}
	})
}

// The replacement is made when the call is over, or after Patience.
func TestReplacementWaitsForTheCall(t *testing.T) {
	c := Default()
	for _, call := range []time.Duration{ms, c.Patience - ms, c.Patience, time.Hour} {
		inBubble(t, c, func(t *testing.T, p *pool, m *maker) {
			b := take(t, p, ask(1))
			after(min(call, c.Patience) - 1)
			expect(t, p, Line{Misses: 1, Made: 1, Wanted: 1})
			after(1)
			if call < c.Patience {
				end(t, b)
			}
			synctest.Wait()
			expect(t, p, Line{Misses: 1, Made: 1, Wanted: 1, Making: 1})
			after(m.prepare)
			expect(t, p, Line{Misses: 1, Made: 2, Wanted: 1, Waiting: 1})
			end(t, b)
		})
	}
	// Of two calls that run one ends: one replacement is made.
	c.Least = 2
	inBubble(t, c, func(t *testing.T, p *pool, m *maker) {
		call(t, p, ask(1), ms)
		after(time.Second)
		one, two := take(t, p, ask(1)), take(t, p, ask(1))
		end(t, one)
		after(c.Patience - ms)
		expect(t, p, Line{Misses: 1, Hits: 2, Made: 4, Wanted: 2, Waiting: 1})
		after(time.Second)
		expect(t, p, Line{Misses: 1, Hits: 2, Made: 5, Wanted: 2, Waiting: 2})
		end(t, two)
	})
	c = Default()
	c.Patience = 0
	inBubble(t, c, func(t *testing.T, p *pool, m *maker) {
		b := take(t, p, ask(1))
		expect(t, p, Line{Misses: 1, Made: 1, Wanted: 1, Making: 1})
		end(t, b)
	})
}

func TestPacedCallsAllFindABox(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		const n = 1000
		for range n {
			begin := time.Now()
			call(t, p, ask(1), ms)
			time.Sleep(20*ms - time.Since(begin))
		}
		expect(t, p, Line{Hits: n - 1, Misses: 1, Made: n + 1, Waiting: 1, Wanted: 1})
	})
}

// Long calls, paced: more must wait, and do.
func TestPacedLongCallsAllFindABox(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		var calls sync.WaitGroup
		one := func() {
			calls.Go(func() { call(t, p, ask(1), time.Second) })
			time.Sleep(20 * ms)
		}
		for range 200 { // until it has learned
			one()
		}
		learned := p.Stats().Total.Misses
		for range 200 {
			one()
		}
		if s := p.Stats().Total; s.Misses != learned || s.Wanted < 3 || s.Wanted > 4 {
			t.Errorf("%+v, after %d misses at first", s, learned)
		}
		calls.Wait()
	})
}

// Callers in a closed loop: about one box is made for each call, nothing is
// thrown away, and the callers are never held up by more than their own work.
func TestBackToBack(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		const callers, each = 4, 500
		begin := time.Now()
		var all sync.WaitGroup
		for range callers {
			all.Go(func() {
				for range each {
					call(t, p, ask(1), ms)
				}
			})
		}
		all.Wait()
		if took := time.Since(begin); took > m.template+each*(ms+m.prepare) {
			t.Errorf("it took %v", took)
		}
		after(time.Second)
		s := p.Stats().Total
		if s.Made != callers*each+uint64(s.Waiting) || s.Waiting != s.Wanted || s.Wanted > 2*callers || s.Dropped+s.Evicted+s.Died != 0 {
			t.Errorf("%+v", s)
		}
		if m.built != 1 || m.most > callers+1 {
			t.Errorf("%d templates, %d boxes at once", m.built, m.most)
		}
	})
}

// A burst is ready for the next; without bursts fewer wait, and in the end none
// and nothing.
func TestBurstsAndIdleness(t *testing.T) {
	c := Default()
	inBubble(t, c, func(t *testing.T, p *pool, m *maker) {
		burst := func() {
			var boxes []*taken
			for range 5 {
				boxes = append(boxes, take(t, p, ask(1)))
			}
			if !slices.IsSortedFunc(boxes, func(a, b *taken) int { return a.Box.number - b.Box.number }) {
				t.Error("not the oldest first")
			}
			for _, b := range boxes {
				end(t, b)
			}
			after(10 * time.Second)
		}
		for range 4 { // misses stretch the first bursts
			burst()
		}
		learned := p.Stats().Total.Misses
		burst()
		burst()
		s := p.Stats().Total
		if s.Misses != learned || s.Waiting != 5 || s.Wanted != 5 || s.Memory != 5*DefaultCost {
			t.Errorf("%+v, after %d misses at first", s, learned)
		}
		after(2 * time.Minute)
		if s = p.Stats().Total; s.Waiting != s.Wanted || s.Waiting < 2 || s.Waiting > 3 {
			t.Errorf("two minutes later %+v", s)
		}
		after(2*time.Minute + 30*time.Second)
		if s = p.Stats().Total; s.Waiting != s.Wanted || s.Waiting != 1 {
			t.Errorf("four minutes later %+v", s)
		}
		after(c.Idle)
		if live, templates := m.now(); live != 0 || templates != 0 || len(p.shelves) != 0 {
			t.Errorf("in the end %d, %d, %d", live, templates, len(p.shelves))
		}
		if !p.wake.IsZero() {
			t.Error("an empty pool looks at the clock")
		}
	})
}

// A template is used when a box of it is taken.
func TestTemplateOfATakenBoxIsNotIdle(t *testing.T) {
	c := Default()
	inBubble(t, c, func(t *testing.T, p *pool, m *maker) {
		call(t, p, ask(1), ms)
		after(c.Idle - 20*ms)
		call(t, p, ask(1), time.Second)
		after(time.Second)
		if s := p.Stats().Total; m.built != 1 || s.Hits != 1 || s.Waiting != 1 {
			t.Errorf("%d templates, %+v", m.built, s)
		}
	})
}

func TestOnceLeavesNothing(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		w := ask(1)
		w.Once = true
		b := take(t, p, w)
		synctest.Wait()
		if live, templates := m.now(); live != 1 || templates != 0 || len(p.shelves) != 0 {
			t.Errorf("%d %d %d", live, templates, len(p.shelves))
		}
		end(t, b)
		expect(t, p, Line{Misses: 1, Made: 1})

		// It may use what is there.
		end(t, take(t, p, ask(2)))
		end(t, take(t, p, w))
		if m.built != 2 {
			t.Errorf("%d templates were made", m.built)
		}
	})
}

// A box that nobody else could use leaves the template, which others can.
func TestAloneLeavesATemplate(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		w := ask(1)
		w.Alone = true
		for range 3 {
			b := take(t, p, w)
			synctest.Wait()
			if live, templates := m.now(); live != 1 || templates != 1 || len(p.shelves) != 0 {
				t.Errorf("%d %d %d", live, templates, len(p.shelves))
			}
			end(t, b)
		}
		expect(t, p, Line{Misses: 3, Made: 3})
		if m.built != 1 {
			t.Errorf("%d templates were made", m.built)
		}
	})
}

func TestOff(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, p *pool, m *maker) {
		for range 3 {
			b := take(t, p, ask(1))
			synctest.Wait()
			if live, templates := m.now(); live != 1 || templates != 0 {
				t.Errorf("%d %d", live, templates)
			}
			end(t, b)
		}
		expect(t, p, Line{Misses: 3, Made: 3})
	})
}

// One template is made for all that ask at once.
func TestTemplateIsMadeOnce(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() { call(t, p, ask(i), ms) })
		}
		all.Wait()
		if m.built != 1 {
			t.Errorf("%d templates were made", m.built)
		}
	})
}

func TestAge(t *testing.T) {
	c := Default()
	inBubble(t, c, func(t *testing.T, p *pool, m *maker) {
		begin := time.Now()
		call(t, p, ask(1), ms)
		after(time.Second)
		for time.Since(begin) < c.Age-time.Minute {
			after(time.Minute)
			call(t, p, ask(1), ms)
		}
		after(time.Second)
		long := take(t, p, ask(1)) // is over when it is over
		after(time.Minute)
		if m.built != 2 || !m.living[0].gone() || m.living[1].gone() {
			t.Errorf("%d templates were made", m.built)
		}
		b := take(t, p, ask(1))
		if b.Box.from != m.living[1] || long.Box.from != m.living[0] || long.Box.closed.Load() != 0 {
			t.Error("a box of the old template")
		}
		if s := p.Stats(); s.Total.Dropped != 1 || s.Total.Misses != 1 || s.Templates != 1 || s.Total.Age > time.Minute {
			t.Errorf("%+v", s)
		}
		end(t, b)
		end(t, long)
	})
}

func (z *zygote) gone() bool { return z.closed.Load() > 0 }

func TestDeadBoxIsReplaced(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		call(t, p, ask(1), ms)
		after(ms * 2)
		m.all[1].dead.Store(true)
		call(t, p, ask(1), ms)
		after(ms * 2)
		expect(t, p, Line{Misses: 2, Made: 4, Died: 1, Waiting: 1, Wanted: 1})
		if m.all[1].closed.Load() != 1 || m.built != 1 {
			t.Error("the dead one isn't closed, or its template was taken for dead")
		}
	})
}

func TestDeadTemplateTakesItsBoxesAlong(t *testing.T) {
	c := Default()
	c.Least = 2
	inBubble(t, c, func(t *testing.T, p *pool, m *maker) {
		call(t, p, ask(1), ms)
		call(t, p, ask(2), ms)
		after(time.Second)
		m.living[0].dead.Store(true)
		call(t, p, ask(1), ms)
		after(time.Second)
		// The other key's are made anew without being asked for.
		expect(t, p, Line{Misses: 3, Made: 2 + 4 + 1 + 4, Died: 4, Waiting: 4, Wanted: 4})
	})
}

// A template that dies while a box is made from it, or before one could be, costs
// one more try and no error.
func TestTemplateDiesAtWork(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		time.AfterFunc(m.template+ms, func() { m.set(func() { m.living[0].dead.Store(true) }) })
		var all sync.WaitGroup
		for i := range 3 { // all of them see it die, and share the next
			all.Go(func() { call(t, p, ask(i), ms) })
		}
		all.Wait()
		if m.built != 2 || !m.living[0].gone() {
			t.Errorf("%d templates were made", m.built)
		}
		m.living[1].dead.Store(true)
		call(t, p, ask(2), ms)
		if m.built != 3 {
			t.Errorf("%d templates were made", m.built)
		}
		after(time.Second)

		// And no more than one.
		m.set(func() { m.fail = func() error { m.living[len(m.living)-1].dead.Store(true); return errBroken } })
		if _, err := p.Take(t.Context(), ask(3)); !errors.Is(err, errBroken) {
			t.Error(err)
		}
		if m.built != 4 {
			t.Errorf("%d templates were made", m.built)
		}
		m.set(func() { m.fail = nil })
	})
}

func TestErrorsOfTheSource(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		m.set(func() { m.failBuild = func() error { return errBroken } })
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				if _, err := p.Take(t.Context(), ask(1)); !errors.Is(err, errBroken) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		m.set(func() { m.failBuild = nil; m.fail = func() error { return errBroken } })
		if _, err := p.Take(t.Context(), ask(1)); !errors.Is(err, errBroken) {
			t.Error(err)
		}
		m.set(func() { m.fail = nil })
		b := take(t, p, ask(1))

		// Ahead of demand there is nobody to tell but Trouble, once for each call.
		m.set(func() { m.fail = func() error { return errBroken } })
		end(t, b)
		after(time.Minute)
		if len(m.trouble) != 1 || !errors.Is(m.trouble[0], errBroken) {
			t.Errorf("%v", m.trouble)
		}
		m.set(func() { m.fail = nil })
		b = take(t, p, ask(1))
		m.set(func() { b.Box.err = errBroken })
		if err := b.Close(); !errors.Is(err, errBroken) {
			t.Error(err)
		}
		after(time.Second)
		if s := p.Stats().Total; s.Made != 2+uint64(s.Waiting) || s.Misses != 6 || s.Waiting != s.Wanted {
			t.Errorf("%+v", s)
		}
	})
}

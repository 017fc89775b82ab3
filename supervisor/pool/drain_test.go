// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func ofProfile(name string) func(Labels) bool {
	return func(l Labels) bool { return l.Profile == name }
}

func TestDrainOfAProfile(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		web, files := askFor(1, "web", "", 1), askFor(2, "files", "", 2)
		use(t, p, web, 1)
		use(t, p, files, 1)
		running := take(t, p, web)
		after(time.Second)
		n, err := p.Drain(ofProfile("web"))
		if n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if running.Box.closed.Load() != 0 {
			t.Error("a running call lost its box")
		}
		end(t, running)
		after(time.Minute) // nothing comes back by itself
		if live, templates := m.now(); live != 1 || templates != 1 || waiting(p, files) != 1 {
			t.Errorf("%d boxes, %d templates", live, templates)
		}
		b := take(t, p, web)
		if b.Box.from == running.Box.from {
			t.Error("a box of the old template")
		}
		end(t, b)
	})
}

func TestDrainOfASession(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		one, two := askFor(1, "web", "one", 1), askFor(2, "web", "two", 1)
		use(t, p, one, 1)
		use(t, p, two, 1)
		n, err := p.Drain(func(l Labels) bool { return l.Session == "one" })
		if n != 1 || err != nil || waiting(p, two) != 1 || m.built != 1 || m.living[0].gone() {
			t.Errorf("%d, %v", n, err)
		}
	})
}

// A template that serves two profiles goes with either; the other's boxes come
// back from the next.
func TestDrainOfASharedTemplate(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		use(t, p, askFor(1, "web", "", 1), 1)
		use(t, p, askFor(2, "files", "", 1), 1)
		if n, err := p.Drain(ofProfile("web")); n != 2 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		after(time.Second)
		if live, templates := m.now(); live != 1 || templates != 1 || m.built != 2 || waiting(p, askFor(2, "", "", 1)) != 1 {
			t.Errorf("%d boxes, %d templates", live, templates)
		}
	})
}

// Who asked for a key is remembered, not only who did last; of too many it is
// assumed.
func TestDrainKnowsAllOwners(t *testing.T) {
	for n, others := range map[int]int{1: 2, fewMost: fewMost, 0: fewMost + 1} {
		inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
			for i := range others {
				use(t, p, askFor(1, fmt.Sprint("p", i+1), "", 1), 1)
			}
			if got, err := p.Drain(ofProfile(fmt.Sprint("p", n))); got != 1 || err != nil {
				t.Errorf("p%d of %d: %d, %v", n, others, got, err)
			}
		})
	}
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		for i := range fewMost {
			use(t, p, askFor(1, fmt.Sprint("p", i+1), "", 1), 1)
		}
		if got, err := p.Drain(ofProfile("p0")); got != 0 || err != nil {
			t.Errorf("%d, %v", got, err)
		}
	})
}

// What is being made when the pool is drained goes to who waits for it already,
// and else to nobody.
func TestDrainWhileMaking(t *testing.T) {
	all := func(Labels) bool { return true }
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		m.set(func() { m.template, m.prepare = 100*ms, 100*ms })
		var calls sync.WaitGroup
		get := func() *taken { return take(t, p, ask(1)) }

		// its template
		calls.Go(func() {
			b := get()
			if b.Box.from != m.living[0] {
				t.Error("who waited for it doesn't get it")
			}
			end(t, b)
		})
		after(50 * ms)
		if n, err := p.Drain(all); n != 0 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		b := get()
		if m.built != 2 || b.Box.from != m.living[1] {
			t.Error("who came later got the old template")
		}
		calls.Wait()

		// the replacement
		end(t, b)
		synctest.Wait()
		if s := p.Stats(); s.Total.Making != 1 {
			t.Fatalf("%+v", s)
		}
		if n, err := p.Drain(all); n != 0 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		after(time.Minute)
		if live, templates := m.now(); live != 0 || templates != 0 {
			t.Errorf("%d boxes, %d templates", live, templates)
		}
		if s := p.Stats(); s.Total.Dropped != 1 || len(s.Sessions) != 0 || s.Profiles[0].Dropped != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// The replacement that is being made is of a key that is drained, or from a
// template that is.
func TestDrainOfPartsWhileMaking(t *testing.T) {
	for name, match := range map[string]func(Labels) bool{
		"key":      func(l Labels) bool { return l.Session == "one" },
		"template": ofProfile("files"),
	} {
		inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
			call(t, p, askFor(2, "files", "", 1), ms)
			after(time.Second)
			w := askFor(1, "web", "one", 1)
			call(t, p, w, ms)
			after(ms)
			if s := p.Stats(); s.Total.Making != 1 {
				t.Fatalf("%s: %+v", name, s)
			}
			var before int
			m.set(func() { before = len(m.all) })
			if _, err := p.Drain(match); err != nil {
				t.Error(err)
			}
			after(time.Second)
			if b := m.all[before]; b.closed.Load() != 1 || p.Stats().Total.Dropped < 1 {
				t.Errorf("%s: what was being made is kept", name)
			}
			if n := waiting(p, w); name == "template" && n != 1 || name == "key" && n != 0 {
				t.Errorf("%s: %d wait", name, n)
			}
		})
	}
}

func TestDrainTellsErrors(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		use(t, p, ask(1), 1)
		m.set(func() { m.all[1].err = errBroken })
		if n, err := p.Drain(ofProfile("p")); n != 1 || !errors.Is(err, errBroken) {
			t.Errorf("%d, %v", n, err)
		}
		use(t, p, ask(1), 1)
		m.set(func() { m.all[len(m.all)-1].err = errBroken })
		after(time.Hour) // idle: nobody to tell but Trouble
		if len(m.trouble) != 1 || !errors.Is(m.trouble[0], errBroken) {
			t.Errorf("%v", m.trouble)
		}
	})
}

func TestStop(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		use(t, p, ask(1), 1)
		running := full(t, p, m, 2) // one waiting box gave way
		var all sync.WaitGroup
		for i := range 5 {
			all.Go(func() {
				if _, err := p.Take(t.Context(), ask(i)); !errors.Is(err, ErrStopped) {
					t.Error(err)
				}
			})
		}
		after(time.Second)
		m.set(func() { m.slots = 0 })
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
		begin := time.Now()
		all.Wait()
		if took := time.Since(begin); took != 0 {
			t.Errorf("those in line end after %v", took)
		}
		if _, err := p.Take(t.Context(), ask(1)); !errors.Is(err, ErrStopped) {
			t.Error(err)
		}
		for _, b := range running {
			end(t, b)
		}
		p.Released()
		p.Set(Default())
		after(time.Minute)
		if live, templates := m.now(); live != 0 || templates != 0 || !p.Stats().Stopped {
			t.Errorf("%d boxes, %d templates", live, templates)
		}
		p.Start()
		use(t, p, ask(1), 2)
		if s := p.Stats(); s.Stopped || s.Total.Waiting != 1 || s.Total.Hits != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// A Take that was making its box when the pool was stopped doesn't get it, even
// if the pool goes on before it is made.
func TestStopWhileMaking(t *testing.T) {
	for _, step := range []string{"template", "box", "replacement"} {
		inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
			m.set(func() { m.template, m.prepare = 100*ms, 100*ms })
			var all sync.WaitGroup
			all.Go(func() {
				b, err := p.Take(t.Context(), ask(1))
				if step == "replacement" {
					end(t, b)
				} else if !errors.Is(err, ErrStopped) {
					t.Errorf("%s: %v", step, err)
				}
			})
			after(map[string]time.Duration{"template": 50, "box": 150, "replacement": 250}[step] * ms)
			if err := p.Stop(); err != nil {
				t.Error(err)
			}
			p.Start()
			all.Wait()
			after(time.Second)
			if live, templates := m.now(); live != 0 || templates != 0 {
				t.Errorf("%s: %d boxes, %d templates", step, live, templates)
			}
		})
	}
}

// Whatever a Take is at under pressure, a stop ends it, and no box is left.
func TestStopUnderPressure(t *testing.T) {
	for name, begin := range map[string]func(*testing.T, *pool, *maker){
		"a try in vain": func(t *testing.T, p *pool, m *maker) {
			m.set(func() {
				m.prepare = 100 * ms
				m.fail = func() error { return errNoRoom }
			})
		},
		"giving up others' boxes": func(t *testing.T, p *pool, m *maker) {
			use(t, p, ask(2), 1)
			m.set(func() { m.slots, m.closing = m.live, 100*ms })
		},
	} {
		inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
			begin(t, p, m)
			var all sync.WaitGroup
			all.Go(func() {
				if _, err := p.Take(t.Context(), ask(1)); !errors.Is(err, ErrStopped) {
					t.Errorf("%s: %v", name, err)
				}
			})
			after(50 * ms)
			if err := p.Stop(); err != nil {
				t.Error(err)
			}
			all.Wait()
			after(time.Minute)
			if live, templates := m.now(); live != 0 || templates != 0 {
				t.Errorf("%s: %d boxes, %d templates", name, live, templates)
			}
		})
	}
}

// A stop may come when somebody in line was given a box and hasn't seen it.
func TestStopOfTheServed(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		spare := take(t, p, ask(1))
		m.set(func() { m.slots = 1 })
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := p.Take(t.Context(), ask(1)); !errors.Is(err, ErrStopped) {
				t.Error(err)
			}
		})
		after(time.Second)
		p.mu.Lock()
		if !p.serve(&taken{Box: spare.Box, pool: p, shelf: spare.shelf, from: spare.from}, time.Now()) {
			t.Error("nobody in line")
		}
		p.shut = ErrStopped
		p.stops++
		p.mu.Unlock()
		all.Wait()
		synctest.Wait()
		if spare.Box.closed.Load() != 1 {
			t.Error("the box is left")
		}
	})
}

// Close ends what waits, and waits for what is being made.
func TestClose(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		m.set(func() { m.prepare = 100 * ms })
		call(t, p, ask(1), ms) // its replacement is in the making
		var all sync.WaitGroup
		for range 2 * Default().Makers {
			all.Go(func() {
				if _, err := p.Take(t.Context(), ask(2)); !errors.Is(err, ErrClosed) {
					t.Error(err)
				}
			})
		}
		after(50 * ms)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if live, templates := m.now(); live != 0 || templates != 0 {
			t.Errorf("%d boxes, %d templates", live, templates)
		}
		all.Wait()
		p.Start() // doesn't bring it back
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
		p.Start()
	})
}

func TestTakenOutlivesThePool(t *testing.T) {
	var b *taken
	synctest.Test(t, func(t *testing.T) {
		m := &maker{t: t}
		p := New(Default(), m.source())
		b = take(t, p, ask(1))
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if live, templates := m.now(); live != 1 || templates != 0 {
			t.Errorf("%d boxes, %d templates", live, templates)
		}
		end(t, b)
		if live, _ := m.now(); live != 0 {
			t.Errorf("%d boxes", live)
		}
	})
}

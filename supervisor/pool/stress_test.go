// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// TestStress has everything happen at once on the real clock: calls of several
// profiles and sessions, boxes and templates that die, a host that has too
// little room, drains, stops and other bounds. Each box is given out once or
// closed unused, closed once in any case, never after its death, never after a
// drain that came before its taker; and in the end nothing is left.
func TestStress(t *testing.T) {
	const callers, calls = 12, 500
	m := &maker{t: t, slots: 14}
	config := Default()
	config.Boxes, config.Templates, config.PerKey, config.Least = 10, 3, 4, 2
	config.Idle, config.Age, config.Patience = 50*ms, 70*ms, ms/5
	config.Wait = 0
	p := New(config, m.source())

	quit := make(chan struct{})
	var disturbers, all sync.WaitGroup
	every := func(d time.Duration, f func(*rand.Rand)) {
		disturbers.Go(func() {
			dice := rand.New(rand.NewPCG(1, uint64(d)))
			tick := time.NewTicker(d)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					f(dice)
				case <-quit:
					return
				}
			}
		})
	}
	every(7*ms, func(*rand.Rand) {
		// A Take that begins after the drain gets nothing that was begun before
		// it, which is when the generation was another.
		next := m.generation.Add(1)
		if _, err := p.Drain(func(Labels) bool { return true }); err != nil {
			t.Error(err)
		}
		m.floor.Store(next)
	})
	every(17*ms, func(*rand.Rand) {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
		p.Start()
	})
	every(5*ms, func(dice *rand.Rand) {
		c := config
		c.Boxes = dice.IntN(12)
		c.Templates = dice.IntN(4)
		c.Makers = dice.IntN(5)
		p.Set(c)
	})
	every(3*ms, func(dice *rand.Rand) {
		if _, err := p.Drain(func(l Labels) bool { return l.Session == "1" }); err != nil {
			t.Error(err)
		}
		m.set(func() {
			if n := len(m.all); n > 0 {
				m.all[n-1-dice.IntN(min(n, 8))].dead.Store(true)
			}
			if n := len(m.living); n > 0 && dice.IntN(4) == 0 {
				m.living[n-1].dead.Store(true)
			}
		})
		p.Released()
	})
	every(ms, func(*rand.Rand) {
		if s := p.Stats(); s.Total.Waiting > 12+1 || s.Total.Memory < 0 || s.Total.Made < s.Total.Hits {
			t.Errorf("%+v", s)
		}
	})

	var served sync.Map
	for caller := range callers {
		all.Go(func() {
			dice := rand.New(rand.NewPCG(2, uint64(caller)))
			for range calls {
				n := dice.IntN(6)
				w := askFor(n, string(rune('a'+n%3)), string(rune('0'+n%2)), n%3)
				w.Once = dice.IntN(10) == 0
				ctx, cancel := context.WithCancel(t.Context())
				if dice.IntN(10) == 0 {
					time.AfterFunc(time.Duration(dice.IntN(2000))*time.Microsecond, cancel)
				}
				floor := m.floor.Load()
				b, err := p.Take(ctx, w)
				switch {
				case err == nil:
					check(t, b.Box, w)
					if b.Box.begun < floor {
						t.Errorf("a box of generation %d after the drain of %d", b.Box.begun, floor)
					}
					if _, again := served.LoadOrStore(b.Box, true); again {
						t.Error("a box had two takers")
					}
					if dice.IntN(2) == 0 {
						time.Sleep(time.Duration(dice.IntN(500)) * time.Microsecond)
					}
					end(t, b)
				case errors.Is(err, context.Canceled), errors.Is(err, ErrStopped), errors.Is(err, errBroken):
				default:
					t.Error(err)
				}
				cancel()
				if dice.IntN(3) == 0 {
					time.Sleep(time.Duration(dice.IntN(5000)) * time.Microsecond)
				}
			}
		})
	}
	all.Wait()
	close(quit)
	disturbers.Wait()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if live, templates := m.now(); live != 0 || templates != 0 {
		t.Errorf("%d boxes and %d templates are left", live, templates)
	}
	taken := 0
	for _, b := range m.all {
		if b.closed.Load() != 1 {
			t.Errorf("a box was closed %d times", b.closed.Load())
		}
		taken += int(b.given.Load())
	}
	for _, z := range m.living {
		if z.closed.Load() != 1 {
			t.Errorf("a template was closed %d times", z.closed.Load())
		}
	}
	s := p.Stats().Total
	if s.Made != uint64(len(m.all)) || s.Made != uint64(taken)+s.Died+s.Evicted+s.Dropped {
		t.Errorf("%d boxes, %d were taken: %+v", len(m.all), taken, s)
	}
	for _, err := range m.trouble {
		if !errors.Is(err, errBroken) {
			t.Error(err)
		}
	}
	t.Logf("%+v", s)
}

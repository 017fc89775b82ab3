// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// full is a host with n slots, all taken by calls of key 0.
func full(t *testing.T, p *pool, m *maker, n int) []*taken {
	t.Helper()
	m.set(func() { m.slots = n })
	var all []*taken
	for range n {
		w := ask(0)
		w.Once = true
		all = append(all, take(t, p, w))
	}
	return all
}

// tries counts how often a box was tried to be made.
func (m *maker) tried() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tries
}

func TestWaitingBoxesGiveWay(t *testing.T) {
	c := Default()
	c.Least = 2
	inBubble(t, c, func(t *testing.T, p *pool, m *maker) {
		use(t, p, ask(1), 1)
		use(t, p, ask(2), 1)
		m.set(func() { m.slots = 4 })
		begin := time.Now()
		var all []*taken
		for i := range 4 {
			all = append(all, take(t, p, ask(10+i)))
		}
		if took := time.Since(begin); took > 20*ms {
			t.Errorf("it took %v", took)
		}
		expect(t, p, Line{Misses: 6, Made: 10, Evicted: 4, Wanted: 12})
		for _, b := range all {
			end(t, b)
		}
	})
}

// When no boxes are left, templates that nobody uses are next.
func TestIdleTemplatesGiveWay(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		use(t, p, askFor(1, "p", "", 1), 1)
		use(t, p, askFor(2, "p", "", 2), 1)
		m.set(func() {
			m.fail = func() error { // one process too many
				if m.templates > 1 {
					return errNoRoom
				}
				return nil
			}
		})
		b := take(t, p, askFor(3, "p", "", 1))
		if live, templates := m.now(); live != 1 || templates != 1 || p.templates[b.Box.from.key] == nil {
			t.Errorf("%d boxes, %d templates", live, templates)
		}
		end(t, b)
		m.set(func() { m.fail = nil })
	})
}

// Who waits for room gets it in order of arrival, one for each box that goes,
// and a box that goes costs one vain try at most.
func TestRoomIsGivenInOrder(t *testing.T) {
	c := Default()
	c.Boxes = 0
	inBubble(t, c, func(t *testing.T, p *pool, m *maker) {
		running := full(t, p, m, 4)
		after(time.Second)
		const n = 12
		var mu sync.Mutex
		var order []int
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() {
				b := take(t, p, ask(i%3))
				mu.Lock()
				order = append(order, i)
				running = append(running, b)
				mu.Unlock()
			})
			after(10 * ms)
		}
		if s := p.Stats(); s.Queued != n {
			t.Errorf("%+v", s)
		}
		tried := m.tried()
		for i := range n {
			mu.Lock()
			b := running[0]
			running = running[1:]
			mu.Unlock()
			end(t, b)
			after(20 * ms)
			mu.Lock()
			if len(order) != i+1 || order[i] != i {
				t.Errorf("%d boxes went, served %v", i+1, order)
			}
			mu.Unlock()
		}
		all.Wait()
		if vain := m.tried() - tried - n; vain > n {
			t.Errorf("%d vain tries", vain)
		}
		for _, b := range running {
			end(t, b)
		}
	})
}

// Several boxes that go at once serve as many.
func TestRoomForSeveral(t *testing.T) {
	c := Default()
	c.Boxes = 0
	inBubble(t, c, func(t *testing.T, p *pool, m *maker) {
		running := full(t, p, m, 8)
		begin := time.Now()
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() { call(t, p, ask(i), 500*ms) })
		}
		after(100 * ms)
		for _, b := range running {
			end(t, b)
		}
		all.Wait()
		if took := time.Since(begin); took > 600*ms+8*(m.prepare+m.template) {
			t.Errorf("it took %v", took)
		}
	})
}

func TestRefusal(t *testing.T) {
	c := Default()
	inBubble(t, c, func(t *testing.T, p *pool, m *maker) {
		running := full(t, p, m, 1)
		begin := time.Now()
		_, err := p.Take(t.Context(), ask(1))
		var r *Refused
		if !errors.As(err, &r) || !errors.Is(err, errNoRoom) || errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != c.Wait || r.Waited != c.Wait || err.Error() != "no sandbox within 10s: all boxes are in use" {
			t.Errorf("after %v: %v", took, err)
		}

		// No longer than the caller has.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin = time.Now()
		_, err = p.Take(ctx, ask(1))
		if !errors.As(err, &r) || !errors.Is(err, errNoRoom) || !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}

		// Who gives up is told so, and isn't counted.
		stopped := errors.New("stopped by a person")
		given, giveUp := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { giveUp(stopped) })
		if _, err = p.Take(given, ask(1)); !errors.Is(err, stopped) || errors.As(err, &r) {
			t.Error(err)
		}
		if _, err = p.Take(given, ask(1)); !errors.Is(err, stopped) {
			t.Error(err)
		}
		if s := p.Stats(); s.Total.Refused != 2 || s.Total.Misses != 4 || s.Queued != 0 {
			t.Errorf("%+v", s)
		}
		end(t, running[0])
		call(t, p, ask(1), ms)
	})
}

// Time may be over when a try ends.
func TestRefusalAfterALongTry(t *testing.T) {
	inBubble(t, Config{Templates: 1, Wait: time.Second}, func(t *testing.T, p *pool, m *maker) {
		running := full(t, p, m, 1)
		m.set(func() { m.prepare = 3 * time.Second })
		var r *Refused
		if _, err := p.Take(t.Context(), ask(1)); !errors.As(err, &r) || r.Waited != 3*time.Second+m.template {
			t.Error(err)
		}
		if s := p.Stats(); s.Total.Refused != 1 || s.Queued != 0 {
			t.Errorf("%+v", s)
		}
		end(t, running[0])
	})
}

// The caller's time may be over while a template is made; who else waits for
// the template gets it.
func TestDeadlineWhileTheTemplateIsMade(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		m.set(func() { m.template = time.Second })
		ctx, cancel := context.WithTimeout(t.Context(), 100*ms)
		defer cancel()
		go func() {
			time.Sleep(50 * ms)
			call(t, p, ask(2), ms)
		}()
		if _, err := p.Take(ctx, ask(1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		after(2 * time.Second)
		if s := p.Stats().Total; m.built != 1 || s.Made == 0 {
			t.Errorf("%d templates, %+v", m.built, s)
		}
	})
}

// A host whose templates find no room is as full as one without slots.
func TestRefusalOfTemplates(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		m.set(func() { m.failBuild = func() error { return errNoRoom } })
		var r *Refused
		if _, err := p.Take(t.Context(), ask(1)); !errors.As(err, &r) || !errors.Is(err, errNoRoom) {
			t.Error(err)
		}
		m.set(func() { m.failBuild = nil })
		call(t, p, ask(1), ms)
	})
}

// Without a bound of the pool's own the caller's holds.
func TestNoWaitBound(t *testing.T) {
	c := Default()
	c.Wait = 0
	inBubble(t, c, func(t *testing.T, p *pool, m *maker) {
		running := full(t, p, m, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := p.Take(ctx, ask(1)); !errors.Is(err, errNoRoom) || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		end(t, running[0])
	})
}

// Room that others made is found without being told of, within a second, and
// the search costs a try a second, however many wait.
func TestRoomMadeByOthers(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		m.set(func() { m.fail = func() error { return errNoRoom } })
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() { call(t, p, ask(i), time.Minute) })
		}
		after(500 * ms)
		tried := m.tried()
		after(6 * time.Second)
		if n := m.tried() - tried; n != 6 {
			t.Errorf("%d tries in six seconds", n)
		}
		m.set(func() { m.fail = nil })
		begin := time.Now()
		all.Wait()
		if took := time.Since(begin); took > time.Minute+time.Second+20*m.prepare {
			t.Errorf("it took %v", took)
		}
	})
}

// After a few successes the Takes go side by side again.
func TestRoomIsThereAgain(t *testing.T) {
	c := Default()
	c.Makers = 5
	inBubble(t, c, func(t *testing.T, p *pool, m *maker) {
		m.set(func() { m.fail = func() error { return errNoRoom } })
		var all sync.WaitGroup
		for i := range 14 {
			all.Go(func() { call(t, p, ask(i), time.Minute) })
		}
		after(100 * ms)
		m.set(func() { m.fail, m.prepare = nil, 100*ms })
		begin := time.Now()
		p.Released()
		all.Wait()
		if took := time.Since(begin); took != time.Minute+(muchLuck+2)*100*ms {
			t.Errorf("it took %v", took)
		}
	})
}

// Who comes while the first in line tries again doesn't try beside it.
func TestNobodyOvertakes(t *testing.T) {
	c := Default()
	c.Boxes = 0
	inBubble(t, c, func(t *testing.T, p *pool, m *maker) {
		running := full(t, p, m, 1)
		m.set(func() { m.prepare = 100 * ms })
		var all sync.WaitGroup
		all.Go(func() { call(t, p, ask(1), ms) })
		after(time.Second)
		end(t, running[0])
		after(50 * ms)
		all.Go(func() { call(t, p, ask(2), ms) })
		synctest.Wait()
		if s := p.Stats(); s.Making != 1 || s.Queued != 1 {
			t.Errorf("%+v", s)
		}
		all.Wait()
	})
}

// A try in vain is none if a box for it was made ahead meanwhile.
func TestAheadServesWhoTriedInVain(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		use(t, p, ask(2), 1)
		m.set(func() { m.prepare = 100 * ms })
		call(t, p, ask(1), ms)
		after(50 * ms) // half of its successor is made
		m.set(func() { m.slots = 2 })
		begin := time.Now()
		b := take(t, p, ask(1))
		if took := time.Since(begin); took != 100*ms {
			t.Errorf("it took %v", took)
		}
		if s := p.Stats().Total; s.Evicted != 0 || waiting(p, ask(2)) != 1 {
			t.Errorf("%+v", s)
		}
		end(t, b)
	})
}

func TestReleasedMakesRoom(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		m.set(func() { m.fail = func() error { return errNoRoom } })
		done := make(chan struct{})
		go func() {
			defer close(done)
			call(t, p, ask(1), 0)
		}()
		after(100 * ms)
		m.set(func() { m.fail = nil })
		begin := time.Now()
		p.Released()
		<-done
		if took := time.Since(begin); took != m.prepare {
			t.Errorf("it took %v", took)
		}
	})
}

// A box that goes while one tries in vain isn't missed.
func TestRoomWhileTrying(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		call(t, p, ask(1), ms) // there is a template
		tried := 0
		m.set(func() {
			m.fail = func() error {
				if tried++; tried == 1 {
					go p.Released()
					m.mu.Unlock()
					synctest.Wait()
					m.mu.Lock()
					return errNoRoom
				}
				return nil
			}
		})
		begin := time.Now()
		w := ask(2)
		w.Once = true
		end(t, take(t, p, w))
		if took := time.Since(begin); took > 3*m.prepare {
			t.Errorf("it took %v", took)
		}
		m.set(func() { m.fail = nil })
	})
}

// While calls wait for room what was being made ahead of demand gives way to them.
func TestAheadGivesWayUnderPressure(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		m.set(func() { m.prepare = 100 * ms })
		call(t, p, ask(1), ms)
		after(50 * ms) // half of the successor is made
		m.set(func() {
			m.prepare = ms
			m.fail = func() error { return errNoRoom }
		})
		var all sync.WaitGroup
		all.Go(func() { call(t, p, ask(2), ms) })
		after(40 * ms)
		m.set(func() { m.fail = nil })
		begin := time.Now()
		all.Wait()
		if took := time.Since(begin); took > 20*ms {
			t.Errorf("it took %v", took)
		}
		if s := p.Stats().Total; s.Evicted != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestMakersAreBounded(t *testing.T) {
	c := Config{Makers: 3, Wait: time.Second}
	inBubble(t, c, func(t *testing.T, p *pool, m *maker) {
		m.set(func() { m.template, m.prepare = 0, 10*ms })
		var mu sync.Mutex
		var order []int
		var all sync.WaitGroup
		for i := range 12 {
			all.Go(func() {
				b := take(t, p, ask(i))
				mu.Lock()
				order = append(order, i/3)
				mu.Unlock()
				end(t, b)
			})
			synctest.Wait()
		}
		if s := p.Stats(); s.Making != 3 || s.Queued != 9 {
			t.Errorf("%+v", s)
		}
		begin := time.Now()
		all.Wait()
		if took := time.Since(begin); took != 40*ms || m.most != 3 || !slices.IsSorted(order) {
			t.Errorf("%v, %d at once, %v", took, m.most, order)
		}

		// Busy is a reason, too.
		m.set(func() { m.prepare = time.Hour })
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 3 {
			all.Go(func() {
				if _, err := p.Take(ctx, ask(i)); !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		var r *Refused
		if _, err := p.Take(t.Context(), ask(9)); !errors.As(err, &r) || !errors.Is(err, errBusy) || !strings.Contains(err.Error(), "within 1s") {
			t.Error(err)
		}
		all.Go(func() { call(t, p, ask(9), ms) })
		synctest.Wait()
		m.set(func() { m.prepare = ms })
		p.Set(Config{Makers: 4, Wait: time.Second})
		after(2 * ms)
		if s := p.Stats(); s.Queued != 0 || s.Making != 3 {
			t.Errorf("%+v", s)
		}
		cancel()
		all.Wait()
	})
}

// What is made ahead goes to the first in line for its key, before its turn.
func TestAheadServesTheLine(t *testing.T) {
	c := Default()
	c.Makers = 1
	inBubble(t, c, func(t *testing.T, p *pool, m *maker) {
		m.set(func() { m.prepare = 100 * ms })
		call(t, p, ask(1), ms)
		after(ms) // the successor is being made
		var all sync.WaitGroup
		all.Go(func() { call(t, p, ask(2), ms) })
		after(ms)
		begin := time.Now()
		b := take(t, p, ask(1))
		if took := time.Since(begin); took >= 100*ms {
			t.Errorf("it took %v", took)
		}
		all.Wait()
		end(t, b)
	})
}

// The first gives up; the second gets the room that comes next.
func TestLeavingTheLine(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		running := full(t, p, m, 1)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := p.Take(ctx, ask(1)); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		after(100 * ms)
		all.Go(func() { call(t, p, ask(2), ms) })
		after(100 * ms)
		cancel()
		after(10 * ms)
		begin := time.Now()
		end(t, running[0])
		all.Wait()
		if took := time.Since(begin); took > 10*ms {
			t.Errorf("it took %v", took)
		}
	})
}

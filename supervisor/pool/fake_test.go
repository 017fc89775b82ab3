// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	errNoRoom = errors.New("all boxes are in use")
	errBroken = errors.New("broken")
)

// maker is a Source that counts what becomes of each of its boxes.
type maker struct {
	t testing.TB

	generation, floor atomic.Int64 // of what is begun now, and of what may be taken; see TestStress

	mu        sync.Mutex
	prepare   time.Duration // mu; how long a box takes
	template  time.Duration // mu; how long a template takes
	closing   time.Duration // mu; how long the end of a box takes
	slots     int           // mu; most boxes there may be; 0: no bound
	live      int           // mu; boxes there are
	templates int           // mu; templates there are
	making    int           // mu; boxes being made
	most      int           // mu; the highest making
	tries     int           // mu; how often Prepare began
	built     int           // mu; how many templates were made
	all       []*box        // mu
	living    []*zygote     // mu; all templates ever
	fail      func() error  // mu; what Prepare says instead
	failBuild func() error  // mu; what Template says instead
	trouble   []error       // mu
}

type box struct {
	maker  *maker
	from   *zygote
	key    Key
	number int
	begun  int64 // maker.generation when it was begun
	dead   atomic.Bool
	closed atomic.Int32
	given  atomic.Int32
	err    error
}

type zygote struct {
	maker  *maker
	key    Key
	dead   atomic.Bool
	using  atomic.Int32
	closed atomic.Int32
}

// spec is what boxes and templates are made from.
type spec struct{ key, template Key }

type (
	want  = Want[spec]
	pool  = Pool[spec, *box]
	taken = Taken[spec, *box]
)

func (m *maker) source() Source[spec, *box] {
	return Source[spec, *box]{
		Template: m.build,
		Exhausted: func(err error) bool {
			return errors.Is(err, errNoRoom)
		},
		Trouble: func(err error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.trouble = append(m.trouble, err)
		},
	}
}

func pause(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *maker) build(ctx context.Context, s spec) (Template[spec, *box], error) {
	m.mu.Lock()
	d := m.template
	m.mu.Unlock()
	if err := pause(ctx, d); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failBuild != nil {
		if err := m.failBuild(); err != nil {
			return nil, err
		}
	}
	m.built++
	m.templates++
	z := &zygote{maker: m, key: s.template}
	m.living = append(m.living, z)
	return z, nil
}

func (z *zygote) Prepare(ctx context.Context, s spec) (*box, error) {
	m := z.maker
	z.using.Add(1)
	defer z.using.Add(-1)
	if z.closed.Load() > 0 {
		m.t.Error("a box is made from a closed template")
	}
	b := &box{maker: m, from: z, key: s.key, begun: m.generation.Load()}
	m.mu.Lock()
	m.tries++
	m.making++
	m.most = max(m.most, m.making)
	d := m.prepare
	m.mu.Unlock()
	err := pause(ctx, d)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.making--
	switch {
	case err != nil:
		return nil, err
	case z.dead.Load():
		return nil, errBroken
	case m.fail != nil:
		if err := m.fail(); err != nil {
			return nil, err
		}
	case m.slots > 0 && m.live >= m.slots:
		return nil, errNoRoom
	}
	m.live++
	b.number = len(m.all)
	m.all = append(m.all, b)
	return b, nil
}

func (z *zygote) Close() error {
	if z.closed.Add(1) != 1 {
		z.maker.t.Error("a template is closed twice")
	}
	if z.using.Load() != 0 {
		z.maker.t.Error("a template in use is closed")
	}
	z.maker.mu.Lock()
	defer z.maker.mu.Unlock()
	z.maker.templates--
	return nil
}

func (z *zygote) Alive() bool { return !z.dead.Load() }

func (b *box) Close() error {
	if b.closed.Add(1) != 1 {
		b.maker.t.Error("a box is closed twice")
	}
	b.maker.mu.Lock()
	d := b.maker.closing
	b.maker.mu.Unlock()
	_ = pause(context.Background(), d)
	b.maker.mu.Lock()
	defer b.maker.mu.Unlock()
	b.maker.live--
	return b.err
}

func (b *box) Waiting() bool { return !b.dead.Load() }

// now gives the maker's counters.
func (m *maker) now() (live, templates int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.live, m.templates
}

func (m *maker) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// inBubble runs a test with a pool on a clock of its own, and then sees that
// nothing of it is left. After Close every box must have been closed.
func inBubble(t *testing.T, c Config, f func(*testing.T, *pool, *maker)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := &maker{t: t, prepare: 2 * time.Millisecond, template: 5 * time.Millisecond}
		p := New(c, m.source())
		f(t, p, m)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if _, err := p.Take(t.Context(), ask(1)); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		live, templates := m.now()
		if live != 0 || templates != 0 {
			t.Errorf("%d boxes and %d templates are left", live, templates)
		}
		s := p.Stats()
		if s.Total.Waiting != 0 || s.Templates != 0 || s.Making != 0 || s.Queued != 0 || p.memory != 0 || p.line.failed != 0 || p.holds.Len() != 0 {
			t.Errorf("the books don't end with nothing: %+v", s)
		}
	})
}

// ask is a request for key n of a template that all share.
func ask(n int) want { return askFor(n, "p", "", 0) }

func askFor(n int, profile, session string, template int) want {
	var k Key
	copy(k[:], fmt.Sprintf("key %d", n))
	var u Key
	copy(u[:], fmt.Sprintf("template %d", template))
	return want{Spec: spec{k, u}, Key: k, Template: u, Labels: Labels{profile, session}}
}

// take takes a box that must be right.
func take(t *testing.T, p *pool, w want) *taken {
	t.Helper()
	b, err := p.Take(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	check(t, b.Box, w)
	return b
}

func check(t testing.TB, b *box, w want) {
	t.Helper()
	if b.key != w.Key || b.from.key != w.Template || b.closed.Load() != 0 || b.given.Add(1) != 1 {
		t.Errorf("a wrong box: %+v", b)
	}
}

// end ends a call.
func end(t *testing.T, b *taken) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// call takes a box, uses it for a time and ends.
func call(t *testing.T, p *pool, w want, d time.Duration) {
	t.Helper()
	b := take(t, p, w)
	time.Sleep(d)
	end(t, b)
}

// expect compares lines of the statistics.
func expect(t *testing.T, p *pool, want Line) {
	t.Helper()
	synctest.Wait()
	got := p.Stats().Total
	got.Age, got.Memory = 0, 0
	if got != want {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
}

// after waits for what is under way, and a little more.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Key says what a box, or a template, is good for.
type Key [32]byte

// Box is one prepared sandbox.
type Box interface {
	// Close ends the box, whatever became of it. The pool calls it once.
	Close() error
	// Waiting says that it is still there to be used. It is asked under the
	// pool's lock and must not block.
	Waiting() bool
}

// Template makes boxes, several at a time.
type Template[S any, B Box] interface {
	// Prepare makes a box for a spec with the template's key. With an error
	// there is no box.
	Prepare(ctx context.Context, spec S) (B, error)
	// Close ends the template; boxes made from it go on. The pool calls it once,
	// with no Prepare running.
	Close() error
	// Alive says that it can still make boxes. It is asked under the pool's
	// lock and must not block.
	Alive() bool
}

// Source is where templates and boxes come from. All three functions are there.
// Making a template or a box must end by itself when the host hangs: who makes
// one has one of Config.Makers' turns.
type Source[S any, B Box] struct {
	// Template makes a template. With an error there is none.
	Template func(ctx context.Context, spec S) (Template[S, B], error)
	// Exhausted says that an error of Template or Prepare means that the host
	// has no room now (processes, memory, slots), and may have later.
	Exhausted func(error) bool
	// Trouble is told what went wrong where no call can be told: what could not
	// be closed, or not be made ahead of demand. It must be quick.
	Trouble func(error)
}

// Labels say on whose behalf a box is.
type Labels struct {
	Profile string
	Session string // empty: none
}

// Want is a request for a box. The pool keeps the latest Spec of each key to
// make more, so it must stay good after the call.
type Want[S any] struct {
	Spec     S
	Key      Key // of the box; equal keys mean equal template keys
	Template Key
	Labels   Labels
	Cost     int64 // bytes that such a box takes while it waits; zero: DefaultCost
	Once     bool  // nobody will ask for this key again: keep neither boxes nor a template for it
	Alone    bool  // the box is made of what this call alone has: keep no boxes for it, but the template
}

// DefaultCost is what a waiting box takes where nobody has measured.
const DefaultCost = 1 << 20

// maxKeys bounds how many keys are remembered.
const maxKeys = 1024

// Errors of Take, besides Refused and those of the Source.
var (
	ErrStopped = errors.New("the pool is stopped: no sandbox is given out")
	ErrClosed  = errors.New("the pool is closed")
)

// Pool is safe for use by several goroutines.
type Pool[S any, B Box] struct {
	source  Source[S, B]
	context context.Context // of what no call waits for
	cancel  context.CancelFunc
	work    sync.WaitGroup // everything that Close waits for
	kick    chan struct{}  // there is something to make; holds one
	timer   *time.Timer

	mu        sync.Mutex
	config    Config                  // mu
	shut      error                   // mu; why nothing is given out
	stops     int                     // mu; how often it was stopped
	shelves   map[Key]*shelf[S, B]    // mu
	order     list.List               // mu; all shelves, the latest asked for first
	stocked   []*shelf[S, B]          // mu; those with boxes
	hungry    []*shelf[S, B]          // mu; those that may lack some, the longest waiting first
	templates map[Key]*template[S, B] // mu
	holds     list.List               // mu; *Taken whose calls go on, while their replacement waits for that
	wake      time.Time               // mu; when timer fires; zero: it doesn't
	waiting   int                     // mu; boxes on all shelves
	memory    int64                   // mu; their cost
	took      time.Duration           // mu; mean of how long a box takes to be made
	ahead     *shelf[S, B]            // mu; for which one is being made ahead
	line      line[S, B]              // mu
	total     counts                  // mu
	profiles  map[string]*counts      // mu
}

// Taken is a box that has left the pool.
type Taken[S any, B Box] struct {
	Box B

	pool   *Pool[S, B]
	shelf  *shelf[S, B]
	from   *template[S, B]
	cost   int64
	taken  time.Time
	hold   *list.Element // pool.mu; in pool.holds
	closed atomic.Bool
}

// New makes a pool. It makes no box before the first Take.
func New[S any, B Box](config Config, source Source[S, B]) *Pool[S, B] {
	p := &Pool[S, B]{
		source: source, config: config, kick: make(chan struct{}, 1),
		shelves: map[Key]*shelf[S, B]{}, templates: map[Key]*template[S, B]{}, profiles: map[string]*counts{},
	}
	p.context, p.cancel = context.WithCancel(context.Background())
	p.timer = time.NewTimer(time.Hour)
	p.timer.Stop()
	p.work.Go(p.refill)
	return p
}

// Take gives a box for a request: the one of its key that waited longest, or
// one made now. The caller closes it by Taken.Close. The error is ErrStopped,
// ErrClosed, a *Refused, ctx's cause, or the Source's.
func (p *Pool[S, B]) Take(ctx context.Context, w Want[S]) (*Taken[S, B], error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shut != nil {
		return nil, p.shut
	}
	now := time.Now() // in the lock: arrivals are in order
	s := p.arrive(&w, now)
	if box := p.find(s, now); box != nil {
		p.count(s, w.Labels, hit)
		return box, nil
	}
	p.count(s, w.Labels, miss)
	return p.takeNew(ctx, &w, s, now)
}

// Close ends the box and tells the pool that its call is over. Only the first
// call does anything.
func (t *Taken[S, B]) Close() error {
	if t.closed.Swap(true) {
		return nil
	}
	err := t.Box.Close()
	now := time.Now()
	p := t.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.config.Patience > 0 {
		t.shelf.demand.ended(min(now.Sub(t.taken), p.config.Patience))
	}
	p.release(t, now)
	p.freed()
	return err
}

// Released says that something that isn't the pool's made room on the host: a
// box of a service, say.
func (p *Pool[S, B]) Released() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.freed()
}

// handOut makes a box its taker's.
func (p *Pool[S, B]) handOut(t *Taken[S, B], now time.Time) {
	t.taken, t.from.used = now, now
	if t.shelf.gone {
		return
	}
	if p.config.Patience <= 0 {
		p.feed(t.shelf, now)
		return
	}
	t.hold = p.holds.PushBack(t)
	t.shelf.held++
	p.arm(now.Add(p.config.Patience))
}

// release lets the replacement of a taken box be made, if that still waits.
func (p *Pool[S, B]) release(t *Taken[S, B], now time.Time) {
	if t.hold == nil {
		return
	}
	p.holds.Remove(t.hold)
	t.hold = nil
	t.shelf.held--
	p.feed(t.shelf, now)
}

// arm has the refiller look at the clock's work at a time, or before.
func (p *Pool[S, B]) arm(at time.Time) {
	if p.wake.IsZero() || at.Before(p.wake) {
		p.wake = at
		p.timer.Reset(time.Until(at))
	}
}

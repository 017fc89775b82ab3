// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"
	"time"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

const (
	// What a helper may ask for, with some room: the clocks are two.
	perSecond = packet.PerSecond * 5 / 4
	burst     = packet.Burst * 2

	maxDials     = 64 // at work at once
	maxProbes    = 64 // that have no answer yet; of those at work there are less (packet.MaxProbes)
	pingInterval = 5 * time.Second
)

// Handler is told what the helper says about boxes that reach beyond themselves
// (package packet), of which this package knows no more. What it is told is as
// strictly read as everything else, and no more than that is known of it.
type Handler interface {
	// Began tells of a new run, which knows of no box, before it says anything.
	// An error ends it.
	Began(*Run) error
	// Word tells of one word. The next one is not read before it returns, neither
	// are those of relays and the answers to pings: it must not wait for people or
	// networks. An error ends the run.
	Word(*Run, packet.Word) error
	// Ended tells that a run that began is over. No word follows.
	Ended(*Run)
}

// Run is one run of the helper, from its start to its end. Everything that
// it says is taken for hostile.
type Run struct {
	helper *Helper
	conn   *packet.Conn
	dials  chan struct{} // one for each at work

	mu     sync.Mutex
	probes map[int]waiting // mu; without an answer; nil once the session has ended
}

// waiting is a probe that has no answer.
type waiting struct {
	answer chan error // has room for one
	until  time.Time  // no helper needs longer; what comes later is an answer to nothing
}

func newRun(h *Helper, conn *packet.Conn) *Run {
	return &Run{helper: h, conn: conn, dials: make(chan struct{}, maxDials), probes: map[int]waiting{}}
}

// Send says something about a box to this run. It waits up to five seconds for a
// helper that does not read, which ends the run. After packet.ErrPacket, the
// order being too long, the run is as it was.
func (s *Run) Send(o packet.Order, file *os.File) error {
	err := s.conn.Send(o, file)
	if err != nil && !errors.Is(err, packet.ErrPacket) {
		_ = s.conn.Close()
	}
	return err
}

// serve reads what the helper says until that makes no sense, or it is silent
// for too long, or ctx ends.
func (s *Run) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pongs := make(chan int, 1)
	var guards sync.WaitGroup
	guards.Go(func() { s.ping(ctx, cancel, pongs) })
	guards.Go(func() { // whatever ends ctx ends the reading
		<-ctx.Done()
		_ = s.conn.Close()
	})
	cancel(s.read(ctx, pongs))
	guards.Wait()
	s.end()
	return context.Cause(ctx)
}

func (s *Run) read(ctx context.Context, pongs chan<- int) error {
	dials := newBucket(perSecond, burst)
	words := newBucket(packet.WordsPerSecond, packet.WordsBurst)
	for {
		var w packet.Word
		file, err := s.conn.Receive(&w)
		if err != nil {
			return err
		}
		if file != nil {
			return errors.Join(fmt.Errorf("%w: it sent a descriptor", packet.ErrPacket), file.Close())
		}
		switch {
		case w.Kind == packet.Dial && dials.take(time.Now()) > 0:
			return fmt.Errorf("it asked for more than %d connections a second", packet.PerSecond)
		case w.Kind == packet.Dial:
			err = s.dial(w)
		case w.Kind == packet.Probed && len(w.Detail) <= packet.MaxDetail:
			err = s.probed(w)
		case w.Kind == packet.Pong:
			select {
			case pongs <- w.ID:
			default:
				err = fmt.Errorf("%w: a pong that nobody asked for", packet.ErrPacket)
			}
		case packet.Name <= w.Kind && w.Kind <= packet.Over && s.helper.handler != nil:
			if err = pause(ctx, words.take(time.Now())); err == nil {
				err = s.helper.handler.Word(s, w)
			}
		default:
			err = fmt.Errorf("%w: word %d", packet.ErrPacket, w.Kind)
		}
		if err != nil {
			return err
		}
	}
}

// ping asks for a sign of life, and ends the run when there is none by the
// time of the next.
func (s *Run) ping(ctx context.Context, end context.CancelCauseFunc, pongs <-chan int) {
	tick := time.NewTicker(s.helper.interval)
	defer tick.Stop()
	for id := 1; ; id++ {
		if err := s.conn.Send(packet.Order{Kind: packet.Ping, ID: id}, nil); err != nil {
			end(err)
			return
		}
		answered := false
		for ticked := false; !ticked; {
			select {
			case <-ctx.Done():
				return
			case got := <-pongs:
				if got != id || answered {
					end(fmt.Errorf("%w: pong %d to ping %d", packet.ErrPacket, got, id))
					return
				}
				answered = true
			case <-tick.C:
				ticked = true
			}
		}
		if !answered {
			end(fmt.Errorf("it did not answer within %v", s.helper.interval))
			return
		}
	}
}

// dial makes the peer of a connection, of a relay that the helper was given.
func (s *Run) dial(w packet.Word) error {
	r, given := s.helper.relay(w.Relay)
	if !given {
		return fmt.Errorf("%w: relay %d was never given to it", packet.ErrPacket, w.Relay)
	}
	s.dials <- struct{}{} // none of those at work waits for anything but the helper, and that not for long
	go func() {
		defer func() { <-s.dials }()
		answer := packet.Order{Kind: packet.Refuse, ID: w.ID}
		var peer *os.File
		if r != nil { // nil: closed meanwhile
			if file, err := r.connect(); err == nil {
				peer, answer.Kind = file, packet.Peer
				defer file.Close()
			}
		}
		if err := s.conn.Send(answer, peer); err != nil {
			_ = s.conn.Close() // it doesn't read what it asked for
		}
	}()
	return nil
}

// probe has a connecting socket asked. Where ctx ends first the answer may
// still come, and is none of anybody's then.
func (s *Run) probe(ctx context.Context, id int, o packet.Order, socket *os.File) error {
	answer := make(chan error, 1)
	if err := s.expect(id, waiting{answer, time.Now().Add(o.Timeout + s.helper.interval)}); err != nil {
		return err
	}
	if err := s.conn.Send(o, socket); err != nil {
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// expect notes a probe, and forgets those that were not answered in time.
func (s *Run) expect(id int, w waiting) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.probes == nil {
		return ErrNotRunning
	}
	now := time.Now()
	maps.DeleteFunc(s.probes, func(_ int, old waiting) bool { return now.After(old.until) })
	if len(s.probes) >= maxProbes {
		return &NotReadyError{fmt.Sprintf("%d probes have no answer yet", maxProbes)}
	}
	s.probes[id] = w
	return nil
}

func (s *Run) probed(w packet.Word) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	probe, known := s.probes[w.ID]
	if !known {
		return fmt.Errorf("%w: an answer to probe %d", packet.ErrPacket, w.ID)
	}
	delete(s.probes, w.ID)
	if w.OK {
		probe.answer <- nil
	} else {
		probe.answer <- &NotReadyError{w.Detail}
	}
	return nil
}

// end tells everybody who still waits.
func (s *Run) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, probe := range s.probes {
		probe.answer <- ErrNotRunning
	}
	s.probes = nil
}

// pause waits for a time, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	over := time.NewTimer(d)
	defer over.Stop()
	select {
	case <-over.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// bucket bounds a rate. One goroutine uses it.
type bucket struct {
	rate, burst float64 // a second, at once
	last        time.Time
	left        float64
}

func newBucket(rate, burst float64) *bucket {
	return &bucket{rate: rate, burst: burst, last: time.Now(), left: burst}
}

// take takes one, and says for how long there is none: until then whoever takes
// it is too early.
func (b *bucket) take(now time.Time) time.Duration {
	b.left = min(b.left+now.Sub(b.last).Seconds()*b.rate, b.burst) - 1
	b.last = now
	if b.left >= 0 {
		return 0
	}
	return time.Duration(-b.left / b.rate * float64(time.Second))
}

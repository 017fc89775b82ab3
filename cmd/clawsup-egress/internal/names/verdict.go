// SPDX-License-Identifier: Apache-2.0

package names

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// Bounds of asking for one box.
const (
	keepYes   = 10 * time.Second // rules and grants change, and a program looks up again
	keepNo    = 5 * time.Second
	keepWrong = time.Minute // what is no name will not become one
	maxKept   = 512         // verdicts
	maxWrong  = 64          // that are told, of what is no name; who goes on is no program that erred
	maxAsks   = 32          // at one time
	askLimit  = 5 * time.Second

	newPerSecond = 32  // names that were not asked for of late
	newBurst     = 256 // at once before that
)

// ErrBusy reports a box that asks for more new names than it may.
var ErrBusy = errors.New("the box asks for too many names in too short a time")

// kept is what was said about a name, or will be.
type kept struct {
	done    chan struct{} // closed when the rest is there
	verdict packet.Verdict
	err     error
	until   time.Time
}

func (k *kept) settled() bool {
	select {
	case <-k.done:
		return true
	default:
		return false
	}
}

// Verdict asks clawsupd about a name, spelled as package guard's Name gives it,
// or repeats what it said a moment ago. Several who ask for one name at a time
// ask once. The error is ErrBusy, the context's, or Ask's.
//
// It is also for names that come in otherwise than by DNS, such as in CONNECT:
// the bounds are the same.
func (s *Server) Verdict(ctx context.Context, name string) (packet.Verdict, error) {
	k, mine, err := s.enter(name, time.Now())
	if err != nil {
		return packet.Verdict{}, err
	}
	if mine {
		// Others may wait for it too: it does not end with who came first.
		ask, cancel := context.WithTimeout(context.WithoutCancel(ctx), askLimit)
		verdict, err := s.Ask(ask, name)
		cancel()
		s.settle(name, k, verdict, err, time.Now())
	}
	select {
	case <-k.done:
		return k.verdict, k.err
	case <-ctx.Done():
		return packet.Verdict{}, ctx.Err()
	}
}

// enter finds what there is about a name, or makes room for it, to be settled
// by the caller.
func (s *Server) enter(name string, now time.Time) (k *kept, mine bool, err error) {
	s.mu.Lock()
	k, ok := s.kept[name]
	if ok && (!k.settled() || now.Before(k.until)) {
		s.mu.Unlock()
		return k, false, nil
	}
	if s.asks >= maxAsks || !s.Table.Has(name) && !s.pace.take(now) {
		s.mu.Unlock()
		s.busy.Do(func() { s.refuse(name, ErrBusy.Error()) })
		return nil, false, ErrBusy
	}
	k = &kept{done: make(chan struct{})}
	s.keep(name, k, now)
	s.asks++
	s.mu.Unlock()
	return k, true, nil
}

func (s *Server) settle(name string, k *kept, verdict packet.Verdict, err error, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asks--
	k.verdict, k.err, k.until = verdict, err, now.Add(keepNo)
	if verdict.Allow {
		k.until = now.Add(keepYes)
	}
	if err != nil && s.kept[name] == k {
		delete(s.kept, name)
	}
	close(k.done)
}

// keep makes room and remembers. Precondition: s.mu is held.
func (s *Server) keep(name string, k *kept, now time.Time) {
	if s.kept == nil {
		s.kept = map[string]*kept{}
	}
	if len(s.kept) >= maxKept {
		for n, old := range s.kept {
			if old.settled() && !now.Before(old.until) {
				delete(s.kept, n)
			}
		}
		for n, old := range s.kept {
			if len(s.kept) < maxKept {
				break
			}
			if old.settled() { // of the others there are maxAsks at most
				delete(s.kept, n)
			}
		}
	}
	s.kept[name] = k
}

// wrong notes that the box asked for what is no name. The error is ErrBusy.
func (s *Server) wrong(text string, why error, now time.Time) error {
	sum := sha256.Sum256([]byte(text))
	key := "." + string(sum[:]) // no name begins like that
	s.mu.Lock()
	if k, ok := s.kept[key]; ok && now.Before(k.until) {
		s.mu.Unlock()
		return nil
	}
	if !s.pace.take(now) {
		s.mu.Unlock()
		s.busy.Do(func() { s.refuse("", ErrBusy.Error()) })
		return ErrBusy
	}
	k := &kept{done: make(chan struct{}), until: now.Add(keepWrong)}
	close(k.done)
	s.keep(key, k, now)
	s.told++
	tell := s.told <= maxWrong
	s.mu.Unlock()
	if tell {
		s.refuse("", why.Error())
	}
	return nil
}

func (s *Server) refuse(host, detail string) {
	s.Refused(packet.Refusal{Kind: packet.RefusedName, Host: host, Port: 53, Detail: clip(detail, packet.MaxDetail)})
}

// clip bounds a text of ASCII.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return s[:most-3] + "..."
}

// pace is a token bucket: newBurst at once, and then newPerSecond.
type pace struct {
	next time.Time // of the next one, if there were no bursts
}

// take reports whether there is one at this time, and takes it.
func (p *pace) take(now time.Time) bool {
	const interval = time.Second / newPerSecond
	if p.next.Before(now) {
		p.next = now
	}
	if p.next.Sub(now) > (newBurst-1)*interval {
		return false
	}
	p.next = p.next.Add(interval)
	return true
}

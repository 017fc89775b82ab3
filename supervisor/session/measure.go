// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"time"
)

const (
	// measurers is how many sessions are measured at a time. Each holds as many
	// descriptors as maxLevels, and keeps the disk at work.
	measurers = 2
	// measureLimit is how long one may take. A tree that can't be counted within
	// it counts as too large.
	measureLimit = time.Minute
	// patience is how long who uses a session waits for its measurement.
	patience = 3 * time.Second
	// restShare is how many times as long as it took to measure a session it is
	// left alone by those that only ask.
	restShare = 4
)

// measurement is one that is under way.
type measurement struct {
	running bool          // Store.mu; it has its place
	done    chan struct{} // closed at its end
}

// measure has a session measured in the background, or once more where it is
// being measured. s.mu is held.
func (s *Store) measure(one *kept) {
	if s.ctx.Err() != nil {
		return
	}
	if one.measuring != nil {
		one.again = true
		return
	}
	m := &measurement{done: make(chan struct{})}
	one.measuring = m
	select {
	case s.measurers <- struct{}{}: // at once, so that who comes next waits for it
		m.running = true
	default:
	}
	s.background.Go(func() { s.carryOut(m, one, m.running) })
}

// carryOut measures a session once it has its place.
func (s *Store) carryOut(m *measurement, one *kept, running bool) {
	if !running {
		select {
		case s.measurers <- struct{}{}:
		case <-s.ctx.Done():
		}
		s.mu.Lock()
		m.running = true
		s.mu.Unlock()
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(s.ctx, measureLimit)
	n, err := size(ctx, s.Workspace(one.ID), s.Tmp(one.ID))
	cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	one.measuring = nil
	close(m.done)
	if s.ctx.Err() != nil {
		return
	}
	<-s.measurers
	if s.sessions[one.ID] != one { // it was removed meanwhile
		return
	}
	if errors.Is(err, context.DeadlineExceeded) {
		n, err = tooLarge, nil
	}
	one.measured, one.wrong, one.rest = err == nil, err, time.Now().Add(restShare*time.Since(began))
	if err == nil && one.Bytes != n {
		one.Bytes, one.stale = n, true
	}
	if one.again {
		one.again = false
		s.measure(one)
	}
}

// settle waits, not too long, for the measurement of a session that runs. It
// begins one where none has succeeded in this process, and where the last found
// too much: a person may have removed something. Measurements that wait for
// their place are not waited for: others' sessions are before them.
func (s *Store) settle(ctx context.Context, find func() *kept) error {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for begun := false; ; begun = true {
		s.mu.Lock()
		var done chan struct{}
		if one := find(); one != nil {
			if doubtful := !one.measured || one.Bytes > s.options.Max; doubtful && !begun && one.measuring == nil && time.Now().After(one.rest) {
				s.measure(one)
			}
			if one.measuring != nil && one.measuring.running {
				done = one.measuring.done
			}
		}
		s.mu.Unlock()
		if done == nil {
			return nil
		}
		select {
		case <-done:
		case <-limit.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Measure gives a session with its size now, or with the last that is known
// where it takes some seconds to find out.
func (s *Store) Measure(ctx context.Context, id string) (Session, error) {
	s.mu.Lock()
	if one := s.sessions[id]; one != nil && one.measuring == nil && time.Now().After(one.rest) {
		s.measure(one)
	}
	s.mu.Unlock()
	if err := s.settle(ctx, func() *kept { return s.sessions[id] }); err != nil {
		return Session{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.sessions[id]
	if one == nil {
		return Session{}, ErrUnknown
	}
	return one.copy(), one.wrong
}

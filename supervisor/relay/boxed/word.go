// SPDX-License-Identifier: Apache-2.0

package boxed

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// ErrBusy says that too many questions wait for an answer.
var ErrBusy = errors.New("too many questions wait for an answer")

// RefusedError says that clawsupd made no socket.
type RefusedError struct{ Detail string }

func (e *RefusedError) Error() string { return e.Detail }

// take gives a new id, and where its answer comes.
func (s *Server) take() (int, chan reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	answer := make(chan reply, 1)
	s.flights[s.last] = answer
	return s.last, answer
}

// land hands an answer to who waits for it.
func (s *Server) land(id int, got reply) {
	s.mu.Lock()
	waiting := s.flights[id]
	delete(s.flights, id)
	s.mu.Unlock()
	if waiting != nil {
		waiting <- got // it has room for one, and gets one
	} else if got.file != nil {
		_ = got.file.Close() // nobody waits any more
	}
}

// leave waits no more, unless the answer came in this very moment: then it is
// that, and true.
func (s *Server) leave(id int, answer <-chan reply) (reply, bool) {
	s.mu.Lock()
	_, waiting := s.flights[id]
	delete(s.flights, id)
	s.mu.Unlock()
	if waiting {
		return reply{}, false
	}
	return <-answer, true
}

// ask says a word and waits for its answer. If ctx ends before that, and a
// person may have been asked, it says that nobody waits.
func (s *Server) ask(ctx context.Context, w packet.Word, person bool) (reply, error) {
	if person {
		if err := s.enter(w.Box); err != nil {
			return reply{}, err
		}
		defer s.exit(w.Box)
	}
	id, answer := s.take()
	w.ID = id
	if err := s.say(w); err != nil {
		s.leave(id, answer)
		return reply{}, err
	}
	select {
	case got := <-answer:
		return got, nil
	case <-ctx.Done():
		if got, came := s.leave(id, answer); came { // and what was decided has to end
			return got, nil
		}
		if person {
			_ = s.say(packet.Word{Kind: packet.Leave, ID: id})
		}
		return reply{}, ctx.Err()
	}
}

// enter keeps to the bounds of questions.
func (s *Server) enter(box int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked[box] >= packet.MaxBoxAsks || !packet.Leaves(s.asked[box], s.askedIn, 1, packet.MaxAsks) {
		return ErrBusy
	}
	s.asked[box]++
	s.askedIn++
	return nil
}

func (s *Server) exit(box int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.askedIn--
	if s.asked[box]--; s.asked[box] == 0 {
		delete(s.asked, box)
	}
}

func (s *Server) verdict(ctx context.Context, w packet.Word, person bool) (packet.Verdict, error) {
	got, err := s.ask(ctx, w, person)
	switch {
	case err != nil:
		return packet.Verdict{}, err
	case got.verdict == nil:
		return packet.Verdict{}, fmt.Errorf("%w: an answer without a verdict", packet.ErrPacket)
	}
	return *got.verdict, nil
}

// Name asks whether a name, or an address, may be asked for.
func (s *Server) Name(ctx context.Context, box int, host string) (packet.Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	return s.verdict(ctx, packet.Word{Kind: packet.Name, Box: box, Host: host}, false)
}

// Ask asks whether something may leave. The answer may take a person: it waits
// for as long as ctx.
func (s *Server) Ask(ctx context.Context, box int, q packet.Query) (packet.Verdict, error) {
	return s.verdict(ctx, packet.Word{Kind: packet.Ask, Box: box, Query: &q}, true)
}

// Capture hands in a token.
func (s *Server) Capture(ctx context.Context, box int, c packet.Captured) (packet.Verdict, error) {
	return s.verdict(ctx, packet.Word{Kind: packet.CaptureToken, Box: box, Captured: &c}, true)
}

// Connect gives a socket that is connected to an address. Errors are a
// *RefusedError of clawsupd's, or why the address can't be reached (a
// unix.Errno, os.ErrDeadlineExceeded).
func (s *Server) Connect(ctx context.Context, box, decision int, to netip.AddrPort) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	file, err := s.socket(ctx, packet.Word{Kind: packet.Connect, Box: box, Decision: decision, Address: to})
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = file.SetWriteDeadline(time.Unix(1, 0)) })
	err = connected(file)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// Lookup gives a socket to one of the host's resolvers: see package packet for
// which kind it is.
func (s *Server) Lookup(ctx context.Context, server int, tcp bool) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	return s.socket(ctx, packet.Word{Kind: packet.Lookup, Server: server, TCP: tcp})
}

func (s *Server) socket(ctx context.Context, w packet.Word) (*os.File, error) {
	got, err := s.ask(ctx, w, false)
	switch {
	case err != nil:
		return nil, err
	case got.file == nil:
		return nil, &RefusedError{got.detail}
	}
	return got.file, nil
}

// Ended tells what became of a decision.
func (s *Server) Ended(box, decision int, t packet.Traffic) {
	t.Error = clip(t.Error)
	_ = s.say(packet.Word{Kind: packet.Ended, Box: box, Decision: decision, Traffic: &t})
}

// Refused tells of something that was refused here.
func (s *Server) Refused(box int, r packet.Refusal) {
	r.Detail = clip(r.Detail)
	_ = s.say(packet.Word{Kind: packet.Refused, Box: box, Refusal: &r})
}

// clip bounds what is told of an error.
func clip(s string) string { return s[:min(len(s), packet.MaxDetail)] }

// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// handler keeps what it is told.
type handler struct {
	began func(*Run) error
	word  func(*Run, packet.Word) error
	ended chan *Run
	words atomic.Int64
}

func (h *handler) Began(r *Run) error { return h.began(r) }

func (h *handler) Word(r *Run, w packet.Word) error {
	h.words.Add(1)
	return h.word(r, w)
}

func (h *handler) Ended(r *Run) { h.ended <- r }

// fakeHelper is the other end of a run, whose orders are read.
func fakeHelper(t *testing.T, h *Helper) (conn *packet.Conn, orders chan packet.Order, ended chan error) {
	t.Helper()
	ours, theirs, err := packet.Pair()
	if err != nil {
		t.Fatal(err)
	}
	conn, orders, ended = packet.New(theirs), make(chan packet.Order, 1<<10), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { ended <- h.Converse(ctx, packet.New(ours)); close(done) }()
	go func() {
		for {
			var o packet.Order
			if _, err := conn.Receive(&o); err != nil {
				return
			}
			if o.Kind == packet.Ping {
				go func() { _ = conn.Send(packet.Word{Kind: packet.Pong, ID: o.ID}, nil) }()
				continue
			}
			orders <- o
		}
	}()
	t.Cleanup(func() { cancel(); _ = conn.Close(); <-done })
	return conn, orders, ended
}

func TestHandler(t *testing.T) {
	h := testHelper(t)
	var now *Run
	boxes := &handler{ended: make(chan *Run, 1)}
	boxes.began = func(r *Run) error {
		now = r
		return r.Send(packet.Order{Kind: packet.Bind, ID: 1, Secret: "first"}, nil)
	}
	boxes.word = func(r *Run, w packet.Word) error {
		if r != now {
			t.Error("a word of another run")
		}
		if w.Kind == packet.Refused {
			return errors.New("enough")
		}
		return r.Send(packet.Order{Kind: packet.Answer, ID: w.ID, Verdict: &packet.Verdict{}}, nil)
	}
	h.Handle(boxes)
	conn, orders, ended := fakeHelper(t, h)
	if o := <-orders; o.Secret != "first" {
		t.Errorf("%+v", o)
	}
	for id := range 100 {
		if err := conn.Send(packet.Word{Kind: packet.Name, ID: id}, nil); err != nil {
			t.Fatal(err)
		}
		if o := <-orders; o.Kind != packet.Answer || o.ID != id {
			t.Errorf("%+v to %d", o, id)
		}
	}
	if err := now.Send(packet.Order{Secret: strings.Repeat("x", packet.MaxPacket)}, nil); !errors.Is(err, packet.ErrPacket) {
		t.Error(err)
	}
	if err := conn.Send(packet.Word{Kind: packet.Refused}, nil); err != nil {
		t.Fatal("an order that was too long ended the run:", err)
	}
	if err := <-ended; err == nil || err.Error() != "enough" {
		t.Error(err)
	}
	if r := <-boxes.ended; r != now {
		t.Error("another run ended")
	}
	if err := now.Send(packet.Order{Kind: packet.Shut, ID: 1}, nil); err == nil {
		t.Error("something was said to a run that is over")
	}

	// One that can't begin has no end.
	boxes.began = func(*Run) error { return errors.New("not now") }
	_, _, ended = fakeHelper(t, h)
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "not now") || h.Running() || len(boxes.ended) > 0 {
		t.Error(err)
	}
}

// A helper that says more than it may waits, and nothing of it is lost.
func TestWordsArePaced(t *testing.T) {
	h := testHelper(t)
	boxes := &handler{
		began: func(*Run) error { return nil },
		word:  func(*Run, packet.Word) error { return nil },
		ended: make(chan *Run, 1),
	}
	h.Handle(boxes)
	conn, _, ended := fakeHelper(t, h)
	began := time.Now()
	const words = 3 * packet.WordsBurst
	for range words {
		if err := conn.Send(packet.Word{Kind: packet.Leave, ID: 1}, nil); err != nil {
			t.Fatal(err)
		}
	}
	_ = conn.Close()
	<-ended
	took := time.Since(began)
	if n := boxes.words.Load(); n != words {
		t.Errorf("%d of %d words came", n, words)
	}
	if least := time.Duration(words-packet.WordsBurst) * time.Second / packet.WordsPerSecond; took < least {
		t.Errorf("%d words in %v, at least %v would be right", words, took, least)
	}
}

// Without a handler there are no boxes.
func TestNoHandler(t *testing.T) {
	conn, _, ended := fakeHelper(t, testHelper(t))
	if err := conn.Send(packet.Word{Kind: packet.Name, ID: 1, Box: 1, Host: "a.example"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, packet.ErrPacket) {
		t.Error(err)
	}
}

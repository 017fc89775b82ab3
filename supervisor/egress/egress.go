// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/clawsup/clawsup/runtime/netns"
	"github.com/clawsup/clawsup/supervisor/relay"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// Options say what the way out is made from.
type Options struct {
	Relay *relay.Helper // not running yet
	Judge Judge
	// Resolvers are those of the configuration, at most three of which are used;
	// nil or none: those of /etc/resolv.conf.
	Resolvers func() []netip.AddrPort
}

// Egress is clawsupd's side of all boxes that reach beyond themselves.
type Egress struct {
	judge     Judge
	resolvers *resolvers
	own       own
	lead      func(captured []netip.Prefix) (*netns.Ends, error) // in the box's network namespace
	decisions atomic.Int64                                       // the last one's number

	// telling is held while the helper is told something about boxes, so that it
	// is told in the order in which that came about. It is locked before mu.
	telling sync.Mutex

	mu    sync.Mutex
	boxes map[int]*Box // mu; by id
	last  int          // mu; id of the last box
	now   *talk        // mu; with the helper, nil while there is none
}

// New makes the way out, before the helper runs.
func New(o Options) (*Egress, error) {
	if o.Relay == nil || o.Judge == nil {
		return nil, errors.New("a way out needs a helper and a judge")
	}
	e := &Egress{judge: o.Judge, resolvers: newResolvers(o.Resolvers), lead: netns.Lead, boxes: map[int]*Box{}}
	o.Relay.Handle(handler{e})
	return e, nil
}

// box finds one, and whether the helper may know its id. It may be nil and
// known: closed.
func (e *Egress) box(id int) (*Box, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.boxes[id], id > 0 && id <= e.last
}

// handler is Egress to package relay, and no method of its own.
type handler struct{ *Egress }

// Began tells the new run of every box.
func (h handler) Began(run *relay.Run) error {
	h.telling.Lock()
	defer h.telling.Unlock()
	t := newTalk(h.Egress, run)
	h.mu.Lock()
	var boxes []*Box
	for _, b := range h.boxes {
		boxes = append(boxes, b)
	}
	h.now = t
	h.mu.Unlock()
	for _, b := range boxes {
		if err := b.tellAll(run); err != nil {
			h.Ended(run)
			return err
		}
	}
	return nil
}

// Ended forgets everything that was of the run alone.
func (h handler) Ended(*relay.Run) {
	h.mu.Lock()
	t := h.now
	h.now = nil
	boxes := make([]*Box, 0, len(h.boxes))
	for _, b := range h.boxes {
		boxes = append(boxes, b)
	}
	h.mu.Unlock()
	t.end()
	for _, b := range boxes {
		b.inform(func() { b.forget(errHelperEnded) })
		b.said()
	}
}

// errHelperEnded is why a decision ended.
const errHelperEnded = "clawsup-egress ended"

// Word carries one out.
func (h handler) Word(_ *relay.Run, w packet.Word) error {
	h.mu.Lock()
	t := h.now
	h.mu.Unlock()
	if w.ID < 0 || w.ID == 0 && identified[w.Kind] {
		return fmt.Errorf("%w: word %d of id %d", packet.ErrPacket, w.Kind, w.ID)
	}
	switch w.Kind {
	case packet.Leave:
		t.leave(w.ID)
		return nil
	case packet.Lookup:
		return t.lookup(w)
	}
	b, given := h.box(w.Box)
	if !given {
		return fmt.Errorf("%w: box %d was never given to it", packet.ErrPacket, w.Box)
	}
	if b == nil {
		return t.turnAway(w)
	}
	err := error(nil)
	if !b.inform(func() { err = t.about(b, w) }) {
		return t.turnAway(w)
	}
	return err
}

// about carries out a word about a box.
func (t *talk) about(b *Box, w packet.Word) error {
	switch w.Kind {
	case packet.Name:
		return t.name(b, w)
	case packet.Ask:
		return t.ask(b, w)
	case packet.CaptureToken:
		return t.capture(b, w)
	case packet.Connect:
		return t.connect(b, w)
	case packet.Ended:
		return b.ended(w)
	case packet.Refused:
		return b.refused(w)
	case packet.Over:
		b.said()
		return nil
	}
	return fmt.Errorf("%w: word %d", packet.ErrPacket, w.Kind)
}

// identified are the words that want an answer, or are about one.
var identified = map[packet.WordKind]bool{
	packet.Name: true, packet.Ask: true, packet.CaptureToken: true, packet.Leave: true, packet.Connect: true, packet.Lookup: true,
}

// talk is what is said with one run of the helper.
type talk struct {
	egress  *Egress
	run     *relay.Run
	context context.Context // ends with the run
	cancel  context.CancelFunc
	pace    *pace         // of lookups
	sockets chan struct{} // one for each lookup

	mu        sync.Mutex
	questions map[int]*question // mu; without an answer, by the helper's id; nil once the run has ended
	asked     int               // mu; questions that the judge is at, also those that were left
	weight    int               // mu; of the same, in bytes
	allowed   map[int]*decision // mu; that have not ended, by the id of their question
}

func newTalk(e *Egress, run *relay.Run) *talk {
	t := &talk{egress: e, run: run, pace: newPace(), sockets: make(chan struct{}, packet.MaxLookups), questions: map[int]*question{}, allowed: map[int]*decision{}}
	t.context, t.cancel = context.WithCancel(context.Background())
	return t
}

func (t *talk) end() {
	t.cancel()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.questions = nil
}

// answer sends a verdict, as it is.
func (t *talk) answer(id int, v packet.Verdict) error {
	return t.run.Send(packet.Order{Kind: packet.Answer, ID: id, Verdict: &v}, nil)
}

func (t *talk) deny(id int, reason string) error {
	return t.answer(id, packet.Verdict{Reason: reason})
}

// pass hands a socket over and closes it here, or says why there is none.
func (t *talk) pass(id int, socket *os.File, why error) error {
	if why != nil {
		detail := why.Error()
		return t.run.Send(packet.Order{Kind: packet.Refuse, ID: id, Detail: detail[:min(len(detail), packet.MaxDetail)]}, nil)
	}
	defer socket.Close()
	return t.run.Send(packet.Order{Kind: packet.Peer, ID: id}, socket)
}

// shutReason is what is said about boxes that are no more.
const shutReason = "the box is shut"

// turnAway answers about a box that is no more.
func (t *talk) turnAway(w packet.Word) error {
	switch w.Kind {
	case packet.Name, packet.Ask, packet.CaptureToken:
		return t.deny(w.ID, shutReason)
	case packet.Connect:
		return t.pass(w.ID, nil, errors.New(shutReason))
	}
	return nil
}

// name answers at once.
func (t *talk) name(b *Box, w packet.Word) error {
	if !isHost(w.Host) {
		return t.deny(w.ID, "it is no name")
	}
	v := t.egress.judge.Name(b, w.Host)
	if !v.Allow {
		return t.answer(w.ID, denial(v))
	}
	return t.answer(w.ID, packet.Verdict{Allow: true, Early: v.Early, Networks: v.Networks, Addresses: v.Addresses, Passing: v.Passing})
}

// denial is what the helper is told of a no.
func denial(v packet.Verdict) packet.Verdict {
	return packet.Verdict{Reason: v.Reason, Ticket: v.Ticket}
}

// values are those of the secrets that a query uses, and no others.
func values(v []packet.Value, uses []packet.Use) []packet.Value {
	return slices.DeleteFunc(slices.Clone(v), func(v packet.Value) bool {
		return !slices.ContainsFunc(uses, func(u packet.Use) bool { return u.Secret == v.Secret })
	})
}

// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"context"
	"errors"
	"fmt"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// question is one that the judge has not answered yet.
type question struct {
	weight  int             // in bytes
	context context.Context // ends when nobody waits for the answer any more
	cancel  context.CancelFunc
}

// errTooMany says that a bound of package packet is reached.
var errTooMany = errors.New("too many questions at a time")

// maxWeight bounds what all questions without an answer take, in bytes.
const maxWeight = 32 << 20

// weigh says what of a message is kept while it has no answer, about.
func weigh(w *packet.Word) int {
	n := 512
	if q := w.Query; q != nil {
		n += len(q.Path) + len(q.Search) + len(q.Addresses)*24
		for _, f := range q.Fields {
			n += 32 + len(f.Name) + len(f.Value)
		}
	}
	if c := w.Captured; c != nil {
		n += len(c.Value)
	}
	return n
}

// begin notes a question. The id being in use already is a packet.ErrPacket.
func (t *talk) begin(b *Box, id, weight int) (*question, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.questions == nil {
		return nil, errors.New(errHelperEnded)
	}
	if t.questions[id] != nil {
		return nil, fmt.Errorf("%w: question %d is asked twice", packet.ErrPacket, id)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.shut:
		return nil, errors.New(shutReason)
	case b.asked >= packet.MaxBoxAsks || !packet.Leaves(b.asked, t.asked, 1, packet.MaxAsks) || !packet.Leaves(b.weight, t.weight, weight, maxWeight):
		return nil, errTooMany
	}
	q := &question{weight: weight}
	q.context, q.cancel = context.WithCancel(b.context)
	t.questions[id] = q
	t.asked++
	t.weight += weight
	b.asked++
	b.weight += weight
	b.working.Add(1)
	return q, nil
}

// over says that the judge is done with a question, which may have been left long
// ago. t.mu is held.
func (t *talk) over(b *Box, q *question) {
	t.asked--
	t.weight -= q.weight
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked--
	b.weight -= q.weight
}

// put has the judge answer, on a goroutine of its own. Then settle makes the answer
// of it, with t.mu held so that the run's end comes before or after, or lost is
// called if nobody waits for it any more.
func (t *talk) put(b *Box, w packet.Word, ask func(context.Context) packet.Verdict, settle func(packet.Verdict) (packet.Verdict, bool), lost func(packet.Verdict)) error {
	id := w.ID
	q, err := t.begin(b, id, weigh(&w))
	if errors.Is(err, packet.ErrPacket) {
		return err
	}
	if err != nil {
		if errors.Is(err, errTooMany) {
			b.refuse(packet.Refusal{Kind: packet.RefusedCap, Detail: err.Error()})
		}
		return t.deny(id, err.Error())
	}
	go func() {
		defer b.working.Done()
		defer q.cancel()
		stop := context.AfterFunc(t.context, q.cancel)
		defer stop()
		v := ask(q.context)
		t.mu.Lock()
		waiting := t.questions[id] == q
		if waiting {
			delete(t.questions, id)
		}
		var answer packet.Verdict
		if waiting {
			answer, waiting = settle(v)
		}
		t.over(b, q)
		t.mu.Unlock()
		if !waiting {
			lost(v)
			return
		}
		b.shed()
		if err := t.answer(id, answer); errors.Is(err, packet.ErrPacket) {
			b.drop(answer.Decision, "its answer is too long")
			_ = t.deny(id, "what the request needs is too long to be passed on")
		} // otherwise the run ends, and with it the decision
	}()
	return nil
}

// errLeft is why a decision ended.
const errLeft = "who asked had left"

// leave ends a question that nobody waits for any more, or what was allowed of it
// in that moment.
func (t *talk) leave(id int) {
	t.mu.Lock()
	q, d := t.questions[id], t.allowed[id]
	delete(t.questions, id)
	t.mu.Unlock()
	if q != nil {
		q.cancel()
	}
	if d != nil {
		d.box.inform(func() { d.box.drop(d.verdict.Decision, errLeft) })
	}
}

// ask has the judge decide about a query.
func (t *talk) ask(b *Box, w packet.Word) error {
	if w.Query == nil {
		return fmt.Errorf("%w: a question about nothing", packet.ErrPacket)
	}
	q := *w.Query
	if err := b.check(&q); err != nil {
		b.refuse(packet.Refusal{Kind: packet.RefusedProtocol, Detail: err.Error()})
		return t.deny(w.ID, "the request is not understood")
	}
	return t.put(b, w,
		func(ctx context.Context) packet.Verdict { return b.still(&q, t.egress.judge.Ask(ctx, b, q)) },
		func(v packet.Verdict) (packet.Verdict, bool) {
			if !v.Allow {
				return denial(v), true
			}
			number, kept := t.keep(b, w.ID, q, v)
			return packet.Verdict{
				Allow: true, Ticket: v.Ticket, Decision: number,
				Networks: v.Networks, Addresses: v.Addresses, Values: values(v.Values, q.Uses),
			}, kept
		},
		func(v packet.Verdict) {
			if v.Allow {
				v.Decision, v.Values = b.number(), nil
				t.egress.judge.Ended(b, q, v, packet.Traffic{Error: errLeft})
			}
		})
}

// still takes a yes back where a secret of the query was bound to something else,
// or taken away, while people thought: the value may be that of another by now.
func (b *Box) still(q *packet.Query, v packet.Verdict) packet.Verdict {
	if !v.Allow || b.check(q) == nil {
		return v
	}
	const why = "its secret has changed since it was asked for"
	v.Decision, v.Values = b.number(), nil
	b.egress.judge.Ended(b, *q, v, packet.Traffic{Error: why})
	b.refuse(packet.Refusal{Kind: packet.RefusedCredential, Host: q.Host, Port: q.Port, Detail: why})
	return packet.Verdict{Rule: "clawsupd", Reason: why, Ticket: v.Ticket}
}

// maxToken bounds a token of an answer, in bytes.
const maxToken = 16 << 10

// capture has the judge take a token.
func (t *talk) capture(b *Box, w packet.Word) error {
	c := w.Captured
	if c == nil || len(c.Value) == 0 {
		return fmt.Errorf("%w: a token that is none", packet.ErrPacket)
	}
	if !b.captures(c) || len(c.Value) > maxToken {
		b.refuse(packet.Refusal{Kind: packet.RefusedCredential, Detail: "a token that no secret of this box takes"})
		return t.deny(w.ID, "no secret takes it")
	}
	token := *c
	return t.put(b, w,
		func(ctx context.Context) packet.Verdict { return t.egress.judge.Capture(ctx, b, token) },
		func(v packet.Verdict) (packet.Verdict, bool) {
			if !v.Allow {
				return denial(v), true
			}
			return packet.Verdict{Allow: true, Placeholder: v.Placeholder}, true
		},
		func(packet.Verdict) {})
}

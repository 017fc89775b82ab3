// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Outcome is what became of one call's question.
type Outcome struct {
	State   State   // never Pending; only Allowed is a yes
	Grant   string  // id of the grant that the answers made, if they did
	Reason  string  // of a no
	Next    string  // of Changed: the ticket that took its place; empty: there is no new plan
	Answers []Given // who said what
}

const gaveUp = "the requester gave up"

// Await waits until a call's ticket is answered, and gives each call its
// outcome once. When ctx is done before that, the call leaves the ticket, for
// which the outcome is Expired at the deadline of ctx and Cancelled otherwise;
// the last call to leave ends the ticket. When the book is closed, it is Void.
// The error is ErrUnknown where the call has no part in the ticket, or has had
// its outcome.
func (b *Book) Await(ctx context.Context, ticket, call string) (Outcome, error) {
	b.mu.Lock()
	e := b.entries[ticket]
	if e == nil || !e.waiting[call] {
		b.mu.Unlock()
		return Outcome{}, fmt.Errorf("%w: call %q waits for no answer of ticket %q", ErrUnknown, call, ticket)
	}
	b.mu.Unlock()
	select {
	case <-e.settled:
	case <-ctx.Done():
	case <-b.stopped:
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !e.waiting[call] {
		return Outcome{}, fmt.Errorf("%w: call %q has had its answer of ticket %q", ErrUnknown, call, ticket)
	}
	delete(e.waiting, call)
	t := &e.rec.Ticket
	switch {
	case ctx.Err() != nil: // a yes that nobody was there to hear is none
		state, reason := Cancelled, gaveUp
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			state, reason = Expired, "nobody answered in the time that the call had"
		}
		b.leave(e, call, state, reason)
		return Outcome{State: state, Reason: reason}, nil
	case e.isSettled():
		o := Outcome{State: t.State, Reason: t.Reason, Next: e.next, Answers: slices.Clone(t.Answers)}
		if t.State == Allowed && e.rec.Grant != nil {
			o.Grant = e.rec.Grant.ID
		}
		return o, nil
	}
	return Outcome{State: Void, Reason: Restart}, nil
}

// leave takes a call off a ticket that is pending, or whose change is. b.mu is held.
func (b *Book) leave(e *entry, call string, state State, reason string) {
	switch {
	case e.rec.Ticket.State == Changed:
		if len(e.waiting) == 0 {
			b.settle(e, "")
		}
	case e.rec.Ticket.State != Pending || b.closed:
	case len(e.rec.Ticket.Calls) == 1:
		b.end(e, e.rec.closed(state, reason, b.now()))
	default:
		next := e.rec.next()
		next.Ticket.Calls = slices.DeleteFunc(next.Ticket.Calls, func(c string) bool { return c == call })
		next.Ticket.Count--
		b.end(e, next)
	}
}

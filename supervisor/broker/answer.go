// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/redact"
	"github.com/clawsup/clawsup/supervisor/visible"
)

func (b *Broker) ticketList(_ context.Context, _ client, r *api.Request) (any, error) {
	f, err := params[api.TicketFilter](r)
	if err != nil {
		return nil, err
	}
	list := b.book.List(f.All)
	if n := len(list); n > maxListed {
		list = list[n-maxListed:]
	}
	room := maxFacts // a frame is bounded; they are whole in ticket.show
	for i := range list {
		room -= spelled(list[i].Facts)
		if list[i].State != approval.Pending || room < 0 {
			list[i].Facts = nil
		}
		list[i].Claim = cut(list[i].Claim, 200)
	}
	list = fitting(list)
	return list, nil
}

// maxFacts bounds, in bytes of JSON, what a list has of the tickets' facts together.
const maxFacts = 256 << 10

// maxList bounds a list, in bytes of JSON: with the rest it fits a frame.
const maxList = 768 << 10

// spelled is how long a value is in JSON.
func spelled(v any) int {
	text, _ := json.Marshal(v)
	return len(text)
}

// fitting gives as many of a list's first as fit an answer.
func fitting[T any](list []T) []T {
	room := maxList
	for i := range list {
		if room -= spelled(list[i]) + 1; room < 0 {
			return list[:i]
		}
	}
	return list
}

func (b *Broker) ticketShow(_ context.Context, _ client, r *api.Request) (any, error) {
	ref, err := params[api.TicketRef](r)
	if err != nil {
		return nil, err
	}
	t, err := b.book.Show(ref.Ticket)
	return t, ticketError(err)
}

// ticketWatch tells every change of a ticket until the client has enough.
func (b *Broker) ticketWatch(ctx context.Context, who client, r *api.Request) (any, error) {
	changes, err := b.book.Watch(ctx, who.uid)
	if err != nil {
		return nil, ticketError(err)
	}
	for _, t := range b.book.List(false) {
		if err := r.Send(ctx, api.TicketChanged, t); err != nil {
			return nil, err
		}
	}
	if err := r.Send(ctx, api.Ready, api.Nothing{}); err != nil {
		return nil, err
	}
	for {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case t, ok := <-changes:
			if !ok {
				return nil, failf(api.CodeStopped, "the watcher was too slow; begin again")
			}
			if err := b.stays(who); err != nil {
				return nil, err
			}
			if err := r.Send(ctx, api.TicketChanged, t); err != nil {
				return nil, err
			}
		}
	}
}

// ticketAnswer takes a person's answer. Everything that says who it is comes
// from the socket and the roles.
func (b *Broker) ticketAnswer(ctx context.Context, who client, r *api.Request) (any, error) {
	a, err := params[approval.Answer](r)
	if err != nil {
		return nil, err
	}
	if len(a.Reason) > maxReason {
		return nil, failf(api.CodeParams, "the reason has %d bytes, more than %d", len(a.Reason), maxReason)
	}
	from := approval.Who{UID: who.uid, Name: who.user, Role: who.role, Via: who.door.name()}
	if a.Verdict == approval.Change {
		return b.changed(ctx, who, from, a)
	}
	t, err := b.book.Answer(from, a)
	if err != nil {
		b.refusedAnswer(ctx, who, a, err)
		return nil, ticketError(err)
	}
	return api.Answered{Ticket: t}, b.recordAnswer(ctx, who, &t, a)
}

// recordAnswer writes the receipt of an answer. It is durable before who
// answered is told, and before the call goes on in carry: that one writes its
// own decision.
func (b *Broker) recordAnswer(ctx context.Context, who client, t *approval.Ticket, a approval.Answer) error {
	r := act(who, "answer "+string(a.Verdict),
		audit.Fact{Name: factTicket, Value: t.ID},
		audit.Fact{Name: "state", Value: string(t.State)},
		audit.Fact{Name: factReason, Value: redact.Text(a.Reason)},
		audit.Fact{Name: "arguments", Value: command(&api.Submit{Args: a.Args})},
		audit.Fact{Name: "refused paths", Value: paths(a.Refuse)},
		audit.Fact{Name: factFrom, Value: who.door.name()})
	r.Plan = t.Plan
	if len(t.Calls) > 0 {
		r.Call = t.Calls[0]
	}
	if err := b.record(context.WithoutCancel(ctx), r); err != nil {
		b.logFailed(err)
		return err
	}
	return nil
}

// paths lists some for a receipt, made visible.
func paths(list []raw.String) string {
	texts := make([]string, len(list))
	for i, p := range list {
		texts[i] = visible.Quote(string(p))
	}
	return strings.Join(texts, " ")
}

// refusedAnswer writes down an answer that came too late, twice, or from
// somebody who may not.
func (b *Broker) refusedAnswer(ctx context.Context, who client, a approval.Answer, why error) {
	_ = b.record(context.WithoutCancel(ctx), act(who, "answer refused",
		audit.Fact{Name: factTicket, Value: cut(a.Ticket, 64)}, audit.Fact{Name: factReason, Value: cut(why.Error(), 512)}))
}

// changed plans a call in other words, closes the ticket that asked about the
// first, and asks about the second. Three records stay: the first ticket, the
// answer with the new words, the second ticket.
func (b *Broker) changed(ctx context.Context, who client, from approval.Who, a approval.Answer) (any, error) {
	old, err := b.book.Show(a.Ticket)
	if err != nil {
		return nil, ticketError(err)
	}
	if len(old.Calls) != 1 {
		return nil, failf(api.CodeParams, "ticket %s stands for %d calls: only one call alone can be changed; deny it with a reason", old.ID, len(old.Calls))
	}
	if old.Changes != "" {
		return nil, failf(api.CodeParams, "the call has run: refuse the paths that are wrong, or deny it and say what is to be done instead")
	}
	if len(a.Args) == 0 && a.Workspace == nil {
		return nil, failf(api.CodeParams, "a change has new arguments or another workspace")
	}
	c, err := b.calls.find(old.Calls[0], func(*call) bool { return true })
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	s, over := c.request, c.over
	c.mu.Unlock()
	if over {
		return nil, failf(api.CodeOver, "call %s has ended", c.id)
	}
	if len(a.Args) > 0 {
		s.Args = a.Args
	}
	if a.Workspace != nil {
		s.Workspace = *a.Workspace
	}
	p, rules, err := b.resolve(ctx, c, &s)
	if err != nil {
		return nil, failf(api.CodeParams, "the changed call can't be planned: %v", err)
	}
	verdict := policy.Verdict{Decision: profiles.Ask, Rule: old.Rule, Quorum: old.Quorum}
	q := b.question(c, p, verdict, s.Claim)
	t, err := b.book.Answer(from, a)
	if err != nil {
		b.refusedAnswer(ctx, who, a, err)
		return nil, errors.Join(ticketError(err), p.Close())
	}
	if err := b.recordAnswer(ctx, who, &t, a); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	c.mu.Lock()
	c.request.Args, c.request.Workspace = s.Args, s.Workspace
	c.mu.Unlock()
	id, err := b.book.AskChanged(ctx, t.ID, q)
	if err != nil {
		return nil, errors.Join(ticketError(err), b.book.FailChange(t.ID, err.Error()), p.Close())
	}
	if !c.offer(change{p, rules, id, command(&s)}) {
		gone, cancel := context.WithCancel(ctx)
		cancel()
		_, _ = b.book.Await(gone, id, c.id) // nobody else takes it off the ticket
		return nil, errors.Join(failf(api.CodeOver, "call %s has ended meanwhile", c.id), p.Close())
	}
	next, err := b.book.Show(id)
	if err != nil {
		return nil, ticketError(err)
	}
	return api.Answered{Ticket: t, Next: &next}, nil
}

func (b *Broker) grantList(context.Context, client, *api.Request) (any, error) {
	list := b.book.Grants()
	return fitting(list[max(0, len(list)-maxListed):]), nil
}

func (b *Broker) grantRevoke(ctx context.Context, who client, r *api.Request) (any, error) {
	ref, err := params[api.GrantRef](r)
	if err != nil {
		return nil, err
	}
	why := "revoked by " + who.String()
	if ref.Reason != "" {
		why += ": " + cut(ref.Reason, maxReason)
	}
	g, err := b.book.Revoke(ref.Grant, why)
	if err != nil {
		return nil, ticketError(err)
	}
	return g, b.record(ctx, act(who, "revoke grant", audit.Fact{Name: factGrant, Value: g.ID}, audit.Fact{Name: factReason, Value: ref.Reason}))
}

// codes are what errors of the parts of a daemon are to a client.
type codes []struct {
	err  error
	code api.Code
}

// of gives an error its code, if it has one.
func (list codes) of(err error) error {
	for _, c := range list {
		if errors.Is(err, c.err) {
			return failf(c.code, "%v", err)
		}
	}
	return err
}

// ticketCodes are those of tickets and grants.
var ticketCodes = codes{
	{approval.ErrUnknown, api.CodeNotFound},
	{approval.ErrAmbiguous, api.CodeNotFound},
	{approval.ErrConflict, api.CodeConflict},
	{approval.ErrOver, api.CodeOver},
	{approval.ErrRole, api.CodeDenied},
	{approval.ErrRequester, api.CodeDenied},
	{approval.ErrTwice, api.CodeDenied},
	{approval.ErrInvalid, api.CodeParams},
	{approval.ErrLocked, api.CodeLocked},
	{approval.ErrFull, api.CodeFull},
	{approval.ErrWatchers, api.CodeFull},
	{approval.ErrFlood, api.CodeFlood},
	{approval.ErrClosed, api.CodeStopped},
}

// ticketError gives an error of package approval its code.
func ticketError(err error) error { return ticketCodes.of(err) }

// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"strconv"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/egress"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
	"github.com/clawsup/clawsup/supervisor/secrets"
	"github.com/clawsup/clawsup/supervisor/session"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// judge decides what leaves boxes. See egress.Judge.
type judge struct{ b *Broker }

func reachOfBox(box *egress.Box) *reach { return box.Data().(*reach) }

// Name says whether anything of that name could ever be let out.
func (j judge) Name(box *egress.Box, host string) packet.Verdict {
	r := reachOfBox(box)
	rules := r.rules()
	could, named := policy.Could(rules, host)
	_, pinned := r.b.generation.Load().Config.Network.Hosts[host]
	v := packet.Verdict{Allow: could, Early: named && !pinned} // who has an address by the configuration is not looked up
	for _, p := range policy.Passings(rules, host) {
		v.Passing = append(v.Passing, packet.Passing{Port: p.Port, Through: packet.Through(p.Through)})
	}
	if !could {
		v.Reason = "no rule of profile " + r.profile.Profile.Name + " could let it out"
		r.refused(packet.Refusal{Kind: packet.RefusedName, Host: host, Detail: v.Reason})
	}
	return v
}

// Ask decides about one connection or request, which waits meanwhile.
func (j judge) Ask(ctx context.Context, box *egress.Box, q packet.Query) packet.Verdict {
	b, r := j.b, reachOfBox(box)
	no := func(rule, reason, ticket string) packet.Verdict {
		r.refuse(&q, rule, reason, ticket)
		return packet.Verdict{Rule: rule, Reason: visible.Line(cut(reason, 400)), Ticket: ticket}
	}
	if err := cmp.Or(b.open(), b.sessions.Room()); err != nil { // what is let out makes receipts, which need room
		return no("clawsupd", err.Error(), "")
	}
	list := r.wishes(&q)
	for i := range list {
		if err := list[i].subject.Check(); err != nil {
			return no("clawsupd", err.Error(), "")
		}
		// Without grants, so that none loses a use to what is denied anyway.
		if v := policy.Decide(list[i].subject, list[i].rules, nil, time.Now()); v.Decision == profiles.Deny {
			return no(v.Rule, v.Rule, "")
		}
	}
	for _, u := range q.Uses { // the plan's own alone, whatever rules say
		if r.placeholder(u.Secret) == "" {
			return no("clawsupd", "the call's plan does not name secret "+u.Secret, "")
		}
	}
	if len(q.Uses) > 0 && q.Scheme == "http" && !policy.Plain(list[0].rules, q.Host, q.Port) {
		return no("clawsupd", `a secret goes over an encrypted connection, unless a rule for the host has scheme = "http"`, "")
	}
	asked := -1
	var grant string
	for i := range list {
		w := &list[i]
		w.verdict = b.book.Use(w.subject, w.rules)
		grant = cmp.Or(grant, w.verdict.Grant)
		switch {
		case w.verdict.Decision == profiles.Deny:
			return no(w.verdict.Rule, w.verdict.Rule, "")
		case w.verdict.Decision == profiles.Ask:
			asked = i // a secret's question before the destination's: it is the graver one, and shows both
		}
	}
	rule, ticket := list[0].verdict.Rule, ""
	if asked >= 0 {
		outcome := r.ask(ctx, &q, list, asked)
		if outcome.no != "" {
			return no(outcome.rule, outcome.no, outcome.ticket)
		}
		rule, ticket, grant = outcome.rule, outcome.ticket, outcome.grant
	}
	if err := r.paced(ctx); err != nil {
		return no("clawsupd", err.Error(), ticket)
	}
	return r.allow(&q, rule, ticket, grant, no)
}

// paced waits for its turn to be let out: each time leaves receipts, and the log
// is no one's to fill.
func (r *reach) paced(ctx context.Context) error {
	wait := r.b.outward.ahead(r.person.owner.String(), r.b.generation.Load().Config.Network.Rate, time.Now())
	if wait <= 0 {
		return nil
	}
	turn := time.NewTimer(wait)
	defer turn.Stop()
	select {
	case <-turn.C:
		return r.b.open()
	case <-ctx.Done():
		return errors.New("whoever wanted it has gone")
	}
}

// allow writes the yes down and gives it.
func (r *reach) allow(q *packet.Query, rule, ticket, grant string, no func(rule, reason, ticket string) packet.Verdict) packet.Verdict {
	effect, _ := target(q)
	a, f := r.receipt(effect)
	a.Decision, a.Rule = string(profiles.Allow), field(rule, &f, factRule)
	f.add(factTicket, ticket)
	f.add(factGrant, grant)
	a.Facts = append(f, aboutQuery(q)...)
	if r.begin(a) != nil {
		return no("clawsupd", "its receipt can't be written", ticket)
	}
	if err := r.listened(q.Host); err != nil {
		return no("clawsupd", "the session's label can't be written: "+err.Error(), ticket)
	}
	v := packet.Verdict{Allow: true, Rule: rule, Ticket: ticket, Networks: policy.Networks(r.rules(), q.Host, q.Port)}
	if a, ok := r.b.generation.Load().Config.Network.Hosts[q.Host]; ok {
		if addr, err := netip.ParseAddr(a); err == nil { // as it was checked
			v.Addresses = []netip.Addr{addr}
		}
	}
	if err := r.private(q.Uses); err != nil {
		return no("clawsupd", "the session's label can't be written: "+err.Error(), ticket)
	}
	for _, u := range q.Uses {
		value, err := r.b.vault.store.Value(u.Secret)
		if err != nil {
			return no("clawsupd", "secret "+u.Secret+" can't be read", ticket)
		}
		v.Values = append(v.Values, packet.Value{Secret: u.Secret, Value: append([]byte(nil), value.Bytes()...)})
		value.Close()
		r.b.vault.store.Used(u.Secret, time.Now())
	}
	r.mu.Lock()
	r.view.Requests++
	r.mu.Unlock()
	return v
}

// listened notes that a stranger's words come in from now on.
func (r *reach) listened(host string) error {
	r.mu.Lock()
	heard := r.heard
	r.heard = true
	r.mu.Unlock()
	if heard || r.person.session == "" {
		return nil
	}
	return r.b.sessions.Mark(r.person.session, "", session.Untrusted, r.id, "it heard from "+host)
}

// private notes that what comes back for a secret that is private, is: whoever
// gets the call's output has it then. An agent's own box uses what its operator
// gave it to live by, and that says nothing of what it has read.
func (r *reach) private(uses []packet.Use) error {
	if r.call == nil {
		return nil
	}
	for _, u := range uses {
		if s, err := r.b.vault.store.Show(u.Secret); err != nil || !s.Private {
			continue
		}
		r.call.mu.Lock()
		r.call.secret = true
		r.call.mu.Unlock()
		if err := r.b.markPrivate(r.call, "it used the secret "+u.Secret); err != nil {
			return err
		}
	}
	return nil
}

// Capture keeps a token that a server gave, for a secret whose binding says so.
func (j judge) Capture(_ context.Context, box *egress.Box, c packet.Captured) packet.Verdict {
	r := reachOfBox(box)
	if r.placeholder(c.Secret) == "" {
		return packet.Verdict{Reason: "the call's plan does not name secret " + c.Secret}
	}
	token, placeholder, err := r.keep(&c)
	a, f := r.receipt(policy.SecretUse)
	a.Rule = "token captured"
	f.add("secret", c.Secret)
	f.add("kept as", token)
	if err != nil {
		a.Rule = "token not captured"
		f.add(factReason, cut(err.Error(), maxReason))
	}
	a.Facts = f
	if e := r.begin(a); err == nil {
		err = e
	}
	if err != nil {
		return packet.Verdict{Reason: "the token can't be kept"}
	}
	return packet.Verdict{Allow: true, Placeholder: placeholder}
}

// keep makes a secret of a token, and gives its name and what the box has in
// its place.
func (r *reach) keep(c *packet.Captured) (name, placeholder string, err error) {
	from, err := r.b.vault.store.Show(c.Secret)
	if err != nil {
		return "", "", err
	}
	token, err := r.b.vault.store.Capture(from, c.Field, c.Value)
	if err != nil {
		return "", "", err
	}
	if placeholder = r.placeholder(token.Name); placeholder != "" { // it is renewed
		return token.Name, placeholder, nil
	}
	if placeholder, err = secrets.Mint(token.Name, token.Shape); err != nil {
		return token.Name, "", err
	}
	r.mu.Lock()
	r.held[token.Name], r.tokens[token.Name] = placeholder, c.Secret
	if r.call == nil {
		err = r.keepOutfit()
	}
	r.mu.Unlock()
	if err != nil {
		return token.Name, "", err
	}
	r.b.reaching.Lock()
	defer r.b.reaching.Unlock()
	return token.Name, placeholder, r.box.Bind(r.binding(&token))
}

// Ended writes down what became of something that was let out.
func (j judge) Ended(box *egress.Box, q packet.Query, v packet.Verdict, t packet.Traffic) {
	r := reachOfBox(box)
	r.mu.Lock()
	r.view.Sent += max(t.Sent, 0)
	r.view.Received += max(t.Received, 0)
	r.mu.Unlock()
	r.show()
	effect, _ := target(&q)
	a, f := r.receipt(effect)
	a.Status, a.Rule = "ended", field(v.Rule, &f, factRule)
	f.add(factTicket, v.Ticket)
	f = append(f, aboutQuery(&q)...)
	f.add("sent", bytesText(max(t.Sent, 0)))
	f.add("received", bytesText(max(t.Received, 0)))
	if t.Status != 0 {
		f.add("status", strconv.Itoa(t.Status))
	}
	f.add("took", t.Took.Round(time.Millisecond).String())
	f.add("address", cut(t.Address, 64))
	f.add("error", cut(t.Error, 256))
	a.Facts = f
	_ = r.begin(a)
}

// Refused writes down what clawsup-egress refused by itself.
func (j judge) Refused(box *egress.Box, n packet.Refusal) { reachOfBox(box).refused(n) }

var _ egress.Judge = judge{}

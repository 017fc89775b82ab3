// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// answered is what people said.
type answered struct {
	no, rule, ticket, grant string // no: why not; empty: a yes
	denied                  bool   // by a person
}

// asking is a question that is at people, or was.
type asking struct {
	over chan struct{} // closed when it is
	said answered      // before that, and then set
}

// ask puts a query to people, of which wish asked is the gravest that takes them, and has it wait.
func (r *reach) ask(ctx context.Context, q *packet.Query, list []wish, asked int) (said answered) {
	b := r.b
	w := list[asked]
	if r.person.headless() {
		if r.call != nil {
			r.call.update(func(v *api.Call) { v.WouldAsk = true })
		}
		return answered{rule: w.verdict.Rule, no: "a person would have been asked, and this call asks nobody; " + w.verdict.Rule}
	}
	leave, before, err := r.turn(ctx, w.subject.Effect.String()+" "+w.subject.Target)
	switch {
	case err != nil:
		return answered{rule: w.verdict.Rule, no: err.Error()}
	case before.denied: // whoever said no is not asked the same once more for each that wanted it too
		return before
	}
	defer func() { leave(said) }()
	// The answer to who was before may be a grant that is for this one too, or for a part of it.
	asked = -1
	for i := range list {
		old := &list[i]
		if old.verdict.Decision != profiles.Ask {
			continue
		}
		old.verdict = b.book.Use(old.subject, old.rules)
		switch w = *old; w.verdict.Decision {
		case profiles.Deny:
			return answered{rule: w.verdict.Rule, no: w.verdict.Rule}
		case profiles.Ask:
			asked = i
		}
	}
	if asked < 0 {
		return answered{rule: w.verdict.Rule, grant: w.verdict.Grant}
	}
	w = list[asked]
	if r.hold != nil {
		defer r.hold.Begin()()
	}
	ctx, cancel := context.WithTimeout(ctx, r.person.within)
	defer cancel()
	question := r.question(q, list, asked)
	ticket, err := b.book.Ask(ctx, question)
	if err != nil {
		return answered{rule: w.verdict.Rule, no: err.Error()}
	}
	a, f := r.receipt(w.subject.Effect)
	a.Decision, a.Rule = string(profiles.Ask), field(w.verdict.Rule, &f, factRule)
	f.add(factTicket, ticket)
	a.Facts = append(f, aboutQuery(q)...)
	if err := r.begin(a); err != nil {
		cancel() // the question leaves the ticket
	}
	if r.call != nil {
		r.call.update(func(v *api.Call) { v.Ticket, v.Held = ticket, append(slices.Clip(v.Held), ticket) })
		defer r.call.update(func(v *api.Call) {
			v.Held = slices.DeleteFunc(slices.Clone(v.Held), func(t string) bool { return t == ticket })
		})
	}
	outcome, err := b.book.Await(ctx, ticket, question.Call)
	switch {
	case err != nil:
		return answered{rule: w.verdict.Rule, ticket: ticket, no: err.Error()}
	case outcome.State != approval.Allowed:
		return answered{rule: "ticket " + ticket + ": " + string(outcome.State), ticket: ticket, denied: outcome.State == approval.Denied,
			no: cmp.Or(outcome.Reason, "ticket "+ticket+" is "+string(outcome.State)+", and no reason was given")}
	}
	if err := b.open(); err != nil { // a lockdown, or a log that failed, while they thought
		return answered{rule: "clawsupd", ticket: ticket, no: err.Error()}
	}
	for _, w := range r.wishes(q) { // by the rules of now: a reload may have changed an agent's while they thought
		if v := policy.Decide(w.subject, w.rules, nil, time.Now()); v.Decision == profiles.Deny {
			return answered{rule: v.Rule, ticket: ticket, no: v.Rule}
		}
	}
	return answered{rule: "ticket " + ticket + ": " + given(outcome.Answers), ticket: ticket, grant: outcome.Grant}
}

// turn waits until no other question about the same is at people, and gives what
// was said to the last one that it waited for.
func (r *reach) turn(ctx context.Context, what string) (leave func(answered), before answered, err error) {
	for {
		r.mu.Lock()
		other := r.asking[what]
		if other == nil {
			break
		}
		r.mu.Unlock()
		select {
		case <-other.over:
		case <-ctx.Done():
			return nil, before, fmt.Errorf("whoever wanted it has gone")
		}
		if before = other.said; before.denied {
			return nil, before, nil
		}
	}
	defer r.mu.Unlock()
	if r.questions >= maxQuestions {
		return nil, before, fmt.Errorf("%d questions of this box wait for people already", maxQuestions)
	}
	mine := &asking{over: make(chan struct{})}
	if r.asking == nil {
		r.asking = map[string]*asking{}
	}
	r.asking[what] = mine
	r.questions++
	return func(said answered) {
		r.mu.Lock()
		delete(r.asking, what)
		r.questions--
		r.mu.Unlock()
		mine.said = said
		close(mine.over)
	}, before, nil
}

// question is what people are asked about a query.
func (r *reach) question(q *packet.Query, list []wish, asked int) approval.Question {
	p, w := &r.person, &list[asked]
	quorum := 0
	for i := range list {
		if v := list[i].verdict; v.Decision == profiles.Ask {
			quorum = max(quorum, v.Quorum)
		}
	}
	return approval.Question{
		Call: r.id, Effect: w.subject.Effect, Target: w.subject.Target, Plan: r.plan, Labels: w.subject.Labels,
		Rule: w.verdict.Rule, Quorum: quorum, Claim: p.claim,
		Requester: p.owner.String(), RequesterUID: p.owner.uid, Agent: r.agent, Session: p.session, SessionName: p.sessionName,
		Profile: r.profile.Profile.Name, ProfileDigest: r.profile.Digest, Workspace: raw.String(p.workspace),
		Skill: p.skill, SkillDigest: p.skillDigest, Script: p.script,
		Through: w.subject.Through, Secrets: w.subject.Secrets, Facts: r.facts(q), Within: p.within,
	}
}

// facts is what people read. Everything that the program chose is made visible.
func (r *reach) facts(q *packet.Query) []approval.Fact {
	var list []approval.Fact
	add := func(name, value string) {
		if value != "" {
			list = append(list, approval.Fact{Name: name, Value: value})
		}
	}
	at := net.JoinHostPort(q.Host, strconv.Itoa(int(q.Port)))
	switch q.Through {
	case packet.HTTP:
		add("request", visible.Text(q.Method)+" "+q.Scheme+"://"+visible.Text(at)+visible.Text(q.Path))
		if q.Search != "" {
			add("query", visible.Text(q.Search))
		}
		add("body", bytesText(q.Size))
		if q.Method == "WEBSOCKET" {
			add("note", "a connection both ways: what passes through it is not looked at")
		}
		if q.Scheme == "http" {
			add("note", "not encrypted: everybody on the way can read and change it")
		}
	case packet.TLS:
		add("connection", visible.Text(at)+", encrypted and not opened: everything behind that address can be reached through it")
	default:
		add("connection", visible.Text(at)+", bytes that are not looked at")
	}
	pinned := r.b.generation.Load().Config.Network.Hosts[q.Host]
	switch {
	case len(q.Addresses) > 0:
		add("address", addressText(q.Addresses))
	case pinned != "":
		add("address", pinned+", by the configuration")
	case !literal(q.Host):
		add("address", "looked up after a yes: the name itself would be sent to a stranger's server")
	}
	for _, u := range q.Uses {
		add("secret", u.Secret+", in "+placeText(u.Place))
	}
	for _, f := range q.Fields {
		add("field", visible.Quote(cut(f.Name, 64))+" is "+visible.Quote(cut(f.Value, 200)))
	}
	add("by", r.person.command)
	if r.person.skill != "" {
		list = append(list, approval.Fact{Name: "skill", Value: visible.Text(r.person.skill), Digest: r.person.skillDigest})
	}
	return list
}

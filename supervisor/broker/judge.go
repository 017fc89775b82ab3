// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/egress"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/raw"
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

// wish is one question of what a query comes to.
type wish struct {
	subject policy.Subject
	rules   []policy.Rule
	verdict policy.Verdict
}

// target is a query in policy's spelling. What has none is given as it is, and
// nothing allows it.
func target(q *packet.Query) (policy.Effect, string) {
	at := net.JoinHostPort(q.Host, strconv.Itoa(int(q.Port)))
	if q.Through != packet.HTTP {
		return policy.NetConnect, at
	}
	text, err := policy.Request(q.Method, q.Scheme, q.Host, q.Port, q.Path)
	if err != nil {
		text = q.Method + " " + q.Scheme + "://" + at + q.Path
	}
	return policy.NetRequest, text
}

// wishes are the questions, the destination's first.
func (r *reach) wishes(q *packet.Query) []wish {
	s := r.subject
	s.Labels = r.b.labelsOf(r.agent, r.person.session)
	s.Effect, s.Target = target(q)
	if s.Effect == policy.NetConnect {
		s.Through = profiles.Through(q.Through)
	}
	rules := r.rules()
	s.Fields, s.Unread = fieldsOf(q.Fields), q.Unread || !r.looksAt(rules)
	var used []string
	for _, u := range q.Uses {
		used = append(used, u.Secret)
	}
	s.Secrets = policy.Names(used)
	list := []wish{{subject: s, rules: rules}}
	for _, u := range q.Uses {
		use := r.subject
		// A token that was captured is used as what it was got with.
		use.Labels, use.Effect, use.Target = s.Labels, policy.SecretUse, cmp.Or(r.capturedFrom(u.Secret), u.Secret)
		w := wish{subject: use, rules: rules}
		if secret, err := r.b.vault.store.Show(u.Secret); err == nil && secret.Ask {
			w.rules = append(w.rules[:len(w.rules):len(w.rules)], policy.Rule{
				Effect: policy.SecretUse, Target: use.Target, Decision: profiles.Ask, Name: "secret " + u.Secret + " says ask",
			})
		}
		list = append(list, w)
	}
	return list
}

func fieldsOf(list []packet.Field) []policy.Field {
	var fields []policy.Field
	for _, f := range list {
		fields = append(fields, policy.Field{Name: f.Name, Value: f.Value})
	}
	return fields
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

// capturedFrom gives the secret whose binding had a token captured for this very
// box; empty: it is no such token.
func (r *reach) capturedFrom(token string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tokens[token]
}

func (r *reach) placeholder(secret string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held[secret]
}

// refuse writes a no down.
func (r *reach) refuse(q *packet.Query, rule, reason, ticket string) {
	effect, what := target(q)
	again := r.deny(api.Denial{Effect: effect.String(), Target: visible.Text(cut(what, 1<<10)), Reason: visible.Line(cut(reason, 400)), Rule: rule, Ticket: ticket})
	if again && ticket == "" {
		return
	}
	ok, skipped := r.line(time.Now())
	if !ok {
		return
	}
	a, f := r.receipt(effect)
	a.Decision, a.Rule = string(profiles.Deny), field(rule, &f, factRule)
	f.add(factSkipped, skipped)
	f.add(factTicket, ticket)
	f.add(factReason, cut(reason, maxReason))
	a.Facts = append(f, aboutQuery(q)...)
	_ = r.begin(a) // a no stays one
}

// Bounds of the receipts of what one box was refused: the log is not its to fill.
// Nor does a flood hide what comes after it, in a box that lives for long.
const (
	maxLines       = 1000 // at once
	linesPerMinute = 6
	sameAgain      = time.Hour // after which a refusal that was written is written again
)

// factSkipped tells of refusals that have no receipt of their own.
const factSkipped = "refused before without a receipt"

// line says whether there may be one more, and how many there were not since the last.
func (r *reach) line(now time.Time) (ok bool, skipped string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.lines.take(maxLines, linesPerMinute, now) {
		r.skipped++
		return false, ""
	}
	if r.skipped > 0 {
		skipped = strconv.Itoa(r.skipped)
	}
	r.skipped = 0
	return true, skipped
}

// aboutQuery is what a receipt has of a query: of path and query string digests,
// since programs put secrets there, and nothing of a body.
func aboutQuery(q *packet.Query) facts {
	var f facts
	f.add("host", q.Host)
	f.add("port", strconv.Itoa(int(q.Port)))
	f.add("through", string(q.Through))
	f.add("scheme", q.Scheme)
	f.add("method", cut(q.Method, 64))
	f.add("path digest", digestOf(q.Path))
	f.add("query digest", digestOf(q.Search))
	if q.Size != 0 {
		f.add("body", bytesText(q.Size))
	}
	f.add("secrets", secretsText(q.Uses))
	f.add("addresses", addressText(q.Addresses))
	return f
}

func digestOf(text string) string {
	if text == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func bytesText(n int64) string {
	if n < 0 {
		return "of a size that is not known beforehand"
	}
	return fmt.Sprintf("%d bytes", n)
}

func secretsText(uses []packet.Use) string {
	var words []string
	for _, u := range uses {
		words = append(words, u.Secret+" in "+placeText(u.Place))
	}
	return strings.Join(words, ", ")
}

func placeText(p packet.Place) string {
	if p.Name == "" {
		return string(p.Kind)
	}
	return string(p.Kind) + " " + visible.Text(cut(p.Name, 64))
}

func addressText(list []netip.Addr) string {
	words := make([]string, len(list))
	for i, a := range list {
		words[i] = a.String()
	}
	return strings.Join(words, " ")
}

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
	switch {
	case len(q.Addresses) > 0:
		add("address", addressText(q.Addresses))
	case r.b.generation.Load().Config.Network.Hosts[q.Host] != "":
		add("address", r.b.generation.Load().Config.Network.Hosts[q.Host]+", by the configuration")
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

func literal(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
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

func (r *reach) refused(n packet.Refusal) {
	at := n.Host
	if n.Port != 0 {
		at = net.JoinHostPort(n.Host, strconv.Itoa(int(n.Port)))
	}
	at, why := visible.Text(cut(at, 512)), visible.Line(cut(n.Detail, packet.MaxDetail))
	if r.deny(api.Denial{Target: cmp.Or(at, string(n.Kind)), Reason: why, Rule: "clawsup-egress: " + string(n.Kind)}) {
		return
	}
	ok, skipped := r.line(time.Now())
	if !ok {
		return
	}
	a, f := r.receipt(-1)
	a.Decision, a.Rule = string(profiles.Deny), "clawsup-egress: "+string(n.Kind)
	f.add(factSkipped, skipped)
	f.add("host", at)
	f.add(factReason, why)
	a.Facts = f
	_ = r.begin(a)
}

var _ egress.Judge = judge{}

// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/raw"
)

func TestAYes(t *testing.T) {
	c := newClock()
	b := openBook(t, bookDir(t), Options{Now: c.now})
	q := question("c1")
	q.Claim = "just\x1b[2Ja greeting"
	id := ask(t, b, q)
	k := show(t, b, id)
	if k.State != Pending || k.Revision != 1 || k.Count != 1 || k.Quorum != 1 || !slices.Equal(k.Calls, []string{"c1"}) ||
		!k.Created.Equal(c.now()) || !k.Expires.Equal(c.now().Add(10*time.Minute)) || strings.Contains(k.Claim, "\x1b") {
		t.Errorf("%+v", k)
	}
	k = answer(t, b, alice, id, yes)
	if k.State != Allowed || k.Revision != 2 || len(k.Answers) != 1 || k.Answers[0].By != "uid 1000 (alice)" || k.Answers[0].Grant != "" {
		t.Errorf("%+v", k)
	}
	o := outcome(t, b, id, "c1")
	if o.State != Allowed || o.Grant != "" || len(o.Answers) != 1 {
		t.Errorf("%+v", o)
	}
	// One ticket, one use.
	_, err := b.Await(context.Background(), id, "c1")
	wantErr(t, err, ErrUnknown)
	_, err = b.Await(context.Background(), id, "c2")
	wantErr(t, err, ErrUnknown)
	if v := b.Use(subjectOf(q), asking); v.Decision != profiles.Ask {
		t.Errorf("a yes for once became %+v", v)
	}
}

func TestANo(t *testing.T) {
	b := openBook(t, bookDir(t), Options{})
	id := ask(t, b, question("c1"))
	answer(t, b, alice, id, no)
	if o := outcome(t, b, id, "c1"); o.State != Denied || o.Reason != "not today" {
		t.Errorf("%+v", o)
	}
}

// The role is that of the uid, the requester is nobody's
// approver, and an answer that isn't whole is none.
func TestWhoMayAnswer(t *testing.T) {
	b := openBook(t, bookDir(t), Options{})
	id := ask(t, b, question("c1"))
	workspace := raw.String("/srv")
	for _, c := range []struct {
		name string
		who  Who
		a    Answer
		want error
	}{
		{"nobody", Who{UID: 5, Via: ApprovalSocket}, yes, ErrRole},
		{"a viewer", viewer, yes, ErrRole},
		{"a viewer's no", viewer, no, ErrRole},
		{"by an unknown way", Who{UID: 1000, Role: Owner}, yes, ErrRole},
		{"the requester, with every role", Who{UID: agentUID, Role: Owner, Via: ApprovalSocket}, yes, ErrRequester},
		{"the requester's no", Who{UID: agentUID, Role: Owner, Via: ApprovalSocket}, no, ErrRequester},
		{"the requester by a helper", Who{UID: agentUID, Role: Owner, Via: "clawsup-chat"}, yes, ErrRequester},
		{"no verdict", alice, Answer{}, ErrInvalid},
		{"another verdict", alice, Answer{Verdict: "approved"}, ErrInvalid},
		{"a grant without an end", alice, Answer{Verdict: Grant}, ErrInvalid},
		{"a grant that ended", alice, Answer{Verdict: Grant, For: -1}, ErrInvalid},
		{"a grant of less than no uses", alice, Answer{Verdict: Grant, For: time.Minute, Uses: -1}, ErrInvalid},
		{"a yes with a time", alice, Answer{Verdict: Allow, For: time.Minute}, ErrInvalid},
		{"a yes with arguments", alice, Answer{Verdict: Allow, Args: raw.Of([]string{"x"})}, ErrInvalid},
		{"a no with a workspace", alice, Answer{Verdict: Deny, Workspace: &workspace}, ErrInvalid},
		{"a change of nothing", alice, Answer{Verdict: Change}, ErrInvalid},
		{"a reason in rubbish", alice, Answer{Verdict: Deny, Reason: "\xff"}, ErrInvalid},
		{"a reason without end", alice, Answer{Verdict: Deny, Reason: strings.Repeat("a", maxReason+1)}, ErrInvalid},
		{"an approver for longer than an hour", alice, Answer{Verdict: Grant, For: time.Hour + 1}, ErrRole},
		{"an admin for longer than thirty days", carol, Answer{Verdict: Grant, For: 30*24*time.Hour + 1}, ErrRole},
		{"a helper for longer than a quarter of an hour", Who{UID: 1, Role: Owner, Via: "clawsup-chat"}, Answer{Verdict: Grant, For: 15*time.Minute + 1}, ErrRole},
	} {
		c.a.Ticket, c.a.Revision = id, 1
		if _, err := b.Answer(c.who, c.a); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if k := show(t, b, id); k.State != Pending || k.Revision != 1 || len(k.Answers) != 0 {
		t.Errorf("they left a mark: %+v", k)
	}
	if _, n := b.Counts(); n != 0 {
		t.Errorf("%d grants", n)
	}
}

// Root may allow what it runs itself, from elsewhere.
func TestRootAnswersItself(t *testing.T) {
	b := openBook(t, bookDir(t), Options{})
	q := question("c1")
	q.Agent, q.Requester, q.RequesterUID = "", "uid 0", 0
	id := ask(t, b, q)
	if k := answer(t, b, Who{Name: "root", Role: Owner, Via: AdminSocket}, id, yes); k.State != Allowed {
		t.Errorf("%+v", k)
	}
}

// A button pressed twice, an answer after expiry, an answer to
// yesterday's ticket after a restart, two people at once.
func TestReplayedAnswers(t *testing.T) {
	c, dir := newClock(), bookDir(t)
	b := openBook(t, dir, Options{Now: c.now})

	t.Run("pressed twice", func(t *testing.T) {
		id := ask(t, b, other(1))
		a := Answer{Ticket: id, Revision: 1, Verdict: Allow}
		if _, err := b.Answer(alice, a); err != nil {
			t.Fatal(err)
		}
		for _, who := range []Who{alice, bob} {
			k, err := b.Answer(who, a)
			wantErr(t, err, ErrOver)
			a.Revision = k.Revision
			a.Verdict = Deny
		}
		if k := show(t, b, id); k.State != Allowed || len(k.Answers) != 1 {
			t.Errorf("%+v", k)
		}
	})
	t.Run("at its expiry", func(t *testing.T) {
		id := ask(t, b, other(2))
		c.move(10*time.Minute - 1)
		if k := show(t, b, id); k.State != Pending {
			t.Fatalf("too early: %+v", k)
		}
		c.move(1)
		k, err := b.Answer(alice, Answer{Ticket: id, Revision: 1, Verdict: Allow})
		wantErr(t, err, ErrOver)
		if k.State != Expired || len(k.Answers) != 0 {
			t.Errorf("%+v", k)
		}
		c.move(-time.Hour) // and no clock brings it back
		_, err = b.Answer(alice, Answer{Ticket: id, Revision: 1, Verdict: Allow})
		wantErr(t, err, ErrOver)
		if o := outcome(t, b, id, "call-2"); o.State != Expired {
			t.Errorf("%+v", o)
		}
		c.move(time.Hour)
	})
	t.Run("another revision", func(t *testing.T) {
		id := ask(t, b, other(3))
		for _, revision := range []int{0, -1, 2} {
			_, err := b.Answer(alice, Answer{Ticket: id, Revision: revision, Verdict: Allow})
			wantErr(t, err, ErrConflict)
			_, err = b.Answer(alice, Answer{Ticket: id, Revision: revision, Verdict: Deny})
			wantErr(t, err, ErrConflict)
		}
		_, err := b.Answer(alice, Answer{Ticket: "00000000", Revision: 1, Verdict: Allow})
		wantErr(t, err, ErrUnknown)
		_, err = b.Answer(alice, Answer{Ticket: id[:4], Revision: 1, Verdict: Allow})
		wantErr(t, err, ErrUnknown) // an answer names the whole id
	})
	t.Run("at once", func(t *testing.T) {
		id := ask(t, b, other(4))
		var all sync.WaitGroup
		results := make(chan error, 16)
		for i := range 16 {
			all.Go(func() {
				a := Answer{Ticket: id, Revision: 1, Verdict: Allow}
				if i%2 == 0 {
					a.Verdict = Deny
				}
				_, err := b.Answer(Who{UID: uint32(3000 + i), Role: Approver, Via: ApprovalSocket}, a)
				results <- err
			})
		}
		all.Wait()
		close(results)
		won := 0
		for err := range results {
			if err == nil {
				won++
			} else {
				wantErr(t, err, ErrOver)
			}
		}
		k := show(t, b, id)
		if won != 1 || len(k.Answers) != 1 || (k.State == Allowed) != (k.Answers[0].Verdict == Allow) {
			t.Errorf("%d won: %+v", won, k)
		}
	})
	t.Run("after a restart", func(t *testing.T) {
		id := ask(t, b, other(5))
		closeBook(t, b)
		b := openBook(t, dir, Options{Now: c.now})
		k, err := b.Answer(alice, Answer{Ticket: id, Revision: 1, Verdict: Allow})
		wantErr(t, err, ErrOver)
		if k.State != Void || k.Reason != Restart {
			t.Errorf("%+v", k)
		}
		_, err = b.Await(context.Background(), id, "call-5")
		wantErr(t, err, ErrUnknown)
	})
}

func TestQuorum(t *testing.T) {
	two := func(n int) Question { q := other(n); q.Quorum = 2; return q }
	b := openBook(t, bookDir(t), Options{Burst: 100, PendingPerSession: 100})
	for n, c := range []struct {
		name  string
		who   []Who
		as    []Answer
		last  error
		state State
		grant bool
	}{
		{"one is not enough", []Who{alice}, []Answer{yes}, nil, Pending, false},
		{"two are", []Who{alice, bob}, []Answer{yes, yes}, nil, Allowed, false},
		{"one twice", []Who{alice, alice}, []Answer{yes, yes}, ErrTwice, Pending, false},
		{"one twice, by another way", []Who{alice, {UID: 1000, Role: Approver, Via: "clawsup-chat"}}, []Answer{yes, yes}, ErrTwice, Pending, false},
		{"two through one helper", []Who{chat1, chat2}, []Answer{yes, yes}, ErrTwice, Pending, false},
		{"a helper and a socket", []Who{chat1, alice}, []Answer{yes, yes}, nil, Allowed, false},
		{"a socket and a helper", []Who{alice, chat1}, []Answer{yes, yes}, nil, Allowed, false},
		{"two helpers", []Who{chat1, {UID: 3000, Role: Approver, Via: "clawsup-page"}}, []Answer{yes, yes}, nil, Allowed, false},
		{"a no after a yes", []Who{alice, bob}, []Answer{yes, no}, nil, Denied, false},
		{"one's own no after a yes", []Who{alice, alice}, []Answer{yes, no}, nil, Denied, false},
		{"both grant", []Who{alice, bob}, []Answer{grant, grant}, nil, Allowed, true},
		{"one grants", []Who{alice, bob}, []Answer{grant, yes}, nil, Allowed, false},
		{"the other grants", []Who{alice, bob}, []Answer{yes, grant}, nil, Allowed, false},
		{"a change alone", []Who{alice}, []Answer{{Verdict: Change, Args: raw.Of([]string{"x"})}}, nil, Changed, false},
	} {
		id := ask(t, b, two(n))
		var err error
		for i, who := range c.who {
			a := c.as[i]
			a.Ticket, a.Revision = id, show(t, b, id).Revision
			_, err = b.Answer(who, a)
			if err != nil && i < len(c.who)-1 {
				t.Fatalf("%s: %v", c.name, err)
			}
		}
		k := show(t, b, id)
		g := b.GrantOf(id)
		if !errors.Is(err, c.last) || k.State != c.state || (g != nil) != c.grant {
			t.Errorf("%s: %v, %s, grant %v", c.name, err, k.State, g)
		}
		if g != nil && (len(g.By) != 2 || !slices.Equal(g.ByUID, []uint32{1000, 1001}) || k.Answers[0].Grant != g.ID || k.Answers[1].Grant != g.ID) {
			t.Errorf("%s: %+v of %+v", c.name, g, k)
		}
	}
}

// Both people looked at the same revision: the second sees the first one's yes
// before it counts.
func TestSecondYesNamesTheFirst(t *testing.T) {
	b := openBook(t, bookDir(t), Options{})
	q := question("c1")
	q.Quorum = 2
	id := ask(t, b, q)
	a := Answer{Ticket: id, Revision: 1, Verdict: Allow}
	if _, err := b.Answer(alice, a); err != nil {
		t.Fatal(err)
	}
	k, err := b.Answer(bob, a)
	wantErr(t, err, ErrConflict)
	if k.Revision != 2 || len(k.Answers) != 1 {
		t.Errorf("%+v", k)
	}
	// a no needs no second look
	if _, err := b.Answer(bob, Answer{Ticket: id, Revision: 1, Verdict: Deny}); err != nil {
		t.Error(err)
	}
}

// What a grant is for comes from the ticket.
func TestScopeOfGrants(t *testing.T) {
	b := openBook(t, bookDir(t), Options{Burst: 100, PendingPerSession: 100})
	skill := func(*Question) {}
	const list, site = "GET https://api.example.com:443/v1/list", "GET https://api.example.com:443/**"
	raw := func(e policy.Effect, target string) func(*Question) {
		return func(q *Question) {
			q.Effect, q.Target = e, target
			q.Skill, q.SkillDigest, q.Script = "", "", ""
		}
	}
	for n, c := range []struct {
		name   string
		change func(*Question)
		a      Answer
		want   policy.Scope
		err    error
	}{
		{"a script", skill, grant, policy.Scope{Skill: "sha256:skill", SkillName: "greet", Script: "run.py", Session: "s1"}, nil},
		{"a script, wide", skill, Answer{Verdict: Grant, For: time.Hour, Wide: true}, policy.Scope{Skill: "sha256:skill", SkillName: "greet", Script: "run.py", Agent: "claw"}, nil},
		{"a script, exact", skill, Answer{Verdict: Grant, For: time.Hour, Exact: true}, policy.Scope{Plan: "p", Session: "s1"}, nil},
		{"a command of a skill", func(q *Question) { q.Script = "" }, grant, policy.Scope{Plan: "p", Session: "s1"}, nil},
		{"a raw command", func(q *Question) { q.Skill, q.SkillDigest, q.Script = "", "", "" }, grant, policy.Scope{Plan: "p", Session: "s1"}, nil},
		{"a raw command, wide and exact", func(q *Question) { q.Skill, q.SkillDigest, q.Script = "", "", "" }, Answer{Verdict: Grant, For: time.Hour, Wide: true, Exact: true}, policy.Scope{Plan: "p", Agent: "claw"}, nil},
		{"a destination", func(q *Question) { q.Effect, q.Target = policy.NetConnect, "api.example.com:443" }, grant, policy.Scope{Skill: "sha256:skill", SkillName: "greet", Script: "run.py", Effect: policy.NetConnect, Target: "api.example.com:443", Session: "s1"}, nil},
		{"a destination of no skill's", raw(policy.NetConnect, "api.example.com:443"), grant, policy.Scope{Raw: true, Effect: policy.NetConnect, Target: "api.example.com:443", Session: "s1"}, nil},
		{"a destination unopened", func(q *Question) { raw(policy.NetConnect, "api.example.com:443")(q); q.Through = profiles.ThroughTLS }, grant, policy.Scope{Raw: true, Effect: policy.NetConnect, Through: profiles.ThroughTLS, Target: "api.example.com:443", Session: "s1"}, nil},
		{"a request", raw(policy.NetRequest, list), grant, policy.Scope{Raw: true, Effect: policy.NetRequest, Target: list, Session: "s1"}, nil},
		{"a request, exact", raw(policy.NetRequest, list), Answer{Verdict: Grant, For: time.Hour, Exact: true}, policy.Scope{Plan: "p", Effect: policy.NetRequest, Target: list, Session: "s1"}, nil},
		{"a request, wider", raw(policy.NetRequest, list), Answer{Verdict: Grant, For: time.Hour, Target: site}, policy.Scope{Raw: true, Effect: policy.NetRequest, Target: site, Session: "s1"}, nil},
		{"a request, elsewhere", raw(policy.NetRequest, list), Answer{Verdict: Grant, For: time.Hour, Target: "GET https://example.com:443/**"}, policy.Scope{}, ErrInvalid},
		{"a request beside a skill", func(q *Question) { q.Effect, q.Target, q.Script = policy.NetRequest, list, "" }, grant, policy.Scope{Plan: "p", Effect: policy.NetRequest, Target: list, Session: "s1"}, nil},
		{"a secret of no skill's", raw(policy.SecretUse, "key"), grant, policy.Scope{Plan: "p", Effect: policy.SecretUse, Target: "key", Session: "s1"}, nil},
		{"no session", func(q *Question) { q.Session = "" }, grant, policy.Scope{}, ErrInvalid},
		{"no agent, wide", func(q *Question) { q.Agent = "" }, Answer{Verdict: Grant, For: time.Hour, Wide: true}, policy.Scope{}, ErrInvalid},
	} {
		q := other(n)
		c.change(&q)
		id := ask(t, b, q)
		c.a.Ticket, c.a.Revision = id, 1
		_, err := b.Answer(alice, c.a)
		if c.err != nil {
			if !errors.Is(err, c.err) || show(t, b, id).State != Pending {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if c.want.Plan != "" {
			c.want.Plan = q.Plan
		}
		c.want.Profile, c.want.ProfileName, c.want.Workspace = "sha256:profile", "p", "/srv/letters"
		g := b.GrantOf(id)
		if g.Scope != c.want || g.Uses != -1 || g.Ticket != id {
			t.Errorf("%s: %+v, want %+v", c.name, g, c.want)
		}
		if v := b.Use(subjectOf(q), []policy.Rule{{Effect: q.Effect, Decision: profiles.Ask}}); v.Grant != g.ID {
			t.Errorf("%s: not used: %+v", c.name, v)
		}
		if _, err := b.Revoke(g.ID, ""); err != nil {
			t.Fatal(err)
		}
	}
}

// The narrowest of what several people said.
func TestGrantOfTwo(t *testing.T) {
	c := newClock()
	b := openBook(t, bookDir(t), Options{Now: c.now})
	q := question("c1")
	q.Quorum = 2
	id := ask(t, b, q)
	answer(t, b, alice, id, Answer{Verdict: Grant, For: time.Hour, Uses: 5, Wide: true})
	answer(t, b, bob, id, Answer{Verdict: Grant, For: 10 * time.Minute, Exact: true})
	g := b.GrantOf(id)
	want := policy.Scope{Plan: q.Plan, Profile: "sha256:profile", ProfileName: "p", Workspace: "/srv/letters", Session: "s1"}
	if g == nil || g.Uses != 5 || !g.Expires.Equal(c.now().Add(10*time.Minute)) || g.Scope != want {
		t.Errorf("%+v", g)
	}
}

// The narrowest target of what several people said, wherever it stands.
func TestTargetOfTwo(t *testing.T) {
	q := question("c1")
	q.Effect, q.Target, q.Quorum = policy.NetRequest, "GET https://api.example.com:443/v1/list", 2
	targets := policy.Widen(q.Effect, q.Target)
	for i, first := range append(targets, "") {
		for j, second := range append(targets, "") {
			b := openBook(t, bookDir(t), Options{})
			id := ask(t, b, q)
			answer(t, b, alice, id, Answer{Verdict: Grant, For: time.Hour, Target: first})
			answer(t, b, bob, id, Answer{Verdict: Grant, For: time.Hour, Target: second})
			want := targets[min(i%len(targets), j%len(targets))]
			if g := b.GrantOf(id); g == nil || g.Scope.Target != want {
				t.Errorf("%q and %q: %+v, want %q", first, second, g, want)
			}
			closeBook(t, b)
		}
	}
}

// One yes for a while serves every command that asks the like, over a restart
// too, and nothing else.
func TestGrantOfDestination(t *testing.T) {
	dir := bookDir(t)
	b, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	q := question("c1")
	q.Effect, q.Target = policy.NetRequest, "GET https://api.example.com:443/v1/list"
	q.Skill, q.SkillDigest, q.Script = "", "", ""
	g := grantFor(t, b, q, Answer{Verdict: Grant, For: time.Hour, Target: "GET https://api.example.com:443/v1/**"})
	closeBook(t, b)
	b = openBook(t, dir, Options{})
	if len(b.Notes()) != 0 {
		t.Errorf("%q", b.Notes())
	}
	for _, c := range []struct {
		change func(*policy.Subject)
		want   bool
	}{
		{func(s *policy.Subject) {}, true},
		{func(s *policy.Subject) { s.Plan, s.Target = "sha256:next", "GET https://api.example.com:443/v1/other" }, true},
		{func(s *policy.Subject) { s.Target = "POST https://api.example.com:443/v1/list" }, false},
		{func(s *policy.Subject) { s.Target = "GET https://api.example.com:443/v2/list" }, false},
		{func(s *policy.Subject) { s.Profile = "sha256:wider" }, false},
		{func(s *policy.Subject) { s.Workspace = "/srv/other" }, false},
		{func(s *policy.Subject) { s.Session = "s2" }, false},
		{func(s *policy.Subject) { s.Skill, s.Script = "sha256:skill", "run.py" }, false},
		{func(s *policy.Subject) { s.Skill = "sha256:skill" }, false},
		{func(s *policy.Subject) { s.Effect, s.Target = policy.Exec, "" }, false},
	} {
		s := subjectOf(q)
		c.change(&s)
		if v := b.Use(s, []policy.Rule{{Effect: s.Effect, Decision: profiles.Ask}}); (v.Grant == g.ID) != c.want {
			t.Errorf("%+v: %+v", s, v)
		}
	}
}

func TestChange(t *testing.T) {
	ctx := context.Background()
	b := openBook(t, bookDir(t), Options{})
	id := ask(t, b, question("c1"))
	ask(t, b, question("c2"))
	ask(t, b, question("c3"))
	_, err := b.AskChanged(ctx, id, question(""))
	wantErr(t, err, ErrOver) // it isn't changed

	ended, cancel := context.WithCancel(ctx)
	cancel()
	if o, err := b.Await(ended, id, "c3"); err != nil || o.State != Cancelled {
		t.Fatalf("%+v %v", o, err)
	}
	answer(t, b, alice, id, Answer{Verdict: Change, Args: raw.Of([]string{"run.py", "--dry"}), Reason: "dry first"})
	if o, err := b.Await(ended, id, "c2"); err != nil || o.State != Cancelled { // gives up before there is a plan
		t.Fatalf("%+v %v", o, err)
	}
	got := make(chan Outcome, 1)
	go func() { got <- outcome(t, b, id, "c1") }()
	q := question("")
	q.Plan = "sha256:changed"
	next, err := b.AskChanged(ctx, id, q)
	if err != nil {
		t.Fatal(err)
	}
	if o := <-got; o.State != Changed || o.Next != next || o.Reason != "dry first" {
		t.Errorf("%+v", o)
	}
	k := show(t, b, next)
	if k.State != Pending || k.Parent != id || !slices.Equal(k.Calls, []string{"c1"}) || k.Plan != "sha256:changed" || len(k.Answers) != 0 {
		t.Errorf("%+v", k)
	}
	_, err = b.AskChanged(ctx, id, q)
	wantErr(t, err, ErrOver) // once
	wantErr(t, b.FailChange(id, "x"), ErrOver)
	q.Call = "c9"
	if joined := ask(t, b, q); joined == next {
		t.Error("a call joined what a person made of another")
	}
	answer(t, b, bob, next, yes)
	if o := outcome(t, b, next, "c1"); o.State != Allowed {
		t.Errorf("%+v", o)
	}

	id = ask(t, b, other(7))
	answer(t, b, alice, id, Answer{Verdict: Change, Args: raw.Of([]string{"/none"})})
	if err := b.FailChange(id, "there is no /none"); err != nil {
		t.Fatal(err)
	}
	if o := outcome(t, b, id, "call-7"); o.State != Changed || o.Next != "" || o.Reason != "there is no /none" {
		t.Errorf("%+v", o)
	}

	id = ask(t, b, other(8))
	answer(t, b, alice, id, Answer{Verdict: Change, Args: raw.Of([]string{"x"})})
	if o, err := b.Await(ended, id, "call-8"); err != nil || o.State != Cancelled {
		t.Fatalf("%+v %v", o, err)
	}
	_, err = b.AskChanged(ctx, id, q)
	wantErr(t, err, ErrOver) // nobody waits
	if !b.entries[id].isSettled() {
		t.Error("it waits for a change that nobody wants, and is kept for it")
	}
}

// What ended while an answer was being written down stays ended.
func TestEndedWhileItWasWritten(t *testing.T) {
	dir := bookDir(t)
	b := openBook(t, dir, Options{})
	id := ask(t, b, question("c1"))
	b.write.Lock()
	b.mu.Lock()
	e := b.entries[id]
	old := e.rec
	next, err := b.answered(old, alice, &Answer{Ticket: id, Revision: 1, Verdict: Grant, For: time.Hour}, b.now())
	if err != nil {
		t.Fatal(err)
	}
	b.expireTicket(e)
	b.mu.Unlock()
	done, err := b.change(e, old, next)
	b.write.Unlock()
	if done || err != nil {
		t.Errorf("%v, %v", done, err)
	}
	check := func(b *Book) {
		t.Helper()
		if _, n := b.Counts(); n != 0 || show(t, b, id).State != Expired {
			t.Errorf("%d grants, %+v", n, show(t, b, id))
		}
	}
	check(b)
	closeBook(t, b)
	check(openBook(t, dir, Options{}))
}

// A change that nobody carries out ends when its ticket would have.
func TestForgottenChange(t *testing.T) {
	b := openBook(t, bookDir(t), Options{})
	for within := 100 * time.Millisecond; ; within *= 2 {
		q := question("c1")
		q.Within = within
		id := ask(t, b, q)
		_, err := b.Answer(alice, Answer{Ticket: id, Revision: 1, Verdict: Change, Args: raw.Of([]string{"x"})})
		if errors.Is(err, ErrOver) && within < time.Minute {
			continue // a slow machine
		}
		if err != nil {
			t.Fatal(err)
		}
		if o := outcome(t, b, id, "c1"); o.State != Changed || o.Next != "" {
			t.Errorf("%+v", o)
		}
		return
	}
}

// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/policy"
)

// A yes to one thing is none to another.
func TestGrantIsForItsScope(t *testing.T) {
	b := openBook(t, bookDir(t), Options{})
	granted(t, b, grant)
	for name, c := range map[string]struct {
		change func(*Question)
		want   profiles.Decision
	}{
		"as it was":            {func(*Question) {}, profiles.Allow},
		"another plan of it":   {func(q *Question) { q.Plan = "sha256:other" }, profiles.Allow},
		"another script":       {func(q *Question) { q.Script = "rm.py" }, profiles.Ask},
		"other bytes":          {func(q *Question) { q.SkillDigest = "sha256:other" }, profiles.Ask},
		"a command beside it":  {func(q *Question) { q.Script = "" }, profiles.Ask},
		"the raw command":      {func(q *Question) { q.SkillDigest, q.Script = "", "" }, profiles.Ask},
		"another profile":      {func(q *Question) { q.ProfileDigest = "sha256:other" }, profiles.Ask},
		"another workspace":    {func(q *Question) { q.Workspace = "/srv/other" }, profiles.Ask},
		"no workspace":         {func(q *Question) { q.Workspace = "" }, profiles.Ask},
		"renamed":              {func(q *Question) { q.Profile, q.Skill = "renamed", "renamed" }, profiles.Allow},
		"another session":      {func(q *Question) { q.Session = "s2" }, profiles.Ask},
		"no session":           {func(q *Question) { q.Session = "" }, profiles.Ask},
		"another agent's call": {func(q *Question) { q.Session, q.Agent = "s3", "other" }, profiles.Ask},
	} {
		q := question("c")
		c.change(&q)
		if v := b.Use(subjectOf(q), asking); v.Decision != c.want {
			t.Errorf("%s: %+v", name, v)
		}
	}
	denying := []policy.Rule{{Effect: policy.Exec, Decision: profiles.Deny, Name: "never"}}
	if v := b.Use(subjectOf(question("c")), denying); v.Decision != profiles.Deny {
		t.Errorf("against a denial: %+v", v)
	}
}

func TestGrantExpires(t *testing.T) {
	c, dir := newClock(), bookDir(t)
	b := openBook(t, dir, Options{Now: c.now})
	g := granted(t, b, Answer{Verdict: Grant, For: time.Hour})
	s := subjectOf(question("c"))
	c.move(time.Hour - 1)
	if v := b.Use(s, asking); v.Grant != g.ID {
		t.Errorf("just before: %+v", v)
	}
	c.move(1)
	if v := b.Use(s, asking); v.Decision != profiles.Ask {
		t.Errorf("at its expiry: %+v", v)
	}
	c.move(-30 * time.Minute)
	if v := b.Use(s, asking); v.Decision != profiles.Ask {
		t.Errorf("the clock brought it back: %+v", v)
	}
	closeBook(t, b)
	b = openBook(t, dir, Options{Now: c.now})
	if v := b.Use(s, asking); v.Decision != profiles.Ask {
		t.Errorf("clock and restart brought it back: %+v", v)
	}
	if list := b.Grants(); len(list) != 1 || list[0].Revoked != "expired" {
		t.Errorf("%+v", list)
	}
}

// A wall clock that stands keeps no grant alive.
func TestGrantExpiresByTheMonotonicClock(t *testing.T) {
	c := newClock()
	b := openBook(t, bookDir(t), Options{Now: c.now})
	granted(t, b, Answer{Verdict: Grant, For: 50 * time.Millisecond})
	c.move(-time.Nanosecond) // so that the wall clock never gets there
	deadline := time.Now().Add(time.Minute)
	for {
		if _, n := b.Counts(); n == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it is still there")
		}
		time.Sleep(5 * time.Millisecond) // a grant's end is no event for anybody
	}
	if v := b.Use(subjectOf(question("c")), asking); v.Decision != profiles.Ask {
		t.Errorf("%+v", v)
	}
}

// A grant stays over a restart; one that is past when it is found doesn't.
func TestGrantsOverARestart(t *testing.T) {
	c, dir := newClock(), bookDir(t)
	b := openBook(t, dir, Options{Now: c.now})
	long := granted(t, b, Answer{Verdict: Grant, For: 24 * time.Hour, Uses: 3})
	q := question("c")
	q.Script = "short.py"
	grantFor(t, b, q, Answer{Verdict: Grant, For: time.Minute})
	if v := b.Use(subjectOf(question("c")), asking); v.Grant != long.ID {
		t.Fatalf("%+v", v)
	}
	closeBook(t, b)
	c.move(time.Hour)
	b = openBook(t, dir, Options{Now: c.now})
	if v := b.Use(subjectOf(q), asking); v.Decision != profiles.Ask {
		t.Errorf("%+v", v)
	}
	for n := range 3 {
		for _, g := range b.Grants() {
			if g.ID == long.ID && g.Uses != 2-n {
				t.Errorf("before use %d after the restart: %+v", n+1, g)
			}
		}
		v := b.Use(subjectOf(question("c")), asking)
		if (v.Grant == long.ID) != (n < 2) {
			t.Errorf("use %d after the restart: %+v", n+1, v)
		}
	}
	if g := b.GrantOf(long.Ticket); g.Uses != 0 || g.Revoked != "used up" {
		t.Errorf("%+v", g)
	}
	closeBook(t, b)
	c.move(-2 * time.Hour) // before it was given
	b = openBook(t, dir, Options{Now: c.now})
	if _, n := b.Counts(); n != 0 {
		t.Errorf("%d grants", n)
	}
}

// Ten times as many calls as there are uses, at once.
func TestUsesAreCounted(t *testing.T) {
	b := openBook(t, bookDir(t), Options{})
	granted(t, b, Answer{Verdict: Grant, For: time.Hour, Uses: 4})
	var allowed atomic.Int32
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			if v := b.Use(subjectOf(question("c")), asking); v.Decision == profiles.Allow {
				allowed.Add(1)
			}
		})
	}
	all.Wait()
	if allowed.Load() != 4 {
		t.Errorf("%d uses of 4", allowed.Load())
	}
}

func TestRevoke(t *testing.T) {
	dir := bookDir(t)
	b := openBook(t, dir, Options{})
	g := granted(t, b, grant)
	_, err := b.Revoke("g-", "x") // there is one alone, which is clear enough
	if err != nil {
		t.Fatal(err)
	}
	if v := b.Use(subjectOf(question("c")), asking); v.Decision != profiles.Ask {
		t.Errorf("%+v", v)
	}
	_, err = b.Revoke(g.ID, "again")
	wantErr(t, err, ErrUnknown)
	for n := range 2 {
		q := other(n)
		q.Script = fmt.Sprint(n)
		grantFor(t, b, q, grant)
	}
	_, err = b.Revoke("g-", "x")
	wantErr(t, err, ErrAmbiguous)
	_, err = b.Revoke("", "x")
	wantErr(t, err, ErrUnknown)
	closeBook(t, b)
	b = openBook(t, dir, Options{})
	if got := b.GrantOf(g.Ticket); got == nil || got.Revoked != "x" {
		t.Errorf("%+v", got)
	}
	if _, n := b.Counts(); n != 2 {
		t.Errorf("%d grants", n)
	}
}

func TestVoidSkill(t *testing.T) {
	b := openBook(t, bookDir(t), Options{})
	g := granted(t, b, grant)
	q := other(1)
	q.SkillDigest = "sha256:another"
	grantFor(t, b, q, grant)
	v, err := b.VoidSkill("sha256:skill")
	if err != nil || len(v.Grants) != 1 || v.Grants[0].ID != g.ID || !strings.Contains(v.Grants[0].Revoked, "changed") {
		t.Errorf("%+v %v", v, err)
	}
	if _, n := b.Counts(); n != 1 {
		t.Errorf("%d grants", n)
	}
}

func TestVoid(t *testing.T) {
	b := openBook(t, bookDir(t), Options{})
	id, stays := ask(t, b, other(1)), ask(t, b, other(2))
	v, err := b.Void("reload", func(k Ticket) bool { return k.ID == id })
	if err != nil || len(v.Tickets) != 1 || v.Tickets[0].ID != id {
		t.Errorf("%+v %v", v, err)
	}
	if o := outcome(t, b, id, "call-1"); o.State != Void || o.Reason != "reload" {
		t.Errorf("%+v", o)
	}
	if k := show(t, b, stays); k.State != Pending {
		t.Errorf("%+v", k)
	}
}

// An approver is removed.
func TestRecheck(t *testing.T) {
	dir := bookDir(t)
	b := openBook(t, dir, Options{})
	roles := func(approvers ...string) Roles {
		return rolesOf(t, passwd, group, RoleNames{Approver: approvers})
	}
	g := granted(t, b, grant) // carol's
	q := other(1)
	q.Quorum, q.Script = 2, "two.py"
	both := ask(t, b, q)
	answer(t, b, alice, both, grant)
	answer(t, b, carol, both, grant)
	q = other(2)
	q.Quorum = 2
	open := ask(t, b, q)
	answer(t, b, alice, open, yes)

	if v, err := b.Recheck(roles("alice", "bob", "carol")); err != nil || len(v.Tickets)+len(v.Grants) != 0 {
		t.Fatalf("everybody stays: %+v %v", v, err)
	}
	v, err := b.Recheck(roles("bob", "carol"))
	if err != nil || len(v.Tickets) != 1 || len(v.Grants) != 1 || v.Grants[0].Ticket != both {
		t.Fatalf("alice goes: %+v %v", v, err)
	}
	k := show(t, b, open)
	if k.State != Pending || len(k.Answers) != 0 || k.Revision != 3 {
		t.Errorf("%+v", k)
	}
	answer(t, b, bob, open, yes)
	if k := show(t, b, open); k.State != Pending {
		t.Errorf("alice's yes still counts: %+v", k)
	}
	if v := b.Use(subjectOf(question("c")), asking); v.Grant != g.ID {
		t.Errorf("carol's grant: %+v", v)
	}
	if v, err := b.Recheck(roles("bob")); err != nil || len(v.Grants) != 1 {
		t.Errorf("carol goes: %+v %v", v, err)
	}
	closeBook(t, b)
	b = openBook(t, dir, Options{})
	if _, n := b.Counts(); n != 0 {
		t.Errorf("%d grants came back", n)
	}
}

// roster is who has which role, as a test says.
type roster struct {
	mu    sync.Mutex
	roles map[uint32]Role
}

// everybody has the roles of the fixture's people.
func everybody() *roster {
	r := &roster{roles: map[uint32]Role{}}
	for _, who := range []Who{alice, bob, carol, chat1, chat2, viewer} {
		r.roles[who.UID] = who.Role
	}
	return r
}

func (r *roster) of(uid uint32) Role {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.roles[uid]
}

func (r *roster) set(who Who, role Role) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.roles[who.UID] = role
}

// Whoever lost the role has, from that moment and before anybody calls Recheck,
// given nothing.
func TestRolesOfThisMoment(t *testing.T) {
	for _, c := range []struct {
		name  string
		grant Answer
	}{{"not counted", grant}, {"counted", Answer{Verdict: Grant, For: time.Hour, Uses: 9}}} {
		now := everybody()
		b := openBook(t, bookDir(t), Options{Roles: now.of})
		q := question("granted")
		q.Quorum = 2
		id := ask(t, b, q)
		answer(t, b, alice, id, c.grant)
		answer(t, b, carol, id, c.grant)
		g := b.GrantOf(id)
		uses := func(want string) {
			t.Helper()
			s := subjectOf(question("c"))
			if _, lines := b.Explain(s, asking); strings.Contains(strings.Join(lines, "\n"), "grant: ") != (want != "") {
				t.Errorf("%s: explained with %q", c.name, lines)
			}
			if v := b.Use(s, asking); v.Grant != want || (v.Decision == profiles.Allow) != (want != "") {
				t.Errorf("%s: %+v, want %q", c.name, v, want)
			}
		}
		uses(g.ID)
		now.set(alice, Viewer)
		uses("")
		// Another's counts in its place, though this one would go before it.
		q = question("second")
		second := grantFor(t, b, q, Answer{Verdict: Grant, For: 2 * time.Hour, Uses: 10})
		uses(second.ID)
		now.set(alice, Approver)
		now.set(carol, NoRole)
		uses("")
		now.set(carol, Approver) // less than it was, and enough
		uses(g.ID)
	}
}

func TestAnswersOfThisMoment(t *testing.T) {
	now := everybody()
	b := openBook(t, bookDir(t), Options{Roles: now.of})
	two := func(n int) string {
		q := other(n)
		q.Quorum = 2
		return ask(t, b, q)
	}

	id := two(1)
	answer(t, b, alice, id, grant)
	now.set(alice, NoRole)
	_, err := b.Answer(alice, Answer{Ticket: id, Revision: 2, Verdict: Deny})
	wantErr(t, err, ErrRole) // whatever the caller says
	if k := answer(t, b, bob, id, grant); k.State != Pending || len(k.Answers) != 1 || k.Answers[0].UID != bob.UID {
		t.Errorf("a removed approver is one of two: %+v", k)
	}
	if k := answer(t, b, carol, id, grant); k.State != Allowed || len(k.Answers) != 2 {
		t.Errorf("%+v", k)
	}
	if g := b.GrantOf(id); g == nil || len(g.ByUID) != 2 || g.ByUID[0] != bob.UID || g.ByUID[1] != carol.UID {
		t.Errorf("%+v", g)
	}

	now.set(carol, Approver)
	id = two(2)
	_, err = b.Answer(carol, Answer{Ticket: id, Revision: 1, Verdict: Grant, For: 24 * time.Hour})
	wantErr(t, err, ErrRole) // an admin's until a moment ago

	id = two(3)
	answer(t, b, bob, id, yes)
	now.set(bob, NoRole)
	answer(t, b, carol, id, yes)
	now.set(bob, Approver)
	if k := answer(t, b, bob, id, yes); k.State != Allowed || len(k.Answers) != 2 { // anew, and not twice
		t.Errorf("%+v", k)
	}
}

func TestExplain(t *testing.T) {
	b := openBook(t, bookDir(t), Options{})
	g := granted(t, b, Answer{Verdict: Grant, For: time.Hour, Uses: 1})
	for range 2 {
		v, lines := b.Explain(subjectOf(question("c")), asking)
		if v.Grant != g.ID || !strings.Contains(strings.Join(lines, "\n"), g.ID) {
			t.Errorf("%+v %q", v, lines)
		}
	}
	if got := b.GrantOf(g.Ticket); got.Uses != 1 {
		t.Errorf("explaining used it: %+v", got)
	}
}

// Grants are kept in memory with their tickets, and there is an end to that.
func TestRoomForGrants(t *testing.T) {
	b := openBook(t, bookDir(t), Options{})
	g := granted(t, b, grant)
	b.mu.Lock()
	b.owners[0].size = maxOver
	b.mu.Unlock()
	id := ask(t, b, other(1))
	_, err := b.Answer(alice, Answer{Ticket: id, Revision: 1, Verdict: Grant, For: time.Hour})
	wantErr(t, err, ErrFull)
	if _, err := b.Revoke(g.ID, ""); err != nil {
		t.Fatal(err)
	}
	answer(t, b, alice, id, grant)
}

func BenchmarkUse(b *testing.B) {
	for _, n := range []int{1, 1000} {
		for _, uses := range []int{0, 1 << 40} {
			b.Run(fmt.Sprintf("grants=%d,counted=%v", n, uses > 0), func(b *testing.B) {
				book := openBook(b, bookDir(b), Options{Burst: 1 << 20})
				for i := range n - 1 {
					q := other(i)
					q.Script = fmt.Sprint(i)
					grantFor(b, book, q, grant)
				}
				granted(b, book, Answer{Verdict: Grant, For: time.Hour, Uses: uses})
				s := subjectOf(question("c"))
				for b.Loop() {
					if v := book.Use(s, asking); v.Decision != profiles.Allow {
						b.Fatalf("%+v", v)
					}
				}
			})
		}
	}
}

func BenchmarkTicket(b *testing.B) {
	book := openBook(b, bookDir(b), Options{Burst: 1 << 30, Every: time.Nanosecond})
	for n := 0; b.Loop(); n++ {
		id := ask(b, book, other(n))
		answer(b, book, alice, id, yes)
		outcome(b, book, id, fmt.Sprintf("call-%d", n))
	}
}

// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/policy"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("APPROVAL_TEST_CHILD"); dir != "" {
		child(dir)
		return
	}
	os.Exit(m.Run())
}

// clock is a wall clock that a test sets.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func bookDir(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "tickets")
}

func openBook(t testing.TB, dir string, o Options) *Book {
	t.Helper()
	b, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func closeBook(t testing.TB, b *Book) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

const agentUID = 990

// question is a script's, of an agent, in a session.
func question(call string) Question {
	return Question{
		Call: call, Effect: policy.Exec, Plan: "sha256:plan", Facts: []Fact{{Name: "command", Value: `"run.py"`}},
		Rule: "profile p asks", Requester: "agent claw (uid 990)", RequesterUID: agentUID, Agent: "claw",
		Session: "s1", SessionName: "chat", Profile: "p", ProfileDigest: "sha256:profile",
		Workspace: "/srv/letters", Skill: "greet", SkillDigest: "sha256:skill", Script: "run.py",
	}
}

// other is a question that folds with no other.
func other(n int) Question {
	q := question(fmt.Sprintf("call-%d", n))
	q.Plan = fmt.Sprintf("sha256:plan-%d", n)
	return q
}

func subjectOf(q Question) policy.Subject {
	return policy.Subject{
		Effect: q.Effect, Target: q.Target, Plan: q.Plan, Skill: q.SkillDigest, Script: q.Script,
		Profile: q.ProfileDigest, Workspace: q.Workspace, Session: q.Session, Agent: q.Agent, Labels: q.Labels,
		Through: q.Through,
	}
}

var asking = []policy.Rule{{Effect: policy.Exec, Decision: profiles.Ask, Name: "asking"}}

var (
	alice  = Who{UID: 1000, Name: "alice", Role: Approver, Via: ApprovalSocket}
	bob    = Who{UID: 1001, Name: "bob", Role: Approver, Via: ApprovalSocket}
	carol  = Who{UID: 1002, Name: "carol", Role: Admin, Via: ApprovalSocket}
	chat1  = Who{UID: 2001, Name: "dora", Role: Approver, Via: "clawsup-chat"}
	chat2  = Who{UID: 2002, Name: "eve", Role: Approver, Via: "clawsup-chat"}
	viewer = Who{UID: 1003, Name: "vic", Role: Viewer, Via: ApprovalSocket}
)

func ask(t testing.TB, b *Book, q Question) string {
	t.Helper()
	id, err := b.Ask(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func show(t testing.TB, b *Book, id string) Ticket {
	t.Helper()
	k, err := b.Show(id)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func watch(t testing.TB, b *Book, ctx context.Context, uid uint32) <-chan Ticket {
	t.Helper()
	changes, err := b.Watch(ctx, uid)
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

// answer answers the ticket as it is now.
func answer(t testing.TB, b *Book, who Who, id string, a Answer) Ticket {
	t.Helper()
	a.Ticket, a.Revision = id, show(t, b, id).Revision
	k, err := b.Answer(who, a)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var (
	yes   = Answer{Verdict: Allow}
	no    = Answer{Verdict: Deny, Reason: "not today"}
	grant = Answer{Verdict: Grant, For: time.Hour}
)

// granted makes a standing grant for question.
func granted(t testing.TB, b *Book, a Answer) policy.Grant {
	t.Helper()
	return grantFor(t, b, question("granted"), a)
}

func grantFor(t testing.TB, b *Book, q Question, a Answer) policy.Grant {
	t.Helper()
	id := ask(t, b, q)
	answer(t, b, carol, id, a)
	g := b.GrantOf(id)
	if g == nil {
		t.Fatal("there is no grant")
	}
	return *g
}

func outcome(t testing.TB, b *Book, id, call string) Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	o, err := b.Await(ctx, id, call)
	if err != nil {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatal("nothing was heard of the ticket")
	}
	return o
}

func wantErr(t testing.TB, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("got the error %v, want %v", got, want)
	}
}

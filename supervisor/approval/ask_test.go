// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clawsup/clawsup/supervisor/policy"
)

func TestFold(t *testing.T) {
	b := openBook(t, bookDir(t), Options{Burst: 100, PendingPerSession: 100})
	id := ask(t, b, question("c1"))
	if again := ask(t, b, question("c2")); again != id {
		t.Fatalf("%s and %s", id, again)
	}
	k := show(t, b, id)
	if k.Count != 2 || k.Revision != 2 || !slices.Equal(k.Calls, []string{"c1", "c2"}) {
		t.Errorf("%+v", k)
	}
	if _, err := b.Ask(context.Background(), question("c1")); !errors.Is(err, ErrInvalid) {
		t.Errorf("a call joined twice: %v", err)
	}
	// A yes to one call is none to two.
	_, err := b.Answer(alice, Answer{Ticket: id, Revision: 1, Verdict: Allow})
	wantErr(t, err, ErrConflict)

	for name, change := range map[string]func(*Question){
		"session":   func(q *Question) { q.Session = "s2" },
		"agent":     func(q *Question) { q.Agent = "other" },
		"requester": func(q *Question) { q.RequesterUID++ },
		"effect":    func(q *Question) { q.Effect, q.Target = policy.FSDelete, "a" },
		"plan":      func(q *Question) { q.Plan = "sha256:other" },
		"labels":    func(q *Question) { q.Labels.Private = true },
		"quorum":    func(q *Question) { q.Quorum = 2 },
		"rule":      func(q *Question) { q.Rule = "another" },
	} {
		q := question("of another " + name)
		change(&q)
		if ask(t, b, q) == id {
			t.Errorf("folded with another %s", name)
		}
	}
	answer(t, b, alice, id, yes)
	for _, call := range []string{"c1", "c2"} {
		if o := outcome(t, b, id, call); o.State != Allowed {
			t.Errorf("%s: %+v", call, o)
		}
	}
	if late := ask(t, b, question("c3")); late == id {
		t.Error("joined an answered ticket")
	}
}

// What a call sends out is not told by its plan: two that are the same may ask for
// requests that differ in what only the facts say.
func TestRequestsFold(t *testing.T) {
	b := openBook(t, bookDir(t), Options{Burst: 100, PendingPerSession: 100})
	request := func(call, secrets string, facts ...Fact) Question {
		q := question(call)
		q.Effect, q.Target, q.Secrets = policy.NetRequest, "GET https://api.example.com:443/v1", secrets
		q.Facts = append(slices.Clone(q.Facts), facts...)
		return q
	}
	id := ask(t, b, request("c1", ""))
	if ask(t, b, request("c2", "")) != id {
		t.Error("the same is not folded")
	}
	if ask(t, b, request("c3", "api")) == id || ask(t, b, request("c4", "", Fact{Name: "query", Value: "to=everybody"})) == id {
		t.Error("another request is folded")
	}
}

// A yes that waits for a second one covers the calls that were there.
func TestNobodyJoinsHalfAnAnswer(t *testing.T) {
	b := openBook(t, bookDir(t), Options{})
	q := question("c1")
	q.Quorum = 2
	id := ask(t, b, q)
	answer(t, b, alice, id, yes)
	q.Call = "c2"
	if ask(t, b, q) == id {
		t.Error("joined")
	}
}

// Calls that keep joining can outrun a yes 64 times, and a no never.
func TestJoiningEnds(t *testing.T) {
	b := openBook(t, bookDir(t), Options{})
	id := ask(t, b, question("c0"))
	for n := 1; n < maxJoined; n++ {
		if again := ask(t, b, question(fmt.Sprint("c", n))); again != id {
			t.Fatalf("call %d", n)
		}
	}
	next := ask(t, b, question("one more"))
	if next == id {
		t.Error("65 calls")
	}
	if _, err := b.Answer(alice, Answer{Ticket: id, Revision: 1, Verdict: Deny}); err != nil {
		t.Error(err)
	}
}

// Hundreds of questions. A flood is a no, before anybody is asked.
func TestFlood(t *testing.T) {
	b := openBook(t, bookDir(t), Options{Burst: 5, Every: time.Hour})
	changes := watch(t, b, t.Context(), 1)
	asked, flood := 0, 0
	for n := range 300 {
		q := other(n)
		q.Session = fmt.Sprint("s", n) // a new session is no new bucket
		switch _, err := b.Ask(context.Background(), q); {
		case err == nil:
			asked++
		case errors.Is(err, ErrFlood):
			flood++
		default:
			t.Fatal(err)
		}
	}
	if asked != 5 || flood != 295 || len(changes) != 5 {
		t.Errorf("%d asked, %d flood, %d told", asked, flood, len(changes))
	}
	q := other(1000)
	q.Agent = "another"
	ask(t, b, q) // is not to blame
	for n := range 6 {
		q := other(2000 + n)
		q.Agent, q.RequesterUID = "", 1000
		if _, err := b.Ask(context.Background(), q); errors.Is(err, ErrFlood) != (n == 5) {
			t.Errorf("question %d of uid 1000: %v", n, err)
		}
	}
	// What folds asks nobody anew.
	q = question("")
	for n := range 5 {
		q.Call = fmt.Sprint("f", n)
		q.Agent = "folding"
		ask(t, b, q)
	}
}

func TestBucket(t *testing.T) {
	now := time.Now()
	b := &bucket{}
	take := func(after time.Duration, want bool) {
		t.Helper()
		now = now.Add(after)
		if got := b.take(now, 2, time.Minute); got != want {
			t.Errorf("%v, want %v", got, want)
		}
	}
	take(0, true)
	take(0, true)
	take(0, false)
	take(59*time.Second, false)
	take(time.Second, true)
	take(0, false)
	take(24*time.Hour, true) // no more than two, ever
	take(0, true)
	take(0, false)
}

func TestFull(t *testing.T) {
	b := openBook(t, bookDir(t), Options{Burst: 1000, Pending: 5, PendingPerSession: 3})
	var ids []string
	for n := range 3 {
		ids = append(ids, ask(t, b, other(n)))
	}
	_, err := b.Ask(context.Background(), other(3))
	wantErr(t, err, ErrFull)
	elsewhere := func(n int) Question { q := other(n); q.Session = "s2"; return q }
	ask(t, b, elsewhere(4))
	ask(t, b, elsewhere(5))
	_, err = b.Ask(context.Background(), elsewhere(6))
	wantErr(t, err, ErrFull)
	answer(t, b, alice, ids[0], no)
	ask(t, b, other(7)) // there is room again
}

func TestWhatCantBeAsked(t *testing.T) {
	b := openBook(t, bookDir(t), Options{})
	for name, change := range map[string]func(*Question){
		"no call":               func(q *Question) { q.Call = "" },
		"no plan":               func(q *Question) { q.Plan = "" },
		"no requester":          func(q *Question) { q.Requester = "" },
		"no facts":              func(q *Question) { q.Facts = nil },
		"no such effect":        func(q *Question) { q.Effect = 99 },
		"a target of exec":      func(q *Question) { q.Target = "git" },
		"a path that climbs":    func(q *Question) { q.Effect, q.Target = policy.FSDelete, "../x" },
		"a path like a pattern": func(q *Question) { q.Effect, q.Target = policy.FSDelete, "docs/**" },
		"a path in no UTF-8":    func(q *Question) { q.Effect, q.Target = policy.FSDelete, "a\xff" },
		"an escape in a fact":   func(q *Question) { q.Facts = []Fact{{Name: "command", Value: "a\x1b[2J"}} },
		"a turn in a fact":      func(q *Question) { q.Facts = []Fact{{Name: "command\u202e", Value: "a"}} },
		"a gap in a digest":     func(q *Question) { q.Facts = []Fact{{Name: "a", Value: "a", Digest: "a\u200b"}} },
		"two lines in a rule":   func(q *Question) { q.Rule = "a\nb" },
		"a script in no UTF-8":  func(q *Question) { q.Script = "\xff" },
		"a session in no UTF-8": func(q *Question) { q.Session = "\xff" },
		"a long claim":          func(q *Question) { q.Claim = strings.Repeat("a", maxClaim+1) },
		"a negative quorum":     func(q *Question) { q.Quorum = -1 },
		"a negative time":       func(q *Question) { q.Within = -1 },
		"more than can be read": func(q *Question) { q.Facts = []Fact{{Name: "a", Value: strings.Repeat("a", maxQuestion)}} },
	} {
		q := question("c1")
		change(&q)
		if _, err := b.Ask(context.Background(), q); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := b.Ask(ended, question("c1"))
	wantErr(t, err, context.Canceled)
	if list := b.List(true); len(list) != 0 {
		t.Errorf("%+v", list)
	}
}

func TestGivingUp(t *testing.T) {
	b := openBook(t, bookDir(t), Options{})
	id := ask(t, b, question("c1"))
	ask(t, b, question("c2"))
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if o, err := b.Await(ended, id, "c1"); err != nil || o.State != Cancelled {
		t.Errorf("%+v %v", o, err)
	}
	if k := show(t, b, id); k.State != Pending || k.Count != 1 || !slices.Equal(k.Calls, []string{"c2"}) || k.Revision != 3 {
		t.Errorf("%+v", k)
	}
	_, err := b.Await(context.Background(), id, "c1")
	wantErr(t, err, ErrUnknown)
	late, cancel := context.WithDeadline(context.Background(), time.Now().Add(-1))
	defer cancel()
	if o, err := b.Await(late, id, "c2"); err != nil || o.State != Expired {
		t.Errorf("%+v %v", o, err)
	}
	if k := show(t, b, id); k.State != Expired {
		t.Errorf("%+v", k)
	}

	// A yes that came while nobody listened any more is not taken.
	id = ask(t, b, question("c3"))
	answer(t, b, alice, id, yes)
	if o, err := b.Await(ended, id, "c3"); err != nil || o.State != Cancelled {
		t.Errorf("%+v %v", o, err)
	}
}

// Each call is told once, also when it asks twice at once.
func TestOneOutcomeEach(t *testing.T) {
	b := openBook(t, bookDir(t), Options{})
	id := ask(t, b, question("c1"))
	var all sync.WaitGroup
	results := make(chan error, 8)
	for range 8 {
		all.Go(func() {
			_, err := b.Await(t.Context(), id, "c1")
			results <- err
		})
	}
	answer(t, b, alice, id, yes)
	all.Wait()
	close(results)
	told := 0
	for err := range results {
		if err == nil {
			told++
		} else {
			wantErr(t, err, ErrUnknown)
		}
	}
	if told != 1 {
		t.Errorf("told %d times", told)
	}
}

// A wall clock that stands, or goes back, keeps no ticket open.
func TestExpiryNeedsNoWallClock(t *testing.T) {
	c := newClock()
	b := openBook(t, bookDir(t), Options{Now: c.now, Expiry: 50 * time.Millisecond})
	id := ask(t, b, question("c1"))
	c.move(-24 * time.Hour)
	if o := outcome(t, b, id, "c1"); o.State != Expired || o.Reason == "" {
		t.Errorf("%+v", o)
	}
	q := question("c2")
	q.Within = time.Hour // more than there is
	id = ask(t, b, q)
	if o := outcome(t, b, id, "c2"); o.State != Expired {
		t.Errorf("%+v", o)
	}
}

func TestWithin(t *testing.T) {
	c := newClock()
	b := openBook(t, bookDir(t), Options{Now: c.now})
	q := question("c1")
	q.Within = time.Minute
	if k := show(t, b, ask(t, b, q)); !k.Expires.Equal(c.now().Add(time.Minute)) {
		t.Errorf("%+v", k)
	}
}

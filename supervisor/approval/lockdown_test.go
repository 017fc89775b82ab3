// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/raw"
)

func TestLockdown(t *testing.T) {
	dir := bookDir(t)
	b := openBook(t, dir, Options{})
	g := granted(t, b, grant)
	id := ask(t, b, other(1))
	changed := ask(t, b, other(2))
	answer(t, b, alice, changed, Answer{Verdict: Change, Args: raw.Of([]string{"x"})})
	s := subjectOf(question("c"))
	free := []string{"allow"}

	v, err := b.Lock("somebody\x1b is in")
	if err != nil || len(v.Tickets) != 1 || len(v.Grants) != 1 || b.Locked() == nil {
		t.Fatalf("%+v %v", v, err)
	}
	if again, err := b.Lock("again"); err != nil || len(again.Tickets) != 0 || b.Locked().Reason != "somebody\x1b is in" {
		t.Errorf("%+v %v", again, err)
	}
	check := func(b *Book) {
		t.Helper()
		if v := b.Use(s, asking); v.Decision != profiles.Deny {
			t.Errorf("%+v", v)
		}
		allowing := append(asking[:0:0], asking...)
		allowing[0].Decision = profiles.Decision(free[0])
		if v := b.Use(s, allowing); v.Decision != profiles.Deny {
			t.Errorf("what a profile allows: %+v", v)
		}
		if v, lines := b.Explain(s, asking); v.Decision != profiles.Deny || len(lines) == 0 {
			t.Errorf("%+v", v)
		}
		_, err := b.Ask(context.Background(), other(3))
		wantErr(t, err, ErrLocked)
		_, err = b.AskChanged(context.Background(), changed, other(3))
		wantErr(t, err, ErrLocked)
		_, err = b.Answer(alice, Answer{Ticket: id, Revision: 1, Verdict: Allow})
		wantErr(t, err, ErrLocked)
		if k := show(t, b, id); k.State != Void {
			t.Errorf("%+v", k)
		}
		if got := b.GrantOf(g.Ticket); got.Revoked == "" {
			t.Errorf("%+v", got)
		}
	}
	check(b)
	if o := outcome(t, b, id, "call-1"); o.State != Void || o.Reason == "" {
		t.Errorf("%+v", o)
	}
	closeBook(t, b)

	b = openBook(t, dir, Options{}) // a restart is no way out
	check(b)
	if err := b.Unlock(); err != nil {
		t.Fatal(err)
	}
	if b.Locked() != nil {
		t.Error("still locked")
	}
	if v := b.Use(s, asking); v.Decision != profiles.Ask {
		t.Errorf("the grant is back: %+v", v)
	}
	closeBook(t, b)
	b = openBook(t, dir, Options{})
	if v := b.Use(s, asking); v.Decision != profiles.Ask || b.Locked() != nil {
		t.Errorf("after unlock and restart: %+v, %+v", v, b.Locked())
	}
	if err := b.Unlock(); err != nil { // of nothing
		t.Error(err)
	}
}

// One file says it all: with that, a process that dies before it could write
// the tickets leaves nothing that counts.
func TestLockdownThatWasInterrupted(t *testing.T) {
	dir := bookDir(t)
	b := openBook(t, dir, Options{})
	g := granted(t, b, grant)
	file, err := os.ReadFile(b.file(g.Ticket))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Lock(""); err != nil {
		t.Fatal(err)
	}
	closeBook(t, b)
	if err := os.WriteFile(b.file(g.Ticket), file, 0o600); err != nil { // as it was before
		t.Fatal(err)
	}
	b = openBook(t, dir, Options{})
	if err := b.Unlock(); err != nil {
		t.Fatal(err)
	}
	closeBook(t, b)
	b = openBook(t, dir, Options{})
	if _, n := b.Counts(); n != 0 {
		t.Errorf("%d grants", n)
	}
}

// A record of a lockdown that can't be read is one.
func TestLockdownThatCantBeRead(t *testing.T) {
	dir := bookDir(t)
	closeBook(t, openBook(t, dir, Options{}))
	for _, text := range []string{"", "{", `{"reason": 1}`, `{"over": true}`} {
		if err := os.WriteFile(filepath.Join(dir, lockdownFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		b := openBook(t, dir, Options{})
		if b.Locked() == nil || len(b.Notes()) != 1 {
			t.Errorf("%q: %+v, %q", text, b.Locked(), b.Notes())
		}
		closeBook(t, b)
	}
}

// While questions and answers come from everywhere, nothing gets past it.
func TestLockdownInTheMiddle(t *testing.T) {
	dir := bookDir(t)
	b := openBook(t, dir, Options{Burst: 1 << 20, Pending: 1 << 20, PendingPerSession: 1 << 20})
	granted(t, b, grant)
	var all sync.WaitGroup
	begun := make(chan bool, 100)
	for w := range 4 {
		all.Go(func() {
			for i := 0; ; i++ {
				id, err := b.Ask(context.Background(), other(1000*w+i))
				if err != nil {
					wantErr(t, err, ErrLocked)
					return
				}
				if i == 5 {
					begun <- true
				}
				if i%2 == 0 {
					a := grant
					a.Ticket, a.Revision = id, 1
					_, _ = b.Answer(alice, a)
				}
			}
		})
	}
	for range 4 {
		<-begun
	}
	if _, err := b.Lock("now"); err != nil {
		t.Error(err)
	}
	if v := b.Use(subjectOf(question("c")), asking); v.Decision != profiles.Deny {
		t.Errorf("%+v", v)
	}
	all.Wait()
	if tickets, grants := b.Counts(); tickets+grants != 0 {
		t.Errorf("%d tickets and %d grants", tickets, grants)
	}
	if err := b.Unlock(); err != nil {
		t.Fatal(err)
	}
	if tickets, grants := b.Counts(); tickets+grants != 0 {
		t.Errorf("after unlock %d tickets and %d grants", tickets, grants)
	}
	closeBook(t, b)
	b = openBook(t, dir, Options{})
	if tickets, grants := b.Counts(); tickets+grants != 0 || len(b.Notes()) != 0 {
		t.Errorf("after a restart %d tickets and %d grants, %q", tickets, grants, b.Notes())
	}
}

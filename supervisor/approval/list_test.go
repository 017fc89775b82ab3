// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestShow(t *testing.T) {
	b := openBook(t, bookDir(t), Options{Burst: 100, PendingPerSession: 100})
	var first string
	for n := range 40 { // 40 ids of 32 beginnings: two begin alike
		id := ask(t, b, other(n))
		if !isID("", id) {
			t.Errorf("%q", id)
		}
		if n == 0 {
			first = id
		}
	}
	beginnings := map[byte]string{}
	for _, k := range b.List(false) {
		if prev := beginnings[k.ID[0]]; prev != "" {
			if _, err := b.Show(k.ID[:1]); err == nil {
				t.Errorf("%q is %s and %s", k.ID[:1], prev, k.ID)
			}
		}
		beginnings[k.ID[0]] = k.ID
	}
	typos := strings.NewReplacer("0", "O", "1", "L").Replace(strings.ToUpper(first))
	if k, err := b.Show(" " + typos + "\n"); err != nil || k.ID != first {
		t.Errorf("%s as %s: %v", first, typos, err)
	}
	if k, err := b.Show(first[:7]); err != nil || k.ID != first {
		t.Errorf("%s by its beginning: %v", first, err)
	}
	for _, id := range []string{"", " ", "u", first + "0"} {
		if _, err := b.Show(id); err == nil {
			t.Errorf("%q is shown", id)
		}
	}
}

func TestList(t *testing.T) {
	c := newClock()
	b := openBook(t, bookDir(t), Options{Now: c.now})
	var ids []string
	for n := range 3 {
		ids = append(ids, ask(t, b, other(n)))
		c.move(time.Minute)
	}
	answer(t, b, alice, ids[1], no)
	named := func(list []Ticket) (s string) {
		for _, k := range list {
			s += k.ID
		}
		return s
	}
	if got := named(b.List(false)); got != ids[0]+ids[2] {
		t.Errorf("%s of %v", got, ids)
	}
	if got := named(b.List(true)); got != ids[0]+ids[1]+ids[2] {
		t.Errorf("%s of %v", got, ids)
	}
	// What is given away can't change what is kept.
	k := show(t, b, ids[0])
	k.Facts[0].Value, k.Calls[0] = "x", "x"
	if k := show(t, b, ids[0]); k.Facts[0].Value == "x" || k.Calls[0] == "x" {
		t.Error("a copy was none")
	}
	c.move(8 * time.Minute)
	if got := named(b.List(false)); got != ids[2] { // the first is over by the clock
		t.Errorf("%s of %v", got, ids)
	}
}

func TestWatch(t *testing.T) {
	b := openBook(t, bookDir(t), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	changes := watch(t, b, ctx, 1)
	id := ask(t, b, question("c1"))
	ask(t, b, question("c2"))
	answer(t, b, alice, id, yes)
	for n, want := range []State{Pending, Pending, Allowed} {
		if k := <-changes; k.ID != id || k.Revision != n+1 || k.State != want {
			t.Errorf("%d: %+v", n, k)
		}
	}
	cancel()
	if k, more := <-changes; more {
		t.Errorf("%+v", k)
	}
	ask(t, b, other(1))

	slow := watch(t, b, t.Context(), 1)
	for n := 2; len(b.watchers) > 0; n++ {
		q := other(n)
		q.Agent = fmt.Sprint("agent", n)
		q.RequesterUID = uint32(n)
		answer(t, b, alice, ask(t, b, q), no)
	}
	told := 0
	for range slow {
		told++
	}
	if told != watchBuffer {
		t.Errorf("told %d times before it was closed", told)
	}
	last := watch(t, b, t.Context(), 1)
	closeBook(t, b)
	if _, more := <-last; more {
		t.Error("it goes on after the end")
	}
	_, err := b.Watch(t.Context(), 1)
	wantErr(t, err, ErrClosed)
}

// Nobody keeps others from watching, and there is an end to all.
func TestWatchers(t *testing.T) {
	b := openBook(t, bookDir(t), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	first := watch(t, b, ctx, 1)
	for range maxWatching - 1 {
		watch(t, b, t.Context(), 1)
	}
	_, err := b.Watch(t.Context(), 1)
	wantErr(t, err, ErrWatchers)
	second := watch(t, b, t.Context(), 2)
	id := ask(t, b, question("c1"))
	for _, w := range []<-chan Ticket{first, second} {
		if k := <-w; k.ID != id {
			t.Errorf("%+v", k)
		}
	}
	cancel()
	if _, more := <-first; more {
		t.Error("it goes on after its end")
	}
	watch(t, b, t.Context(), 1) // in its place
	for n := maxWatching + 1; n < maxWatchers; n++ {
		watch(t, b, t.Context(), uint32(1+n/maxWatching))
	}
	_, err = b.Watch(t.Context(), 5000)
	wantErr(t, err, ErrWatchers)
}

func TestClose(t *testing.T) {
	dir := bookDir(t)
	b := openBook(t, dir, Options{})
	id := ask(t, b, question("c1"))
	got := make(chan Outcome, 1)
	go func() {
		o, _ := b.Await(context.Background(), id, "c1")
		got <- o
	}()
	closeBook(t, b)
	if o := <-got; o.State != Void || o.Reason != Restart {
		t.Errorf("%+v", o)
	}
	closeBook(t, b) // twice is once
	_, err := b.Ask(context.Background(), question("c2"))
	wantErr(t, err, ErrClosed)
	_, err = b.Answer(alice, Answer{Ticket: id, Revision: 1, Verdict: Allow})
	wantErr(t, err, ErrClosed)
	_, err = b.Revoke("g-", "")
	wantErr(t, err, ErrClosed)
	_, err = b.Void("x", func(Ticket) bool { return true })
	wantErr(t, err, ErrClosed)
	wantErr(t, b.Unlock(), ErrClosed)
	if k := show(t, openBook(t, dir, Options{}), id); k.State != Void || k.Reason != Restart {
		t.Errorf("%+v", k)
	}
}

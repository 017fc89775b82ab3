// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clawsup/clawsup/profiles"
)

func (w *world) expire() {
	w.t.Helper()
	must(w.t, w.store.Expire(w.t.Context()))
}

func (w *world) state(id string) string {
	w.t.Helper()
	c, err := w.store.Find(id)
	if errors.Is(err, ErrUnknown) {
		return "none"
	}
	must(w.t, err)
	if c.Trash {
		return string(c.State) + " with trash"
	}
	return string(c.State)
}

func (w *world) wantStates(when string, want ...string) {
	w.t.Helper()
	for _, text := range want {
		id, state, _ := strings.Cut(text, "=")
		if got := w.state(id); got != state {
			w.t.Errorf("%s: %s is %s, want %s", when, id, got, state)
		}
	}
}

func (w *world) named(id string, do func(dir string) error) Change {
	w.t.Helper()
	return w.call(func(s *Start) { s.ID = id }, do)
}

// TestAge: what nobody decides is discarded, trash is emptied, and the records
// of both go.
func TestAge(t *testing.T) {
	w := newWorld(t, "a", "b")
	w.named("held", put("a", "1"))
	must(t, errFrom(w.store.Hold("held", "x")))
	w.named("committed", put("b", "1"))
	w.commit("committed", Choice{})
	w.named("discarded", put("b", "2"))
	must(t, errFrom(w.store.Discard(t.Context(), "discarded", "x", "x")))
	w.named("asking", put("b", "3"))
	must(t, w.store.Asked("asking", "ticket"))
	kept := w.call(in("s-1"), put("b", "4"))
	work := w.begin(func(s *Start) { s.ID = "working" })

	if e := w.change("held").Expires; !e.Equal(w.store.o.Now().Add(time.Hour)) {
		t.Errorf("expires %v", e)
	}
	w.pass(time.Hour - time.Nanosecond)
	w.expire()
	w.wantStates("before", "held=held", "committed=committed with trash", "discarded=discarded", "asking=asking", kept.ID+"=writing", "working=writing")
	w.pass(time.Nanosecond)
	w.expire()
	w.wantStates("then", "held=discarded", "committed=committed", "discarded=none", "asking=asking", kept.ID+"=discarded", "working=writing")
	if c := w.change("held"); c.By != byRetention || c.Reason != "nobody decided within 1h0m0s" || c.Bytes != 0 {
		t.Errorf("%+v", c)
	}
	if c := w.change("committed"); c.Bytes != 0 || c.Report == nil {
		t.Errorf("%+v", c)
	}
	if err := errFrom(w.store.Undo(t.Context(), "committed", nil, "x")); !errors.Is(err, ErrNoTrash) {
		t.Error(err)
	}
	w.want("a=a", "b=1")
	w.pass(time.Hour)
	w.expire()
	w.wantStates("at last", "held=none", "committed=none", "asking=asking", "working=writing")
	must(t, work.Abandon())
	must(t, errFrom(w.store.Hold("asking", "x")))
	if next := w.call(in("s-1"), put("b", "5")); next.ID == kept.ID {
		t.Error("a call goes on in what was discarded")
	}
}

// TestNoRoomMeanwhile: what is about to be decided isn't taken away.
func TestNoRoomMeanwhile(t *testing.T) {
	w := newWorld(t, "a")
	c := w.call(nil, put("a", "new"))
	w.bound(func(b *Bounds) { b.Max = 0 })
	w.expire()
	w.wantStates("listed", c.ID+"=held")
	must(t, w.store.Asked(c.ID, "ticket"))
	w.expire()
	w.wantStates("asked", c.ID+"=asking")
	must(t, errFrom(w.store.Hold(c.ID, "x")))
	w.expire()
	w.wantStates("held", c.ID+"=discarded")
}

// TestRoom: the oldest goes first, until the rest has room.
func TestRoom(t *testing.T) {
	w := newWorld(t, "a", "b")
	big := strings.Repeat("x", 1<<20)
	for _, id := range []string{"one", "two", "three"} {
		w.named(id, put("a", big+id))
		must(t, errFrom(w.store.Hold(id, "x")))
		w.pass(time.Second)
	}
	w.named("four", put("b", big))
	w.commit("four", Choice{})
	w.pass(time.Second)
	w.named("five", put("b", "small"))
	w.commit("five", Choice{}) // has the large one in its trash
	each := w.change("one").Bytes
	if each < 1<<20 || w.change("five").Bytes < 1<<20 || w.change("four").Bytes > 1<<12 {
		t.Errorf("%d, %d, %d", each, w.change("four").Bytes, w.change("five").Bytes)
	}
	sum := func() (n int64) {
		list, err := w.store.List()
		must(t, err)
		for _, c := range list {
			n += c.Bytes
		}
		return n
	}
	all := sum()
	w.bound(func(b *Bounds) { b.Max = all })
	w.expire()
	w.wantStates("all have room", "one=held", "two=held", "three=held", "four=committed with trash", "five=committed with trash")
	w.bound(func(b *Bounds) { b.Max = all - 1 })
	w.expire()
	w.wantStates("too much by a byte", "one=discarded", "two=held", "three=held", "four=committed with trash", "five=committed with trash")
	if c := w.change("one"); c.By != byRetention || !strings.Contains(c.Reason, "oldest") {
		t.Errorf("%+v", c)
	}
	w.bound(func(b *Bounds) { b.Max = 0 })
	w.expire()
	w.wantStates("no room", "one=discarded", "two=discarded", "three=discarded", "four=committed with trash", "five=committed with trash")
	w.pass(time.Hour / 8)
	w.expire()
	w.wantStates("no room after a while", "one=discarded", "two=discarded", "three=discarded", "four=committed", "five=committed")
	if n := sum(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
	w.want("b=small")
}

// TestRoomIsNotTakenAway: who fills the room without asking anybody loses their own,
// and not what a person agreed to, or what somebody else has.
func TestRoomIsNotTakenAway(t *testing.T) {
	w := newWorld(t, "thesis")
	big := strings.Repeat("x", 1<<20)
	by := func(agent, id string) func(s *Start) {
		return func(s *Start) { s.Agent, s.ID, s.Session = agent, id, "s-1" }
	}
	asked := w.call(by("flood", "asked"), erase("thesis"))
	if j := w.judge(asked, Question{}); j.Decision != profiles.Ask {
		t.Errorf("%+v", j)
	}
	w.commit("asked", Choice{})
	w.pass(time.Second)
	held := func(agent, id string) {
		w.call(by(agent, id), put("new", big+id))
		must(t, errFrom(w.store.Hold(id, "x")))
		w.pass(time.Second)
	}
	w.call(by("other", "mine"), put("new", "small"))
	must(t, errFrom(w.store.Hold("mine", "x")))
	w.pass(time.Second)
	w.bound(func(b *Bounds) { b.Max = 6 << 20 })
	for _, id := range []string{"1", "2", "3", "4", "5", "6", "7"} {
		held("flood", id)
		w.expire()
	}
	w.wantStates("a flood of what is held", "asked=committed with trash", "mine=held", "1=discarded", "2=discarded", "7=held")

	for _, id := range []string{"8", "9", "10", "11", "12", "13", "14"} { // each has the one before in its trash
		c := w.call(by("flood", id), put("own", big+id))
		if j := w.judge(c, Question{}); j.Decision != profiles.Allow {
			t.Fatalf("%+v", j)
		}
		w.commit(id, Choice{})
		w.pass(time.Second)
		w.expire()
	}
	w.wantStates("a flood of trash", "asked=committed with trash", "mine=held", "9=committed", "14=committed with trash")
	must(t, errFrom(w.store.TakeBack(t.Context(), "asked", nil, "a person", false)))
	w.want("own="+big+"14", "thesis=thesis")
}

// TestRoomOfHoles: what a sparse file seems to have is no room.
func TestRoomOfHoles(t *testing.T) {
	w := newWorld(t, "a", "d/b")
	for _, name := range []string{"a", "d/b"} {
		must(t, os.Truncate(filepath.Join(w.workspace, name), 1<<30))
	}
	c := w.call(nil, then(erase("a"), erase("d")))
	w.commit(c.ID, Choice{})
	if n := w.change(c.ID).Bytes; n <= 0 || n > 1<<20 {
		t.Errorf("the trash takes %d bytes", n)
	}
}

func TestEmpty(t *testing.T) {
	w := newWorld(t, "a", "b", "c")
	for _, id := range []string{"a", "b", "c"} {
		w.named(id, put(id, "new"))
		w.commit(id, Choice{})
		w.pass(time.Minute)
	}
	moment := w.change("b").Ended
	n, err := w.store.Empty(t.Context(), "c", moment)
	if err != nil || n != 0 {
		t.Errorf("too young: %d, %v", n, err)
	}
	n, err = w.store.Empty(t.Context(), "", moment)
	if err != nil || n != 2 {
		t.Errorf("%d, %v", n, err)
	}
	w.wantStates("emptied", "a=committed", "b=committed", "c=committed with trash")
	if n, err := w.store.Empty(t.Context(), "c", w.store.o.Now()); err != nil || n != 1 {
		t.Errorf("%d, %v", n, err)
	}
	if err := errFrom(w.store.Empty(t.Context(), "d", moment)); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Join(w.store.path("a"), commitName, "trash")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestUndoneAfterward: what brings back what isn't there any more fails whole.
func TestUndoneAfterward(t *testing.T) {
	w := newWorld(t, "a")
	c := w.named("call", put("a", "new"))
	w.commit(c.ID, Choice{})
	u, err := w.store.Undo(t.Context(), c.ID, nil, "x")
	must(t, err)
	if u.State != Held || u.Undoes != c.ID || w.entries(u.ID) != "modified a" {
		t.Errorf("%+v, %s", u, w.entries(u.ID))
	}
	_, before, after, err := w.store.Contents(u.ID, "a")
	must(t, err)
	must(t, errors.Join(before.Close(), after.Close()))
	_, err = w.store.Empty(t.Context(), c.ID, w.store.o.Now())
	must(t, err)
	if got, err := w.store.Commit(t.Context(), u.ID, Choice{}, "x"); !errors.Is(err, ErrNoTrash) || got.State != Held {
		t.Errorf("%+v, %v", got, err)
	}
	w.want("a=new")
}

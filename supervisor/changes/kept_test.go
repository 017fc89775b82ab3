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

// in has a call go on in a session.
func in(session string) func(s *Start) {
	return func(s *Start) { s.Session, s.Keep = session, true }
}

// TestKeep: several calls, one change set at the end.
func TestKeep(t *testing.T) {
	w := newWorld(t, "a", "b")
	c := w.call(in("s-1"), put("a", "first"))
	if c.State != Writing || c.Count.Modified != 1 || c.Digest != "" || len(c.Calls) != 1 || c.ID == c.Calls[0] {
		t.Errorf("%+v", c)
	}
	w.reopen() // another process goes on
	second := w.call(in("s-1"), then(put("b", "second"), func(dir string) error {
		text, err := os.ReadFile(filepath.Join(dir, "a"))
		if err == nil && string(text) != "first" {
			err = errors.New("the second call doesn't see what the first wrote")
		}
		return err
	}))
	if second.ID != c.ID || len(second.Calls) != 2 || second.Count.Modified != 2 {
		t.Errorf("%+v", second)
	}
	if got := w.entries(c.ID); got != "modified a, modified b" {
		t.Error(got)
	}
	if got := w.change(c.ID); got.State != Writing || got.Expires.IsZero() {
		t.Errorf("to look at it made it %+v", got)
	}
	w.want("a=a", "b=b")

	for name, other := range map[string]func(s *Start){
		"session":   in("s-2"),
		"requester": func(s *Start) { in("s-1")(s); s.Requester = "uid 7" },
		"agent":     func(s *Start) { in("s-1")(s); s.Agent = "claw" },
		"alone":     func(s *Start) { s.Session = "s-1" },
	} {
		if o := w.call(other, put("a", name)); o.ID == c.ID {
			t.Errorf("another %s goes on in it", name)
		}
	}
	done := w.commit(c.ID, Choice{})
	if done.Count.Modified != 2 || done.Digest == "" {
		t.Errorf("%+v", done)
	}
	w.want("a=first", "b=second")
	if third := w.call(in("s-1"), put("a", "third")); third.ID == c.ID || third.State != Writing {
		t.Errorf("after it was committed: %+v", third)
	}
}

// TestKeepOneByOne: a call waits for the end of the one before it.
func TestKeepOneByOne(t *testing.T) {
	w := newWorld(t, "a")
	first := w.begin(in("s-1"))
	s := w.start()
	in("s-1")(&s)
	if _, err := w.store.Begin(gone(), s); !errors.Is(err, ErrBusy) {
		t.Errorf("two at once: %v", err)
	}
	if _, err := w.store.Set(t.Context(), first.ID()); !errors.Is(err, ErrBusy) {
		t.Errorf("listed under a call: %v", err)
	}
	w.bound(func(b *Bounds) { b.Wait = time.Millisecond })
	for name, err := range map[string]error{
		"commit":  errFrom(w.store.Commit(t.Context(), first.ID(), Choice{}, "x")),
		"discard": errFrom(w.store.Discard(t.Context(), first.ID(), "x", "x")),
		"forget":  w.store.Forget(t.Context(), "s-1"),
	} {
		if !errors.Is(err, ErrBusy) {
			t.Errorf("%s under a call: %v", name, err)
		}
	}
	begun := make(chan *Work)
	go func() {
		work, err := w.store.Begin(t.Context(), s)
		if err != nil {
			t.Error(err)
		}
		begun <- work
	}()
	must(t, write(first, w.workspace, w.stage(), put("a", "b")))
	_, err := first.End(t.Context())
	must(t, err)
	second := <-begun
	if second.ID() != first.ID() {
		t.Errorf("%s, %s", first.ID(), second.ID())
	}
	must(t, second.Abandon())
	if got := w.change(first.ID()); got.State != Writing || len(got.Calls) != 1 {
		t.Errorf("%+v", got)
	}
	if got := w.entries(first.ID()); got != "modified a" {
		t.Error(got)
	}
}

// TestKeepNothing: one that came to nothing is gone, and the next is another.
func TestKeepNothing(t *testing.T) {
	w := newWorld(t, "a")
	work := w.begin(in("s-1"))
	must(t, work.Abandon())
	c := w.call(in("s-1"), func(string) error { return nil })
	if c.State != Discarded {
		t.Errorf("%+v", c)
	}
	c = w.call(in("s-1"), put("a", "b"))
	d := w.call(in("s-1"), put("a", "a")) // as it was
	if d.ID != c.ID || d.State != Discarded {
		t.Errorf("%+v", d)
	}
	if _, err := w.store.Find(c.ID); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	if list, err := w.store.List(); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	s := w.start()
	s.Keep = true
	if _, err := w.store.Begin(t.Context(), s); err == nil {
		t.Error("kept without a session")
	}
}

func TestForget(t *testing.T) {
	w := newWorld(t, "a")
	c := w.call(in("s-1"), put("a", "b"))
	other := w.call(in("s-2"), put("a", "c"))
	must(t, w.store.Forget(t.Context(), "s-1"))
	if got := w.change(c.ID); got.State != Held || !strings.Contains(got.Reason, "session") || got.Digest == "" {
		t.Errorf("%+v", got)
	}
	if got := w.change(other.ID); got.State != Writing {
		t.Errorf("%+v", got)
	}
	left, err := os.ReadDir(filepath.Join(w.dir, "changes", sessionsName))
	must(t, err)
	if len(left) != 1 || left[0].Name() != "s-2" {
		t.Errorf("%v", left)
	}
	must(t, w.store.Forget(t.Context(), "s-3"))
	w.commit(c.ID, Choice{})
	w.want("a=b")
}

// TestLedger: what a session made it may change, by identity and content.
func TestLedger(t *testing.T) {
	w := newWorld(t, "old", "dir/old")
	mine := func(s *Start) { s.Session = "s-1" }
	file := func(name string) string { return filepath.Join(w.workspace, name) }
	decide := func(session func(*Start), do func(string) error) (profiles.Decision, Change) {
		t.Helper()
		c := w.call(session, do)
		return w.judge(c, Question{}).Decision, c
	}
	expect := func(what string, want profiles.Decision, session func(*Start), do func(string) error) Change {
		t.Helper()
		d, c := decide(session, do)
		if d != want {
			t.Errorf("%s: %s, want %s", what, d, want)
		}
		return c
	}
	drop := func(c Change) { t.Helper(); must(t, errFrom(w.store.Discard(t.Context(), c.ID, "x", ""))) }

	w.commit(expect("something new", profiles.Allow, mine, then(put("new", "1"), put("made/x", "1"), put("made/sub/y", "1"),
		func(dir string) error { return os.Symlink("x", filepath.Join(dir, "made/link")) })).ID, Choice{})
	drop(expect("what was there before", profiles.Ask, mine, put("old", "2")))
	drop(expect("another session", profiles.Ask, func(s *Start) { s.Session = "s-2" }, put("new", "2")))
	drop(expect("no session", profiles.Ask, nil, put("new", "2")))
	drop(expect("its own, removed", profiles.Allow, mine, then(erase("new"), erase("made"))))
	drop(expect("its own directory, moved", profiles.Allow, mine, func(dir string) error { return os.Rename(filepath.Join(dir, "made"), filepath.Join(dir, "moved")) }))
	w.commit(expect("its own, changed", profiles.Allow, mine, put("new", "2")).ID, Choice{})

	must(t, os.WriteFile(file("new"), []byte("person"), 0o644))
	drop(expect("what a person wrote since", profiles.Ask, mine, put("new", "3")))
	must(t, os.WriteFile(file("new"), []byte("2"), 0o644))
	drop(expect("as it was again", profiles.Allow, mine, put("new", "3")))
	must(t, os.Remove(file("new")))
	must(t, os.WriteFile(file("other"), []byte("2"), 0o644)) // so that the inode isn't given again
	must(t, os.WriteFile(file("new"), []byte("2"), 0o644))
	must(t, os.Remove(file("other")))
	w.chown()
	d, c := decide(mine, put("new", "3"))
	if set, err := w.store.Set(t.Context(), c.ID); err != nil || d != profiles.Ask {
		// unless the file system gave the very inode again: then identity and content are the same
		t.Errorf("another file with its name and content: %s, %+v, %v", d, set, err)
	}
	drop(c)
	must(t, os.WriteFile(file("made/theirs"), []byte("person"), 0o644))
	w.chown()
	drop(expect("its directory with another's file, removed", profiles.Ask, mine, erase("made")))
	drop(expect("its directory with another's file, moved", profiles.Ask, mine, func(dir string) error { return os.Rename(filepath.Join(dir, "made"), filepath.Join(dir, "moved")) }))
	must(t, os.Remove(file("made/theirs")))
	drop(expect("its directory as it was", profiles.Allow, mine, erase("made")))
	drop(expect("a directory of before, moved", profiles.Ask, mine, func(dir string) error { return os.Rename(filepath.Join(dir, "dir"), filepath.Join(dir, "moved")) }))

	// A yes to one change makes nothing its own.
	w.commit(expect("what was there before", profiles.Ask, mine, put("old", "agreed")).ID, Choice{})
	drop(expect("what it was allowed to change once", profiles.Ask, mine, put("old", "3")))
	drop(expect("the same, removed", profiles.Ask, mine, erase("old")))

	w.commit(expect("something protected", profiles.Ask, mine, put("Makefile", "all:")).ID, Choice{})
	drop(expect("its own, and protected", profiles.Ask, mine, put("Makefile", "evil:")))

	must(t, w.store.Forget(t.Context(), "s-1"))
	drop(expect("after it was forgotten", profiles.Ask, mine, put("old", "3")))
}

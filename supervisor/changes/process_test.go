// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A child opens the same store as the test, does what its role is, says so, and
// is killed.

// inWorld opens a test's world in a child.
func inWorld(dir string) (*world, error) {
	w := &world{dir: dir, workspace: filepath.Join(dir, "workspace"), now: time.Now(), bounds: Bounds{Keep: time.Hour, Max: 1 << 40, Wait: time.Minute}}
	var err error
	w.store, err = Open(context.Background(), w.options())
	return w, err
}

// goTo is a child's role: dir, a step, and the start.
func goTo(args []string) error {
	w, err := inWorld(args[0])
	if err != nil {
		return err
	}
	var start Start
	if err := json.Unmarshal([]byte(args[2]), &start); err != nil {
		return err
	}
	work, err := w.store.Begin(context.Background(), start)
	if err != nil {
		return err
	}
	for _, do := range []struct {
		step string
		do   func() error
	}{
		{"begun", func() error { return nil }},
		{"written", func() error { return write(work, w.workspace, w.stage(), then(put("a", "child"), put("new", "child"))) }},
		{"ended", func() error { return errFrom(work.End(context.Background())) }},
		{"asked", func() error { return w.store.Asked(work.ID(), "ticket") }},
		{"committed", func() error { return errFrom(w.store.Commit(context.Background(), work.ID(), Choice{}, "child")) }},
	} {
		if err := do.do(); err != nil {
			return fmt.Errorf("%s: %w", do.step, err)
		}
		if do.step == args[1] {
			return sayAndStay(do.step)
		}
	}
	return errors.New("unknown step")
}

// childAt starts a child whose call comes to a step.
func (w *world) childAt(step string, change func(s *Start)) (kill func(), id string) {
	w.t.Helper()
	start := w.start()
	if change != nil {
		change(&start)
	}
	text, err := json.Marshal(start)
	must(w.t, err)
	cmd, say := child(w.t, "call", w.dir, step, string(text))
	if got := say(); got != step {
		w.t.Fatalf("the child said %q, and not %s", got, step)
	}
	return func() {
		must(w.t, cmd.Process.Kill())
		_ = cmd.Wait()
	}, start.ID
}

// TestKilled: whatever a process was at when it was killed, the next finds
// nothing lost and nothing half-done.
func TestKilled(t *testing.T) {
	for _, c := range []struct {
		step   string
		state  State // empty: gone
		reason string
	}{
		{"begun", "", ""},
		{"written", Held, cutOff},
		{"ended", Held, "nobody has decided yet"},
		{"asked", Held, "before there was an answer"},
		{"committed", Committed, ""},
	} {
		for _, keep := range []bool{false, true} {
			if keep && c.step != "begun" && c.step != "written" {
				continue
			}
			w := newWorld(t, "a")
			kill, id := w.childAt(c.step, func(s *Start) {
				if keep {
					in("s-1")(s)
				}
			})
			if keep {
				list, err := w.store.List()
				must(t, err)
				id = list[0].ID
			}
			other := w.open() // while it is at it
			if before, err := other.Find(id); err != nil || c.state == "" && before.State != Writing || c.step == "asked" && before.State != Asking {
				t.Errorf("%s: somebody else's open made it %+v, %v", c.step, before, err)
			}
			kill()
			w.reopen()
			got, err := w.store.Find(id)
			if c.state == "" {
				if !errors.Is(err, ErrUnknown) {
					t.Errorf("%s: %+v, %v", c.step, got, err)
				}
				continue
			}
			if err != nil || got.State != c.state || !strings.Contains(got.Reason, c.reason) {
				t.Errorf("%s: %+v, %v", c.step, got, err)
			}
			if c.state == Held {
				w.want("a=a", "new=nothing")
				w.commit(id, Choice{})
			}
			w.want("a=child", "new=child")
			must(t, errFrom(w.store.TakeBack(t.Context(), id, nil, "x", false)))
			w.want("a=a", "new=nothing")
			if next := w.call(func(s *Start) { in("s-1")(s) }, put("a", "next")); next.ID == id {
				t.Errorf("%s: a call goes on in what was cut off", c.step)
			}
		}
	}
}

// TestKilledInBetween: a kept change set whose process ended between two calls
// goes on.
func TestKilledInBetween(t *testing.T) {
	w := newWorld(t, "a")
	kill, _ := w.childAt("ended", in("s-1"))
	kill()
	w.reopen()
	c := w.call(in("s-1"), put("b", "parent"))
	if c.State != Writing || len(c.Calls) != 2 || w.entries(c.ID) != "modified a, created b, created new" {
		t.Errorf("%+v, %s", c, w.entries(c.ID))
	}
}

// TestNotGoneOnWith: a call doesn't go on in what another left half-done.
func TestNotGoneOnWith(t *testing.T) {
	w := newWorld(t, "a")
	kill, _ := w.childAt("written", in("s-1"))
	list, err := w.store.List()
	must(t, err)
	kill()
	c := w.call(in("s-1"), put("b", "parent"))
	if c.ID == list[0].ID || w.entries(c.ID) != "created b" {
		t.Errorf("%+v, %s", c, w.entries(c.ID))
	}
	if got := w.change(list[0].ID); got.State != Held || got.Reason != cutOff {
		t.Errorf("%+v", got)
	}
	kill, _ = w.childAt("begun", in("s-2"))
	kill()
	if c := w.call(in("s-2"), put("b", "parent")); c.State != Writing || len(c.Calls) != 1 {
		t.Errorf("%+v", c)
	}
}

// TestOfAnother: what a living process is at work on can't be decided.
func TestOfAnother(t *testing.T) {
	w := newWorld(t, "a")
	kill, id := w.childAt("written", nil)
	w.bound(func(b *Bounds) { b.Wait = time.Millisecond })
	for name, err := range map[string]error{
		"commit":   errFrom(w.store.Commit(t.Context(), id, Choice{}, "x")),
		"discard":  errFrom(w.store.Discard(t.Context(), id, "x", "x")),
		"hold":     errFrom(w.store.Hold(id, "x")),
		"set":      errFrom(w.store.Set(t.Context(), id)),
		"contents": func() error { _, _, _, err := w.store.Contents(id, "a"); return err }(),
	} {
		if !errors.Is(err, ErrBusy) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// It is old and large, and somebody's.
	w.bound(func(b *Bounds) { b.Max = 0 })
	w.pass(100 * time.Hour)
	must(t, w.store.Expire(t.Context()))
	if got := w.change(id); got.State != Writing {
		t.Errorf("%+v", got)
	}
	// Who waits goes on when the other is killed.
	w.bound(func(b *Bounds) { b.Wait, b.Max = time.Minute, 1<<40 })
	held := make(chan error)
	go func() { held <- errFrom(w.store.Hold(id, "it was waited for")) }()
	kill()
	must(t, <-held)
	if got := w.change(id); got.State != Held || w.entries(id) != "modified a, created new" {
		t.Errorf("%+v, %s", got, w.entries(id))
	}
}

// TestKilledBesides: a store that goes on looks after what another process
// left, too.
func TestKilledBesides(t *testing.T) {
	w := newWorld(t, "a")
	kill, id := w.childAt("written", nil)
	must(t, w.store.Expire(t.Context()))
	if got := w.change(id); got.State != Writing {
		t.Errorf("%+v", got)
	}
	kill()
	must(t, w.store.Expire(t.Context()))
	if got := w.change(id); got.State != Held || got.Reason != cutOff {
		t.Errorf("%+v", got)
	}
	w.commit(id, Choice{})
	w.want("a=child")

	// What can't be listed is kept as long as all else, and no longer.
	kill, id = w.childAt("written", nil)
	kill()
	aside := filepath.Join(w.dir, "aside")
	must(t, os.Rename(w.workspace, aside))
	if err := w.store.Expire(t.Context()); !errors.Is(err, ErrReplaced) {
		t.Error(err)
	}
	w.wantStates("listed later", id+"=writing")
	w.pass(2 * time.Hour)
	must(t, w.store.Expire(t.Context()))
	if got := w.change(id); got.State != Discarded || !strings.Contains(got.Reason, "could not be listed") {
		t.Errorf("%+v", got)
	}
	must(t, os.Rename(aside, w.workspace))
	w.want("a=child")
}

// committing is a child's role: it commits a change set.
func committing(args []string) error {
	w, err := inWorld(args[0])
	if err != nil {
		return err
	}
	fmt.Println("ready")
	err = errFrom(w.store.Commit(context.Background(), args[1], Choice{}, "child"))
	if errors.Is(err, ErrOver) {
		return sayAndStay("over")
	}
	if err != nil {
		return err
	}
	return sayAndStay("committed")
}

// TestOneOfTwoProcesses decides.
func TestOneOfTwoProcesses(t *testing.T) {
	for i := range 6 {
		w := newWorld(t, "a")
		c := w.call(nil, put("a", "new"))
		must(t, w.store.Close())
		w.store = w.open()
		_, say := child(t, "commit", w.dir, c.ID)
		if line := say(); line != "ready" {
			t.Fatal(line)
		}
		var err error
		if i%2 == 0 {
			_, err = w.store.Discard(t.Context(), c.ID, "parent", "x")
		} else {
			_, err = w.store.Commit(t.Context(), c.ID, Choice{}, "parent")
		}
		theirs := say()
		if err != nil && !errors.Is(err, ErrOver) || (err == nil) == (theirs == "committed") {
			t.Errorf("%v, and the child: %s", err, theirs)
		}
		got := w.change(c.ID)
		if want := map[bool]string{true: "parent", false: "child"}[err == nil]; got.By != want || !got.State.Over() {
			t.Errorf("%+v, want by %s", got, want)
		}
	}
}

// TestKilledInCommit: a commit that is cut off has happened, or hasn't.
func TestKilledInCommit(t *testing.T) {
	back := 0 // rounds in which it was taken back
	defer func() { t.Logf("%d commits were taken back", back) }()
	for round := range 12 {
		w := newWorld(t, "a")
		var names []string
		for i := range 60 {
			names = append(names, fmt.Sprintf("d%d/f%d", i%7, i))
		}
		plant(t, w.workspace, names...)
		w.chown()
		before := w.tree()
		var all []func(dir string) error
		for i, n := range names {
			if i%3 == 0 {
				all = append(all, erase(n))
			} else {
				all = append(all, put(n, "new"))
			}
		}
		c := w.call(nil, then(all...))
		must(t, w.store.Close())
		cmd, say := child(t, "commit", w.dir, c.ID)
		// The moment of the kill differs with the round: when a line of the
		// child has been read, the journal is there, it is so long, it is done.
		if line := say(); line != "ready" {
			t.Fatal(line)
		}
		journal := filepath.Join(w.dir, "changes", c.ID, commitName, "journal")
		over := make(chan struct{})
		var once sync.Once
		go func() {
			say()
			once.Do(func() { close(over) })
		}()
		for done := false; !done && round > 0; {
			st, err := os.Lstat(journal)
			done = err == nil && st.Size() >= int64(round-1)*4096
			select {
			case <-over:
				done = true
			default:
			}
		}
		must(t, cmd.Process.Kill())
		_ = cmd.Wait()
		<-over
		by := "child"
		if e, err := readEntry(w.store.path(c.ID)); err == nil && round%2 == 1 && !e.State.Over() {
			// What a power loss leaves: the record of before.
			e.Trying, e.By, by = false, "", "the machine stopped before it was noted who"
			must(t, e.note(w.store.path(c.ID)))
		}
		w.store = w.open()
		switch got := w.change(c.ID); got.State {
		case Held:
			back++
			if after := w.tree(); after != before {
				t.Errorf("round %d: held, and changed:\n%s", round, after)
			}
			w.commit(c.ID, Choice{})
		case Committed:
			if got.Report == nil || got.Report.Applied != len(names) || !got.Trash || got.By != by {
				t.Errorf("round %d: %+v, %+v", round, got, got.Report)
			}
		default:
			t.Errorf("round %d: %+v", round, got)
		}
		w.want("d0/f0=nothing", "d1/f1=new", "d3/f59=new")
		must(t, errFrom(w.store.TakeBack(t.Context(), c.ID, nil, "x", false)))
		if after := w.tree(); after != before {
			t.Errorf("round %d: taken back:\n%s\nbefore:\n%s", round, after, before)
		}
	}
}

// TestUnreadable: a record that can't be believed is set aside, and nothing of
// it is removed.
func TestUnreadable(t *testing.T) {
	w := newWorld(t, "a")
	c := w.call(nil, put("a", "b"))
	must(t, errFrom(w.store.Hold(c.ID, "x")))
	record := filepath.Join(w.store.path(c.ID), recordName)
	good, err := os.ReadFile(record)
	must(t, err)
	for name, text := range map[string]string{
		"torn":    string(good[:len(good)/2]),
		"state":   strings.Replace(string(good), `"held"`, `"approved"`, 1),
		"another": strings.Replace(string(good), c.ID, "cs-other", 1),
		"field":   strings.Replace(string(good), "{", `{"approved": true,`, 1),
	} {
		must(t, os.WriteFile(record, []byte(text), 0o600))
		if err := errFrom(w.store.Commit(t.Context(), c.ID, Choice{}, "x")); err == nil {
			t.Errorf("%s: committed", name)
		}
		w.reopen()
		aside := filepath.Join(w.dir, "changes", unread+c.ID)
		if _, err := os.Lstat(filepath.Join(aside, imageName)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if list, err := w.store.List(); err != nil || len(list) != 0 {
			t.Errorf("%s: %+v, %v", name, list, err)
		}
		must(t, os.WriteFile(filepath.Join(aside, recordName), good, 0o600))
		must(t, os.Rename(aside, w.store.path(c.ID)))
	}
	// Entries that are others than were listed, and judged.
	set := filepath.Join(w.store.path(c.ID), setName)
	text, err := os.ReadFile(set)
	must(t, err)
	must(t, os.WriteFile(set, []byte(strings.Replace(string(text), `"a"`, `"z"`, 1)), 0o600))
	if err := errFrom(w.store.Commit(t.Context(), c.ID, Choice{}, "x")); err == nil || !strings.Contains(err.Error(), "others than were listed") {
		t.Error(err)
	}
	w.want("a=a", "z=nothing")
}

// TestHalfMade: what a process left that was killed while it made a change set.
func TestHalfMade(t *testing.T) {
	w := newWorld(t, "a")
	p, err := w.store.create("cs-new")
	must(t, err)
	q, err := w.store.create("cs-held")
	must(t, err)
	must(t, os.Mkdir(filepath.Join(w.dir, "changes", making+"x"), 0o700))
	must(t, os.MkdirAll(filepath.Join(w.dir, "changes", going+"y", "commit", "trash", "z"), 0o700))
	p.lock.release()
	other := w.open()
	names, err := os.ReadDir(filepath.Join(w.dir, "changes"))
	must(t, err)
	var left []string
	for _, n := range names {
		left = append(left, n.Name())
	}
	if got, want := strings.Join(left, " "), ".blanks .sessions cs-held"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	q.lock.release()
	must(t, other.Close())
}

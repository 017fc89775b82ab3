// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/policy"
)

// TestFlow is what the whole is for: a call tidies up, a person keeps one file
// of what it deleted, and takes the rest back later.
func TestFlow(t *testing.T) {
	w := newWorld(t, "letters/old", "letters/new", "notes")
	before := w.tree()
	c := w.call(nil, then(erase("letters"), put("report/today", "tidied"), put("notes", "short")))
	if w.tree() != before {
		t.Error("the call touched the workspace")
	}
	if c.State != Held || c.Count.Deleted != 3 || c.Count.Created != 2 || c.Count.Modified != 1 || c.Digest == "" || c.Bytes == 0 || c.Expires.IsZero() {
		t.Errorf("%+v", c)
	}
	if got, want := w.entries(c.ID), "deleted letters, deleted letters/new, deleted letters/old, modified notes, created report, created report/today"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	j := w.judge(c, Question{})
	if j.Decision != profiles.Ask || j.Effect != policy.FSDelete || j.Rule != "delete" || j.Quorum != 1 || !strings.HasPrefix(j.Target, "letters") {
		t.Errorf("%+v", j)
	}
	must(t, w.store.Asked(c.ID, "ticket-1"))
	if c := w.change(c.ID); c.State != Asking || c.Ticket != "ticket-1" {
		t.Errorf("%+v", c)
	}
	c = w.commit(c.ID, Choice{Refuse: paths("letters/old")})
	if c.State != Committed || !c.Trash || c.By != "a test" || c.Report == nil || c.Report.Applied == 0 || len(c.Report.Refused) == 0 || c.Ended.IsZero() {
		t.Errorf("%+v", c)
	}
	w.want("letters/old=letters/old", "letters/new=nothing", "notes=short", "report/today=tidied")
	if list, err := w.store.Trash(c.ID); err != nil || len(list) == 0 {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := os.Lstat(filepath.Join(w.store.path(c.ID), imageName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its layer is there still: %v", err)
	}

	dry, err := w.store.TakeBack(t.Context(), c.ID, nil, "a test", true)
	must(t, err)
	if dry.State != Discarded || dry.Undoes != c.ID {
		t.Errorf("%+v", dry)
	}
	w.want("notes=short")
	part, err := w.store.TakeBack(t.Context(), c.ID, paths("notes"), "a test", false)
	must(t, err)
	if part.State != Committed || part.Undoes != c.ID {
		t.Errorf("%+v", part)
	}
	w.want("notes=notes", "letters/new=nothing", "report/today=tidied")
	_, err = w.store.TakeBack(t.Context(), c.ID, paths("letters", "report"), "a test", false)
	must(t, err)
	if after := w.tree(); after != before {
		t.Errorf("after all was taken back:\n%s\nbefore:\n%s", after, before)
	}
	if c := w.change(c.ID); len(c.UndoneBy) != 2 || c.UndoneBy[0] != part.ID {
		t.Errorf("%+v", c)
	}
	if _, err := w.store.TakeBack(t.Context(), c.ID, paths("nowhere"), "a test", false); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("a path that isn't there: %v", err)
	}
}

func TestNothingChanged(t *testing.T) {
	w := newWorld(t, "a")
	c := w.call(nil, func(string) error { return nil })
	if c.State != Discarded {
		t.Errorf("%+v", c)
	}
	if list, err := w.store.List(); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	left, err := os.ReadDir(filepath.Join(w.dir, "changes"))
	must(t, err)
	for _, e := range left {
		if !strings.HasPrefix(e.Name(), ".") || strings.HasPrefix(e.Name(), going) {
			t.Errorf("%s is left", e.Name())
		}
	}
}

func TestAbandon(t *testing.T) {
	w := newWorld(t, "a")
	work := w.begin(nil)
	must(t, work.Abandon())
	if err := work.Abandon(); !errors.Is(err, errEnded) {
		t.Errorf("twice: %v", err)
	}
	if _, err := work.End(t.Context()); !errors.Is(err, errEnded) {
		t.Errorf("ended: %v", err)
	}
	if _, err := work.Mount(0, owner, tool); !errors.Is(err, errEnded) {
		t.Errorf("mounted: %v", err)
	}
	if _, err := w.store.Find(work.ID()); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
}

// TestDiscard leaves the workspace as it was, and says why.
func TestDiscard(t *testing.T) {
	w := newWorld(t, "a", "b/c")
	before := w.tree()
	c := w.call(nil, then(put("a", "other"), erase("b")))
	d, err := w.store.Discard(t.Context(), c.ID, "alice", "no")
	must(t, err)
	if d.State != Discarded || d.By != "alice" || d.Reason != "no" || d.Bytes != 0 {
		t.Errorf("%+v", d)
	}
	if w.tree() != before {
		t.Error("the workspace is another")
	}
	if got := w.entries(c.ID); got != "modified a, deleted b, deleted b/c" {
		t.Errorf("what it was is forgotten: %s", got)
	}
	for name, err := range map[string]error{
		"commit":  func() error { _, err := w.store.Commit(t.Context(), c.ID, Choice{}, "x"); return err }(),
		"discard": func() error { _, err := w.store.Discard(t.Context(), c.ID, "x", ""); return err }(),
		"hold":    func() error { _, err := w.store.Hold(c.ID, ""); return err }(),
		"asked":   w.store.Asked(c.ID, "x"),
		"judge":   func() error { _, err := w.store.Judge(t.Context(), c.ID, Question{}); return err }(),
	} {
		if !errors.Is(err, ErrOver) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.store.Undo(t.Context(), c.ID, nil, "x"); !errors.Is(err, ErrNoTrash) {
		t.Errorf("undo: %v", err)
	}
}

func TestHold(t *testing.T) {
	w := newWorld(t, "a")
	c := w.call(nil, put("a", "other"))
	c, err := w.store.Hold(c.ID, "the approver sleeps")
	must(t, err)
	if c.State != Held || c.Reason != "the approver sleeps" {
		t.Errorf("%+v", c)
	}
	w.reopen()
	if got := w.change(c.ID); got.State != Held || got.Reason != c.Reason || got.Digest != c.Digest {
		t.Errorf("%+v", got)
	}
	w.commit(c.ID, Choice{})
	w.want("a=other")
}

func TestChoice(t *testing.T) {
	w := newWorld(t, "a", "d/b", "d/c", "e")
	for _, c := range []struct {
		choice Choice
		names  string // in the error; empty: none
		want   []string
	}{
		{Choice{Only: paths("nowhere")}, "nowhere", nil},
		{Choice{Refuse: paths("a", "d/", "elsewhere\n")}, `elsewhere\n`, nil},
		{Choice{Only: paths("d/nothing")}, "d/nothing", nil},
		{Choice{Refuse: paths("a", "d", "e")}, "all was refused", nil},
		{Choice{Only: paths("d/"), Refuse: paths("d/c")}, "", []string{"a=a", "d/b=new", "d/c=d/c", "e=e"}},
	} {
		before := w.tree()
		ch := w.call(nil, then(put("a", "new"), put("d/b", "new"), put("d/c", "new"), erase("e")))
		done, err := w.store.Commit(t.Context(), ch.ID, c.choice, "x")
		if (err == nil) != (c.names == "") || err != nil && !strings.Contains(err.Error(), c.names) {
			t.Errorf("%+v: %v", c.choice, err)
		}
		w.want(c.want...)
		if err != nil && (done.State != Held || w.change(ch.ID).State != Held || w.tree() != before) {
			t.Errorf("%+v: %+v", c.choice, done)
		}
	}
}

// TestConflict: what somebody changed during the call is not overwritten, and
// the rest can be had.
func TestConflict(t *testing.T) {
	w := newWorld(t, "a", "b")
	work := w.begin(nil)
	must(t, write(work, w.workspace, w.stage(), then(put("a", "tool"), put("b", "tool"))))
	must(t, os.WriteFile(filepath.Join(w.workspace, "a"), []byte("person"), 0o644))
	c, err := work.End(t.Context())
	must(t, err)
	if c.Count.Conflicts != 1 || w.entries(c.ID) != "modified a (conflict), modified b" {
		t.Errorf("%+v, %s", c, w.entries(c.ID))
	}
	everything := []policy.Rule{{Effect: policy.FSModify, Decision: profiles.Allow, Name: "all"}}
	if j := w.judge(c, Question{Rules: everything}); j.Decision != profiles.Ask || !strings.Contains(j.Rule, "conflict") {
		t.Errorf("%+v", j)
	}
	done, err := w.store.Commit(t.Context(), c.ID, Choice{Only: paths("a")}, "x")
	if !errors.Is(err, ErrNothing) || done.State != Held || done.Report == nil || len(done.Report.Conflicts) != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	w.want("a=person", "b=b")
	// What changed after the call is found by the commit.
	must(t, os.WriteFile(filepath.Join(w.workspace, "b"), []byte("person"), 0o644))
	done, err = w.store.Commit(t.Context(), c.ID, Choice{}, "x")
	if !errors.Is(err, ErrNothing) || done.State != Held || len(done.Report.Conflicts) != 2 {
		t.Errorf("%+v, %v", done, err)
	}
	w.want("a=person", "b=person")
	must(t, errFrom(w.store.Discard(t.Context(), c.ID, "x", "")))
}

func errFrom[T any](_ T, err error) error { return err }

// TestWorkspaceReplaced: neither a link nor another directory in the
// workspace's place is written to.
func TestWorkspaceReplaced(t *testing.T) {
	for name, replace := range map[string]func(w *world, aside string) error{
		"gone":      func(*world, string) error { return nil },
		"link":      func(w *world, aside string) error { return os.Symlink(aside, w.workspace) },
		"directory": func(w *world, _ string) error { return os.Mkdir(w.workspace, 0o755) },
		"file":      func(w *world, _ string) error { return os.WriteFile(w.workspace, nil, 0o644) },
	} {
		w := newWorld(t, "a")
		aside := filepath.Join(w.dir, "aside")
		start := w.start()
		work := w.begin(nil)
		must(t, write(work, w.workspace, w.stage(), put("a", "other")))
		must(t, os.Rename(w.workspace, aside))
		must(t, replace(w, aside))
		c, err := work.End(t.Context())
		must(t, err)
		if c.State != Held {
			t.Errorf("%s: %+v", name, c)
		}
		if _, err := w.store.Judge(t.Context(), c.ID, Question{}); !errors.Is(err, ErrReplaced) {
			t.Errorf("%s: judged: %v", name, err)
		}
		if c, err := w.store.Commit(t.Context(), c.ID, Choice{}, "x"); !errors.Is(err, ErrReplaced) || c.State != Held {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
		if _, err := w.store.Begin(t.Context(), start); !errors.Is(err, ErrReplaced) {
			t.Errorf("%s: begun: %v", name, err)
		}
		if text, err := os.ReadFile(filepath.Join(aside, "a")); err != nil || string(text) != "a" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
		must(t, os.RemoveAll(w.workspace))
		must(t, os.Rename(aside, w.workspace))
		w.commit(c.ID, Choice{})
		w.want("a=other")
	}
}

// TestMountElsewhere: the layer is only put over the workspace.
func TestMountElsewhere(t *testing.T) {
	w := newWorld(t, "a")
	work := w.begin(nil)
	if err := write(work, w.dir, w.stage(), put("a", "x")); !errors.Is(err, ErrReplaced) {
		t.Error(err)
	}
	must(t, work.Abandon())
}

// TestCommitWaits for a live overlay, and goes on when that ends.
func TestCommitWaits(t *testing.T) {
	w := newWorld(t, "a")
	held := w.call(nil, put("a", "first"))
	work := w.begin(nil)

	w.bound(func(b *Bounds) { b.Wait = time.Millisecond })
	c, err := w.store.Commit(t.Context(), held.ID, Choice{}, "x")
	if !errors.Is(err, ErrBusy) || c.State != Held || !strings.Contains(c.Reason, ErrBusy.Error()) {
		t.Errorf("%+v, %v", c, err)
	}
	w.want("a=a")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrUnexpectedEOF)
	w.bound(func(b *Bounds) { b.Wait = time.Minute })
	if _, err := w.store.Commit(ctx, held.ID, Choice{}, "x"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("given up: %v", err)
	}

	done := make(chan error)
	go func() { done <- errFrom(w.store.Commit(t.Context(), held.ID, Choice{}, "x")) }()
	waiting(t, w)
	select {
	case err := <-done:
		t.Fatalf("committed under a live overlay: %v", err)
	default:
	}
	must(t, work.Abandon())
	must(t, <-done)
	w.want("a=first")
}

// TestTreesInTrees: a workspace may lie in another.
func TestTreesInTrees(t *testing.T) {
	w := newWorld(t, "a", "sub/b", "sub/deep/c", "beside/d")
	within := func(dir string) Change {
		t.Helper()
		at := filepath.Join(w.workspace, dir)
		work, err := w.store.Begin(t.Context(), startIn(at))
		must(t, err)
		must(t, write(work, at, w.stage(), put("new", "x")))
		c, err := work.End(t.Context())
		must(t, err)
		return c
	}
	for _, c := range []struct {
		at, commit string // where a call is at work, and what is committed
		busy       bool
	}{
		{".", "sub/deep", true}, {"sub", ".", true}, {"sub/deep", "sub", true}, {"sub", "beside", false}, {"beside", "sub/deep", false},
	} {
		held := within(c.commit)
		work, err := w.store.Begin(t.Context(), startIn(filepath.Join(w.workspace, c.at)))
		must(t, err)
		w.bound(func(b *Bounds) { b.Wait = time.Minute })
		if c.busy {
			w.bound(func(b *Bounds) { b.Wait = time.Millisecond })
		}
		_, err = w.store.Commit(t.Context(), held.ID, Choice{}, "x")
		if errors.Is(err, ErrBusy) != c.busy || !c.busy && err != nil {
			t.Errorf("%+v: %v", c, err)
		}
		must(t, work.Abandon())
		if c.busy {
			w.bound(func(b *Bounds) { b.Wait = time.Minute })
			w.commit(held.ID, Choice{})
		}
		must(t, os.Remove(filepath.Join(w.workspace, c.commit, "new")))
	}
}

// waiting returns when a commit has its turn on the workspace.
func waiting(t testing.TB, w *world) {
	t.Helper()
	s := w.start()
	for {
		l, err := w.store.gates.turn(gone(), gateName(s.Identity, "turn"))
		if errors.Is(err, ErrBusy) {
			return
		}
		must(t, err)
		l.release()
	}
}

// TestBeginWaits for a commit.
func TestBeginWaits(t *testing.T) {
	w := newWorld(t, "a")
	root, err := openWorkspace(w.workspace, w.start().Identity)
	must(t, err)
	defer root.Close()
	line, err := lineage(root)
	must(t, err)
	gate, err := w.store.gates.commit(t.Context(), line)
	must(t, err)
	if _, err := w.store.Begin(gone(), w.start()); !errors.Is(err, ErrBusy) {
		t.Errorf("under a commit: %v", err)
	}
	begun := make(chan error)
	go func() {
		work, err := w.store.Begin(t.Context(), w.start())
		if err == nil {
			err = work.Abandon()
		}
		begun <- err
	}()
	gate.close()
	must(t, <-begun)
	if list, err := w.store.List(); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestAfterCommit: what a commit changed is no conflict of the next call.
func TestAfterCommit(t *testing.T) {
	w := newWorld(t, "a")
	for range 10 {
		c := w.call(nil, put("a", mint()))
		if c.Count.Conflicts != 0 {
			t.Fatalf("%+v", c)
		}
		w.commit(c.ID, Choice{})
	}
}

// TestRaces: of many that decide one change set at once, one does.
func TestRaces(t *testing.T) {
	w := newWorld(t, "a")
	for range 5 {
		c := w.call(nil, put("a", mint()))
		const each = 4
		results := make(chan error)
		for range each {
			go func() { results <- errFrom(w.store.Commit(t.Context(), c.ID, Choice{}, "x")) }()
			go func() { results <- errFrom(w.store.Discard(t.Context(), c.ID, "x", "")) }()
		}
		won := 0
		for range 2 * each {
			err := <-results
			if err == nil {
				won++
			} else if !errors.Is(err, ErrOver) {
				t.Error(err)
			}
		}
		if won != 1 {
			t.Errorf("%d won", won)
		}
	}
}

func TestContents(t *testing.T) {
	w := newWorld(t, "a", "b", "d/x", "e", "link -> a")
	c := w.call(nil, then(put("a", "after"), erase("b"), put("c", "new"), erase("link"), put("link", "file"),
		func(dir string) error { return os.Rename(filepath.Join(dir, "d"), filepath.Join(dir, "moved")) }, put("moved/x", "there")))
	check := func(state string, want map[string][2]string) {
		t.Helper()
		for path, sides := range want {
			_, before, after, err := w.store.Contents(c.ID, path)
			if err != nil {
				t.Errorf("%s: %s: %v", state, path, err)
				continue
			}
			for i, f := range []*os.File{before, after} {
				got := "none"
				if f != nil {
					text, err := io.ReadAll(f)
					must(t, err)
					must(t, f.Close())
					got = string(text)
				}
				if got != sides[i] {
					t.Errorf("%s: %s: %d is %q, want %q", state, path, i, got, sides[i])
				}
			}
		}
	}
	want := map[string][2]string{
		"a": {"a", "after"}, "b": {"b", "none"}, "c": {"none", "new"}, "link": {"none", "file"}, "moved": {"none", "none"}, "moved/x": {"d/x", "there"},
	}
	check("held", want)
	must(t, w.store.Asked(c.ID, "t"))
	check("asking", want)
	w.commit(c.ID, Choice{})
	check("committed", want)
	if _, _, _, err := w.store.Contents(c.ID, "nowhere"); err == nil {
		t.Error("nowhere has contents")
	}
}

func TestIDs(t *testing.T) {
	w := newWorld(t, "a")
	must(t, os.Mkdir(filepath.Join(w.dir, "changes", "x"), 0o700)) // one that begins
	for _, id := range []string{"", ".", "..", "../changes", "a/b", ".blanks", ".sessions", "a\x00b", "a b", strings.Repeat("a", 129), "é"} {
		for name, err := range map[string]error{
			"find":     errFrom(w.store.Find(id)),
			"set":      errFrom(w.store.Set(t.Context(), id)),
			"commit":   errFrom(w.store.Commit(t.Context(), id, Choice{}, "x")),
			"discard":  errFrom(w.store.Discard(t.Context(), id, "x", "x")),
			"undo":     errFrom(w.store.Undo(t.Context(), id, nil, "x")),
			"trash":    errFrom(w.store.Trash(id)),
			"asked":    w.store.Asked(id, "x"),
			"hold":     errFrom(w.store.Hold(id, "x")),
			"contents": func() error { _, _, _, err := w.store.Contents(id, "a"); return err }(),
		} {
			if !errors.Is(err, ErrUnknown) {
				t.Errorf("%s %q: %v", name, id, err)
			}
		}
		s := w.start()
		s.ID = id
		if work, err := w.store.Begin(t.Context(), s); id != "" && err == nil {
			t.Errorf("begun as %q", id)
			_ = work.Abandon()
		} else if id == "" {
			must(t, err)
			must(t, work.Abandon())
		}
		if err := w.store.Forget(t.Context(), id); err == nil {
			t.Errorf("session %q is forgotten", id)
		}
	}
	c := w.call(func(s *Start) { s.ID = "call-1" }, put("a", "b"))
	s := w.start()
	s.ID = c.ID
	if _, err := w.store.Begin(t.Context(), s); !errors.Is(err, os.ErrExist) {
		t.Errorf("twice: %v", err)
	}
	if got := w.change("call"); got.ID != "call-1" {
		t.Errorf("%+v", got)
	}
	w.call(func(s *Start) { s.ID = "call-2" }, put("a", "b"))
	if _, err := w.store.Find("call-"); !errors.Is(err, ErrUnknown) {
		t.Errorf("ambiguous: %v", err)
	}
	list, err := w.store.List()
	must(t, err)
	if len(list) != 2 {
		t.Errorf("%+v", list)
	}
}

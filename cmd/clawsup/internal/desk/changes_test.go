// SPDX-License-Identifier: Apache-2.0

package desk

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/changes"
	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// changesTicket is about the change set of newChanges.
func changesTicket(id string) approval.Ticket {
	t := ticket(id, approval.Fact{Name: "changes", Value: "1 deleted", Digest: "sha256:set"})
	t.Effect, t.Target, t.Changes = policy.FSDelete, "d\x1b[2J", "c-9"
	return t
}

// newChanges is a desk with a ticket about a change set of one deleted and
// modified file each, a new directory, and as many more as wanted.
func newChanges(t *testing.T, width, height, more int, fails error) *table {
	regular := changeset.State{Type: changeset.Regular, Mode: 0o644, Size: 1000}
	b := newTable(t, width, height)
	d := b.daemon
	d.change = changes.Change{ID: "c-9", State: changes.Asking, Digest: "sha256:set", Count: changeset.Count{Created: 3, Deleted: 1, Modified: 1 + more}}
	d.entries = []changeset.Entry{
		{Kind: changeset.Modified, Path: "b", Before: regular, After: regular, Notes: changeset.Conflict},
		{Kind: changeset.Created, Path: "c", After: changeset.State{Type: changeset.Directory}},
		{Kind: changeset.Created, Path: "c/1", After: regular},
		{Kind: changeset.Created, Path: "c/2", After: regular},
		{Kind: changeset.Deleted, Path: "d\x1b[2J", Before: regular},
	}
	for i := range more {
		d.entries = append(d.entries, changeset.Entry{Kind: changeset.Modified, Path: raw.String(fmt.Sprintf("m%03d", i)), Before: regular, After: regular})
	}
	d.fails = fails
	d.reply = func(a approval.Answer) (api.Answered, error) {
		return api.Answered{Ticket: approval.Ticket{ID: a.Ticket, State: approval.Allowed, Calls: []string{"c-1"}, Changes: "c-9"}}, nil
	}
	b.send(told{d, ticketTold(changesTicket("AAAA"))})
	b.wait(Settle)
	return b
}

func TestChangesAreShownAndKept(t *testing.T) {
	b := newChanges(t, 80, 40, 0, nil)
	for _, text := range []string{"deleted: 1 path", `1  "d\x1b[2J"  1000B`, "modified: 1 path", "! CONFLICT: changed", "3-5  c/  2 files, 2.0K in all", "5 paths: 1 deleted, 1 modified, 3 created", "keep what it did to files", "a keep  d deny  enter changes  w watch"} {
		b.shows(text)
	}
	if strings.Contains(b.plain(), "\x1b") || strings.Contains(b.plain(), "g grant") {
		t.Errorf("%q", b.plain())
	}
	b.press("a")
	b.answered(1)
	if a := b.daemon.answers[0]; a.Verdict != approval.Allow || a.Ticket != "AAAA" || a.Refuse != nil {
		t.Errorf("%+v", a)
	}
}

// TestChangesRefused: space marks, a keeps the others; what is marked is in the answer.
func TestChangesRefused(t *testing.T) {
	b := newChanges(t, 80, 40, 0, nil)
	b.press("enter")
	b.shows(`>    1  "d\x1b[2J"`)
	b.press("space", "down", "space", "space", "down", "space")
	b.shows(` x   1  "d\x1b[2J"`)
	b.shows("     2  b")
	b.shows(">x 3-5  c/")
	b.shows("4 refused, behind an x: a keeps the others")
	b.press("a")
	b.answered(1)
	if a := b.daemon.answers[0]; a.Verdict != approval.Allow || !slices.Equal(a.Refuse, []raw.String{"d\x1b[2J", "c"}) {
		t.Errorf("%+v", a)
	}
	b.shows("AAAA allowed: 2 refused")
}

// TestChangesAllRefused: that is a no, and takes a reason.
func TestChangesAllRefused(t *testing.T) {
	b := newChanges(t, 80, 40, 0, nil)
	b.press("enter", "space", "down", "space", "down", "space", "a")
	b.answered(0)
	b.shows("all of it is refused")
	b.press("esc", "d")
	b.press("no such thing", "enter")
	b.answered(1)
	if a := b.daemon.answers[0]; a.Verdict != approval.Deny || a.Reason != "no such thing" || a.Refuse != nil {
		t.Errorf("%+v", a)
	}
}

func TestChangesDiff(t *testing.T) {
	b := newChanges(t, 80, 40, 0, nil)
	b.press("enter", "d")
	b.shows(`--- "d\x1b[2J"`)
	b.shows(`-old\x1b[2J`)
	b.shows(">")
	b.shows("@not all of it is shown")
	b.press("a") // nothing is answered over a difference
	b.answered(0)
	b.press("q")
	b.shows("deleted: 1 path")
	b.press("a")
	b.answered(0) // it came back just now
	b.shows("changed or moved just now")
	b.press("down", "down", "enter")
	b.shows("that is a whole directory")
	b.daemon.fails = errors.New("no box")
	b.press("up", "enter")
	b.shows("it can't be shown: no box")
}

// TestChangesReadToTheEnd: neither by paging nor by the cursor can the end be
// left out.
func TestChangesReadToTheEnd(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {120, 40}, {40, 12}} {
		b := newChanges(t, size[0], size[1], 200, nil)
		b.press("a")
		b.answered(0)
		b.shows("read it to the end first")
		for b.row() >= 0 && !b.inside {
			b.press("enter")
			if !b.inside {
				b.press("space")
			}
		}
		c := b.set(b.ticket())
		for range c.lines[1:] {
			b.wait(Settle)
			b.press("a")
			b.answered(0)
			b.press("down")
			if !strings.Contains(b.plain(), ">") {
				t.Fatalf("the cursor is not on the screen\n%s", b.plain())
			}
		}
		b.wait(Settle)
		b.press("a")
		b.answered(1)
	}
}

// TestChangesUnseen: what can't be shown can't be kept, only denied.
func TestChangesUnseen(t *testing.T) {
	for name, change := range map[string]func(*table){
		"the daemon refuses": func(b *table) { b.daemon.fails = errors.New("gone\x1b") },
		"another set":        func(b *table) { b.daemon.change.Digest = "sha256:other" },
	} {
		b := newChanges(t, 80, 40, 0, errors.New("not yet"))
		b.daemon.fails = nil
		change(b)
		b.press("enter")
		b.shows("What changed can't be shown")
		b.wait(Settle)
		b.press("a")
		b.answered(0)
		b.shows("not kept unseen")
		b.daemon.fails, b.daemon.change.Digest = nil, "sha256:set"
		b.press("enter") // tries again
		b.shows("deleted: 1 path")
		b.wait(Settle)
		b.press("a")
		b.answered(1)
		if name == "" {
			t.Error("no name")
		}
	}
	b := newChanges(t, 80, 40, 0, errors.New("gone"))
	b.press("d", "enter")
	b.answered(1)
}

// TestChangesMarksStay: another revision of the ticket takes no mark away, since
// that would keep what was refused.
func TestChangesMarksStay(t *testing.T) {
	b := newChanges(t, 80, 40, 0, nil)
	b.press("enter", "space")
	next := changesTicket("AAAA")
	next.Revision, next.Quorum = 2, 2
	b.send(told{b.daemon, ticketTold(next)})
	b.wait(Settle)
	b.press("a")
	b.answered(1)
	if a := b.daemon.answers[0]; a.Revision != 2 || !slices.Equal(a.Refuse, []raw.String{"d\x1b[2J"}) {
		t.Errorf("%+v", a)
	}
}

// TestChangesScreens: at any size every row fits, whatever is shown.
func TestChangesScreens(t *testing.T) {
	for _, size := range [][2]int{{20, 6}, {30, 10}, {80, 24}, {110, 30}, {120, 40}, {200, 50}} {
		b := newChanges(t, size[0], size[1], 30, nil)
		for _, k := range []string{"", "enter", "space", "enter", "q", "esc", "?"} {
			if k != "" {
				b.press(k)
			}
			rows := strings.Split(b.plain(), "\n")
			if len(rows) > size[1] {
				t.Errorf("%v after %q: %d rows", size, k, len(rows))
			}
			for _, r := range rows {
				if n := len([]rune(r)); n > size[0] {
					t.Errorf("%v after %q: %d columns: %q", size, k, n, r)
				}
			}
		}
	}
}

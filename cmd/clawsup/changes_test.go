// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/changes"
	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/commit"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// testEntries are a set's, a thousand new files and some older ones.
func testEntries() []changeset.Entry {
	regular := changeset.State{Type: changeset.Regular, Mode: 0o644, Size: 1000}
	list := []changeset.Entry{
		{Kind: changeset.Created, Path: "a", After: changeset.State{Type: changeset.Directory, Mode: 0o755}},
	}
	for i := range 1000 {
		list = append(list, changeset.Entry{Kind: changeset.Created, Path: raw.String(fmt.Sprintf("a/%04d", i)), After: regular})
	}
	return append(list,
		changeset.Entry{Kind: changeset.Deleted, Path: "b\xff\x1b[2J", Before: regular},
		changeset.Entry{Kind: changeset.Modified, Path: "c.txt", Before: regular, After: regular, Notes: changeset.Conflict},
	)
}

func testChange() changes.Change {
	return changes.Change{
		ID: "c-0123456789", State: changes.Held, Calls: []string{"c-0123456789"}, Requester: "agent main (uid 990)", Agent: "main", Session: "s-1",
		Command: `"tidy"`, Workspace: "/home/anna/letters", Digest: "sha256:" + strings.Repeat("ab", 32),
		Count:   changeset.Count{Created: 1001, Modified: 1, Deleted: 1, Conflicts: 1, Added: 1_001_000, Removed: 1000},
		Created: time.Now().Add(-time.Hour), Expires: time.Now().Add(24*time.Hour + time.Minute), Bytes: 2 << 20, Reason: "nobody answered\x1b[2J",
	}
}

// changeBook is a fake's one change set.
type changeBook struct {
	change    changes.Change
	entries   []changeset.Entry
	pages     int
	moves     bool // its digest changes from page to page
	filter    api.ChangesFilter
	choice    api.ChangesChoice
	emptied   api.TrashOrder
	diffed    []raw.String
	committed changes.Change
}

func newChangeBook() *changeBook {
	b := &changeBook{change: testChange(), entries: testEntries()}
	b.committed = b.change
	b.committed.State, b.committed.Reason, b.committed.Trash = changes.Committed, "", true
	b.committed.Report = &commit.Report{Applied: 1003}
	return b
}

func (b *changeBook) table() answers {
	return answers{
		api.ChangesList: says(&b.filter, []changes.Change{b.change}),
		api.ChangesShow: func(_ context.Context, r *api.Request) (any, error) {
			var p api.ChangesPart
			if err := r.Decode(&p); err != nil {
				return nil, err
			}
			if !strings.HasPrefix(b.change.ID, p.Changes) {
				return nil, &api.Error{Code: api.CodeNotFound, Message: "there is no such change set"}
			}
			b.pages++
			if b.moves {
				b.change.Digest = fmt.Sprint(b.pages)
			}
			end := min(p.From+300, len(b.entries))
			return api.ChangesEntries{Change: b.change, Entries: b.entries[p.From:end], Total: len(b.entries)}, nil
		},
		api.ChangesDiff: func(_ context.Context, r *api.Request) (any, error) {
			var p api.ChangesPath
			if err := r.Decode(&p); err != nil {
				return nil, err
			}
			b.diffed = append(b.diffed, p.Path)
			i := slices.IndexFunc(b.entries, func(e changeset.Entry) bool { return e.Path == p.Path })
			return api.ChangesDifference{Entry: b.entries[i], Lines: []string{"@modified", "-old\x1b[2J", "+new"}, Cut: true}, nil
		},
		api.ChangesCommit:  says(&b.choice, b.committed),
		api.ChangesDiscard: says(&b.choice, b.change),
		api.ChangesUndo:    says(&b.choice, b.committed),
		api.TrashList:      says[api.ChangesRef](nil, []commit.Trashed{{Path: "b\xff", Type: changeset.Regular, Size: 2048}, {Path: "c.txt", Type: changeset.Regular, Gone: true}}),
		api.TrashEmpty:     says(&b.emptied, api.TrashEmptied{Bytes: 3 << 20}),
	}
}

func TestChangesListAndShow(t *testing.T) {
	b := newChangeBook()
	f := newFake(t, b.table())
	got := f.run("", "changes", "list", "--undecided", "--session", "s-1")
	if got.status != 0 || !strings.Contains(got.out, "c-0123456789  held   1 deleted, 1 modified, 1001 created; 1 in conflict  /home/anna/letters  agent main (uid 990)  1h00m ago  1d00h") {
		t.Errorf("%+v", got)
	}
	if !b.filter.Undecided || b.filter.Session != "s-1" {
		t.Errorf("%+v", b.filter)
	}
	got = f.run("", "changes", "show", "c-012")
	want := `
deleted: 1 path
        1  "b\xff\x1b[2J"  1000B

modified: 1 path
        2  c.txt  1000B as before
           ! CONFLICT: changed in the workspace meanwhile

created: 1001 paths
   3-1003  a/  1000 files, 976.6K in all

1003 paths: 1 deleted, 1 modified, 1001 created; 1 in conflict; 977.5K new, 1000B gone

  clawsup changes diff c-0123456789 PATH             how a file differs
  clawsup changes commit c-0123456789                puts it into the workspace
`
	if got.status != 0 || !strings.Contains(got.out, want) || !strings.Contains(got.out, `held: nobody answered\x1b[2J`) || b.pages != 4 {
		t.Errorf("%d pages, status %d\n%s%s", b.pages, got.status, got.out, got.err)
	}
	if got := f.run("", "changes", "show", "--all", "c-012"); strings.Count(got.out, "\n") < 1003 || !strings.Contains(got.out, "  1003  a/0999  1000B\n") {
		t.Errorf("%+v", got)
	}
	var all api.ChangesEntries
	if got := f.run("", "changes", "show", "--json", "c-012"); json.Unmarshal([]byte(got.out), &all) != nil || len(all.Entries) != 1003 || all.Entries[1001].Path != "b\xff\x1b[2J" {
		t.Errorf("%+v", got.err)
	}
	if got := f.run("", "changes", "show", "x"); got.status != 1 || !strings.Contains(got.err, "no such change set") {
		t.Errorf("%+v", got)
	}
	b.moves = true
	if got := f.run("", "changes", "show", "c-012"); got.status != 1 || !strings.Contains(got.err, "changed while it was read") {
		t.Errorf("%+v", got)
	}
}

func TestChangesDiff(t *testing.T) {
	b := newChangeBook()
	f := newFake(t, b.table())
	for _, c := range []struct {
		args   string
		diffed string
		says   string
	}{
		{`c-0 c.txt`, `["c.txt"]`, "@modified\n-old\\x1b[2J\n+new\n@CONFLICT: changed in the workspace meanwhile\n@not all of it is shown\n"},
		{`c-0 /home/anna/letters/c.txt ./a/0001`, `["c.txt" "a/0001"]`, "\n\n@modified"},
		{`c-0 "b\xff\x1b[2J"`, `["b\xff\x1b[2J"]`, "@modified\n"},
		{`c-0 ./"b\xff\x1b[2J" c.txt c.txt`, `[]`, "it has no path"},
		{`c-0 c.txt c.txt`, `["c.txt"]`, "@modified\n"},
		{`c-0 nothing`, `[]`, "it has no path nothing; see 'clawsup changes show c-0123456789'"},
		{`c-0 a`, `[]`, "that is 1001 files, and at most 100 are shown at once"},
	} {
		b.diffed = nil
		got := f.run("", append([]string{"changes", "diff"}, strings.Split(c.args, " ")...)...)
		if fmt.Sprintf("%q", b.diffed) != c.diffed || !strings.Contains(got.out+got.err, c.says) || (got.status == 0) != (c.diffed != "[]") {
			t.Errorf("%s: %q, %+v", c.args, b.diffed, got)
		}
	}
	var all []api.ChangesDifference
	if got := f.run("", "changes", "diff", "--json", "c-0", "c.txt"); json.Unmarshal([]byte(got.out), &all) != nil || len(all) != 1 || all[0].Lines[1] != "-old\x1b[2J" {
		t.Errorf("%+v", got)
	}
}

func TestChangesDecide(t *testing.T) {
	b := newChangeBook()
	f := newFake(t, b.table())
	for _, c := range []struct {
		args   string
		choice string
		says   string
	}{
		{"changes commit c-0", `{"changes":"c-0"}`, "committed c-0123456789: 1003 in the workspace; 'clawsup undo c-0123456789' takes it back"},
		{"changes commit c-0 c.txt a/", `{"changes":"c-0123456789","only":["c.txt","a"]}`, "committed"},
		{`changes commit --refuse "b\xff\x1b[2J" --refuse c.txt c-0`, `{"changes":"c-0123456789","refuse":[{"base64":"Yv8bWzJK"},"c.txt"]}`, "committed"},
		{"changes discard --reason no c-0", `{"changes":"c-0","reason":"no"}`, "discarded c-0123456789, with 1 deleted"},
		{"undo c-0", `{"changes":"c-0"}`, "committed"},
		{"undo c-0 c.txt", `{"changes":"c-0123456789","only":["c.txt"]}`, "committed"},
		{"undo --dry-run c-0", `{"changes":"c-0","dry_run":true}`, "deleted: 1 path"},
		{"trash restore c-0 c.txt", `{"changes":"c-0123456789","only":["c.txt"]}`, "committed"},
		{"trash restore --dry-run c-0", `{"changes":"c-0","dry_run":true}`, "1003 paths"},
	} {
		b.choice = api.ChangesChoice{}
		got := f.run("", strings.Split(c.args, " ")...)
		choice, err := json.Marshal(b.choice)
		if err != nil || got.status != 0 || string(choice) != c.choice || !strings.Contains(got.out, c.says) {
			t.Errorf("%s: %s, %+v", c.args, choice, got)
		}
	}
	if got := f.run("", "changes", "commit", "c-0", "nothing"); got.status != 1 || !strings.Contains(got.err, "it has no path nothing") {
		t.Errorf("%+v", got)
	}
	// Root asks on admin.sock, others on approval.sock by the table of rights.
	if s := f.through(api.ChangesCommit); s != string(adminSocket) {
		t.Errorf("commit through %s", s)
	}
}

// TestChangesCommitLeavesOut: what could not be committed is said and is no success.
func TestChangesCommitLeavesOut(t *testing.T) {
	b := newChangeBook()
	r := b.committed.Report
	r.Applied, r.Refused = 3, []commit.Left{{Path: "r", Kind: changeset.Created, Why: "refused"}}
	r.Conflicts = []commit.Left{{Path: "c.txt", Kind: changeset.Modified, Why: "it is another file now"}}
	for i := range 30 {
		r.Failed = append(r.Failed, commit.Left{Path: raw.String(fmt.Sprintf("f%d\n", i)), Kind: changeset.Deleted, Why: "no space left"})
	}
	f := newFake(t, b.table())
	got := f.run("", "changes", "commit", "c-0")
	for _, text := range []string{": 3 in the workspace, 1 refused;", "  in conflict, not modified: c.txt: it is another file now\n", `  failed, not deleted: "f19\n": no space left`, "  and 10 more failed"} {
		if !strings.Contains(got.out, text) {
			t.Errorf("no %q in %s", text, got.out)
		}
	}
	if got.status != 1 || !strings.Contains(got.err, "31 could not be committed") {
		t.Errorf("%+v", got)
	}
	var c changes.Change
	if got := f.run("", "changes", "commit", "--json", "c-0"); got.status != 1 || json.Unmarshal([]byte(got.out), &c) != nil || len(c.Report.Failed) != 30 {
		t.Errorf("%+v", got)
	}
}

func TestTrash(t *testing.T) {
	b := newChangeBook()
	b.change = b.committed
	f := newFake(t, b.table())
	if got := f.run("", "trash", "list"); got.status != 0 || !strings.Contains(got.out, "c-0123456789  1 deleted") || !strings.Contains(got.out, "2.0M  1d00h") {
		t.Errorf("%+v", got)
	}
	if got := f.run("", "trash", "list", "c-0"); got.status != 0 || !strings.Contains(got.out, "\"b\\xff\"  file  2.0K  -\nc.txt    file  0B    gone\n") {
		t.Errorf("%+v", got)
	}
	for args, want := range map[string]api.TrashOrder{
		"trash empty c-0":         {Changes: "c-0"},
		"trash empty --older 24h": {Older: api.Duration(24 * time.Hour)},
		"trash empty --all":       {},
	} {
		b.emptied = api.TrashOrder{Changes: "none"}
		if got := f.run("", strings.Fields(args)...); got.status != 0 || b.emptied != want || got.out != "emptied: 3.0M are free\n" {
			t.Errorf("%s: %+v %+v", args, b.emptied, got)
		}
	}
}

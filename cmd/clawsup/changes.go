// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/clawsup/clawsup/cmd/clawsup/internal/desk"
	"github.com/clawsup/clawsup/cmd/clawsup/internal/summary"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/changes"
	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/commit"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/stdio"
	"github.com/clawsup/clawsup/supervisor/visible"
)

const changesUsage = `usage: clawsup changes list [--undecided] [--session S] [--json]
       clawsup changes show [--all] [--json] CHANGE
       clawsup changes diff [--json] CHANGE [PATH...]
       clawsup changes commit [--refuse PATH]... [--json] CHANGE [PATH...]
       clawsup changes discard [--reason R] [--json] CHANGE

What a call did to its workspace is held back in a change set until somebody
decides. CHANGE is its id, which is the call's, or a beginning of it that no
other has.

  list     the newest 100, with what became of them
  show     what was deleted, modified, renamed and created, with a number each;
           a directory that was deleted or created whole is one line
  diff     how files differ, beneath a directory too; without PATH all of them
  commit   puts it into the workspace: all of it, or PATH alone. What is refused
           or not named is discarded. 'clawsup undo' takes it back
  discard  throws it away; the workspace stays as it is

PATH is below the workspace, and means all that is beneath it too. A path in
double quotes, as it is shown, is read as such: '"a\nb"' in the shell.

  --undecided    only those that wait for a decision, or are still written
  --session S    only those of a session, by its id
  --all          a line for every path
  --refuse PATH  commit all but this; can be given more than once
  --reason R     why; the receipt has it
  --json         objects instead of text

With 'daemon = true' in the configuration clawsupd is asked, and commit and
discard take the role admin; else this works on the host's store, as root.

Exit status: 0; 1 if it failed, or was refused, or not all that was wanted could
be committed; 2 for a wrong command line; 3 if there is no daemon.
`

func changesCommand() *command {
	return &command{name: "changes", subject: "change sets", synopsis: "see what calls did to files, and keep it or not", usage: changesUsage, execute: executeChanges}
}

type changesFlags struct {
	undecided, all, json bool
	session, reason      string
	refuse               []string
}

var changesVerbs = []verb[changesFlags]{
	{name: "list", flags: []string{"undecided", "session", "json"}, execute: (*program).changesList},
	{name: "show", least: 1, most: 1, needs: "a change set", flags: []string{"all", "json"}, execute: (*program).changesShow},
	{name: "diff", least: 1, most: -1, needs: "a change set", flags: []string{"json"}, execute: (*program).changesDiff},
	{name: "commit", least: 1, most: -1, needs: "a change set", flags: []string{"refuse", "json"}, execute: (*program).changesCommit},
	{name: "discard", least: 1, most: 1, needs: "a change set", flags: []string{"reason", "json"}, execute: (*program).changesDiscard},
}

func executeChanges(p *program, args []string) int {
	var f changesFlags
	s := p.flags("changes")
	s.BoolVar(&f.undecided, "undecided", false, "")
	s.StringVar(&f.session, "session", "", "")
	s.BoolVar(&f.all, "all", false, "")
	s.BoolVar(&f.json, "json", false, "")
	s.StringVar(&f.reason, "reason", "", "")
	s.Func("refuse", "", func(v string) error { f.refuse = append(f.refuse, v); return nil })
	return choose(p, changesCommand(), changesVerbs, &f, s, args)
}

func (p *program) changesList(f *changesFlags, _ []string) error {
	return p.withChanges(func(source changeSource) error {
		list, err := source.list(api.ChangesFilter{Session: f.session, Undecided: f.undecided})
		switch {
		case err != nil:
			return err
		case f.json:
			return p.printJSON(orEmpty(list))
		case len(list) == 0:
			return p.line("there are no change sets")
		}
		now := time.Now()
		t := newTable(p.stdout, "CHANGES", "STATE", "WHAT", "WORKSPACE", "ASKED BY", "MADE", "KEPT FOR", "NOTE")
		for i := range list {
			c := &list[i]
			t.row(c.ID, string(c.State), c.Count.String(), clipped(visible.Text(string(c.Workspace))), c.Requester,
				desk.Span(now.Sub(c.Created))+" ago", keptFor(c, now), changeNote(c))
		}
		return t.flush()
	})
}

// keptFor is how long a change set can still be decided, or undone.
func keptFor(c *changes.Change, now time.Time) string {
	if c.Expires.IsZero() || c.State == changes.Committed && !c.Trash {
		return ""
	}
	return desk.Span(c.Expires.Sub(now))
}

// changeNote is what is worth knowing of a change set in a list.
func changeNote(c *changes.Change) string {
	switch {
	case c.Ticket != "" && c.State == changes.Asking:
		return "ticket " + c.Ticket
	case c.Undoes != "":
		return "undoes " + c.Undoes
	case len(c.UndoneBy) > 0:
		return "undone by " + strings.Join(c.UndoneBy, ", ")
	}
	return clipped(c.Reason)
}

// paths finds the paths that a person typed among a change set's.
func pathsOf(c *changes.Change, entries []changeset.Entry, typed []string) ([]raw.String, error) {
	var paths []raw.String
	for _, t := range typed {
		path, err := summary.Path(string(c.Workspace), entries, t)
		if err != nil {
			return nil, fmt.Errorf("change set %s: %w; see 'clawsup changes show %s'", c.ID, err, c.ID)
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// maxDiffs is of how many files the differences are shown at once.
const maxDiffs = 100

func (p *program) changesDiff(f *changesFlags, words []string) error {
	return p.withChanges(func(source changeSource) error {
		c, entries, err := source.entries(words[0])
		if err != nil {
			return err
		}
		paths, err := pathsOf(&c, entries, words[1:])
		if err != nil {
			return err
		}
		// In the order of the summary, and each path once.
		var wanted []raw.String
		s := summary.Of(entries)
		seen := map[raw.String]bool{}
		for n := 1; n <= s.Len(); n++ {
			if e := s.Entry(n); !seen[e.Path] && summary.Covers(paths, e.Path) && (paths != nil || tells(e)) {
				wanted, seen[e.Path] = append(wanted, e.Path), true
			}
		}
		if len(wanted) > maxDiffs {
			return fmt.Errorf("that is %d files, and at most %d are shown at once: name some", len(wanted), maxDiffs)
		}
		var all []api.ChangesDifference
		for i, path := range wanted {
			d, err := source.diff(c.ID, path)
			if err != nil {
				return err
			}
			if f.json {
				all = append(all, d)
				continue
			}
			if i > 0 {
				fmt.Fprintln(p.stdout)
			}
			if err := p.printDifference(&d); err != nil {
				return err
			}
		}
		if f.json {
			return p.printJSON(orEmpty(all))
		}
		if wanted == nil {
			return p.line("no file's content differs; 'clawsup changes show %s' has the rest", c.ID)
		}
		return nil
	})
}

// tells says whether there is something in an entry that its line doesn't say.
func tells(e *changeset.Entry) bool {
	return e.Kind == changeset.Modified || (e.Kind == changeset.Created || e.Kind == changeset.Deleted) && cmp.Or(e.After.Type, e.Before.Type) == changeset.Regular
}

// printDifference folds lines on a terminal: where that breaks a long one, the
// rest could pass for a line of its own.
func (p *program) printDifference(d *api.ChangesDifference) error {
	lines := d.Lines
	for _, n := range summary.Notes(&d.Entry) {
		lines = append(lines, "@"+n)
	}
	if d.Cut {
		lines = append(lines, "@not all of it is shown")
	}
	width := terminalWidth(p.stdout)
	for _, l := range lines {
		rows := []string{visible.Line(l)}
		if stdio.IsTerminal(p.stdout) {
			rows = summary.Fold(rows[0], width-1)
		}
		if _, err := fmt.Fprintln(p.stdout, strings.Join(rows, "\n")); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) changesCommit(f *changesFlags, words []string) error {
	if len(words) > 1 && len(f.refuse) > 0 {
		return usagef("name the paths to commit, or those to --refuse, not both")
	}
	return p.withChanges(func(source changeSource) error {
		choice := api.ChangesChoice{Changes: words[0]}
		if len(words) > 1 || len(f.refuse) > 0 {
			c, entries, err := source.entries(words[0])
			if err != nil {
				return err
			}
			choice.Changes = c.ID
			only, err := pathsOf(&c, entries, words[1:])
			refuse, err2 := pathsOf(&c, entries, f.refuse)
			if err := errors.Join(err, err2); err != nil {
				return err
			}
			choice.Only, choice.Refuse = only, refuse
		}
		c, err := source.commit(choice)
		if err != nil {
			return err
		}
		return p.committed(&c, f.json)
	})
}

// committed tells what came of a commit. What could not be done is an error.
func (p *program) committed(c *changes.Change, asJSON bool) error {
	r := c.Report
	if r == nil {
		r = &commit.Report{}
	}
	if asJSON {
		if err := p.printJSON(c); err != nil {
			return err
		}
	} else {
		text := fmt.Sprintf("committed %s: %d in the workspace", c.ID, r.Applied)
		if n := len(r.Refused); n > 0 {
			text += fmt.Sprintf(", %d refused", n)
		}
		if err := p.line("%s; 'clawsup undo %s' takes it back", text, c.ID); err != nil {
			return err
		}
		if err := p.leftOut(r); err != nil {
			return err
		}
	}
	if n := len(r.Conflicts) + len(r.Failed); n > 0 {
		return fmt.Errorf("%d could not be committed", n)
	}
	return nil
}

// maxLeft is how many of what a commit left out are listed.
const maxLeft = 20

// leftOut lists what a commit left out, but for what was refused by name.
func (p *program) leftOut(r *commit.Report) error {
	for _, group := range []struct {
		word string
		list []commit.Left
	}{{"in conflict", r.Conflicts}, {"failed", r.Failed}} {
		for i, l := range group.list {
			if i == maxLeft {
				if err := p.line("  and %d more %s; --json has them all", len(group.list)-i, group.word); err != nil {
					return err
				}
				break
			}
			if err := p.line("  %s, not %s: %s: %s", group.word, l.Kind, visible.Text(string(l.Path)), l.Why); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *program) changesDiscard(f *changesFlags, words []string) error {
	return p.withChanges(func(source changeSource) error {
		c, err := source.discard(api.ChangesChoice{Changes: words[0], Reason: f.reason})
		switch {
		case err != nil:
			return err
		case f.json:
			return p.printJSON(c)
		}
		return p.line("discarded %s, with %s", c.ID, c.Count)
	})
}

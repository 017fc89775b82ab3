// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/clawsup/clawsup/cmd/clawsup/internal/summary"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/changes"
	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/commit"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/visible"
)

func (p *program) changesShow(f *changesFlags, words []string) error {
	return p.withChanges(func(source changeSource) error {
		c, entries, err := source.entries(words[0])
		switch {
		case err != nil:
			return err
		case f.json:
			return p.printJSON(api.ChangesEntries{Change: c, Entries: orEmpty(entries), Total: len(entries)})
		}
		writeChange(p.stdout, &c, time.Now())
		s := summary.Of(entries)
		lines := s.Folded()
		if f.all {
			lines = s.All()
		}
		noteRefused(lines, s, c.Report)
		if err := writeSummary(p.stdout, &c, lines, terminalWidth(p.stdout)-1); err != nil {
			return err
		}
		if c.Report != nil {
			if err := p.leftOut(c.Report); err != nil {
				return err
			}
		}
		return p.nextSteps(&c)
	})
}

// noteRefused notes with lines what of them a commit left as it was.
func noteRefused(lines []summary.Line, s *summary.Summary, r *commit.Report) {
	if r == nil || len(r.Refused) == 0 {
		return
	}
	type entry struct {
		path raw.String
		kind changeset.Kind
	}
	refused := map[entry]bool{}
	for _, l := range r.Refused {
		refused[entry{l.Path, l.Kind}] = true
	}
	for i := range lines {
		l := &lines[i]
		n := 0
		for k := l.First; k <= l.Last; k++ {
			if e := s.Entry(k); refused[entry{e.Path, e.Kind}] {
				n++
			}
		}
		switch {
		case n == 0:
		case n == l.Last-l.First+1:
			l.Notes = append(l.Notes, "refused: the workspace has what it had")
		default:
			l.Notes = append(l.Notes, fmt.Sprintf("%d of them refused: the workspace has what it had", n))
		}
	}
}

// writeChange says what is known of a change set besides its paths.
func writeChange(w io.Writer, c *changes.Change, now time.Time) {
	out := sheet{w}
	state := string(c.State)
	if c.Reason != "" {
		state += ": " + c.Reason
	}
	out.add("changes", "%s, %s", c.ID, state)
	out.add("ticket", "%s", c.Ticket)
	for i := range c.Because {
		out.add("because", "%s", c.Because[i].Text(nil))
	}
	if len(c.Calls) > 1 || len(c.Calls) == 1 && c.Calls[0] != c.ID {
		out.add("calls", "%s", strings.Join(c.Calls, ", "))
	}
	out.add("made by", "%s", c.Command)
	out.add("asked by", "%s", c.Requester)
	out.add("agent", "%s", c.Agent)
	out.add("session", "%s", c.Session)
	out.add("workspace", "%s", visible.Text(string(c.Workspace)))
	out.add("made", "%s", stamp(c.Created))
	out.add("decided", "%s", stamp(c.Ended))
	out.add("by", "%s", c.By)
	if c.Report != nil {
		out.add("applied", "%d of its paths; refused %d, in conflict %d, failed %d",
			c.Report.Applied, len(c.Report.Refused), len(c.Report.Conflicts), len(c.Report.Failed))
	}
	out.add("undoes", "%s", c.Undoes)
	out.add("undone by", "%s", strings.Join(c.UndoneBy, ", "))
	if kept := keptFor(c, now); kept != "" {
		out.add("kept for", "%s", kept)
	}
	if c.Bytes > 0 {
		out.add("on the disk", "%s", summary.Bytes(c.Bytes))
	}
	out.add("digest", "%s", c.Digest)
}

// writeSummary lists lines under the heads of their kinds, and the total.
func writeSummary(w io.Writer, c *changes.Change, lines []summary.Line, width int) error {
	var b strings.Builder
	for _, r := range summary.Rows(lines, width) {
		if r.Sort == summary.Head {
			b.WriteByte('\n')
		}
		b.WriteString(r.Text + "\n")
	}
	fmt.Fprintf(&b, "\n%s\n", visible.Line(summary.Total(c.Count)))
	_, err := io.WriteString(w, b.String())
	return err
}

// nextSteps says what can be done with a change set.
func (p *program) nextSteps(c *changes.Change) error {
	var steps [][2]string
	diff := [2]string{"changes diff " + c.ID + " PATH", "how a file differs"}
	switch c.State {
	case changes.Asking:
		steps = [][2]string{diff, {"approve " + c.Ticket, "answers the ticket"}, {"approve --refuse PATH " + c.Ticket, "yes to all but that"}, {"deny " + c.Ticket, "nothing of it comes about"}}
		if c.Ticket == "" { // asked on a terminal
			steps = steps[:1]
		}
	case changes.Held, changes.Writing:
		steps = [][2]string{diff, {"changes commit " + c.ID, "puts it into the workspace"}, {"changes commit --refuse PATH " + c.ID, "all but that"}, {"changes discard " + c.ID, "throws it away"}}
	case changes.Committed:
		if c.Trash {
			steps = [][2]string{{"undo --dry-run " + c.ID, "what taking it back would do"}, {"undo " + c.ID, "takes it back"}}
		}
	}
	if len(steps) == 0 {
		return nil
	}
	width := 0
	for _, s := range steps {
		width = max(width, visible.Columns(s[0]))
	}
	fmt.Fprintln(p.stdout)
	for _, s := range steps {
		if err := p.line("  clawsup %-*s  %s", width, s[0], s[1]); err != nil {
			return err
		}
	}
	return nil
}

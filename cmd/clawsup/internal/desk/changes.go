// SPDX-License-Identifier: Apache-2.0

package desk

import (
	"context"
	"errors"
	"fmt"

	tea "charm.land/bubbletea/v2"

	"github.com/clawsup/clawsup/cmd/clawsup/internal/summary"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/changes"
	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// changed is the change set of a ticket about one.
type changed struct {
	told    bool // it is here, or err says why not
	err     error
	change  changes.Change
	entries []changeset.Entry
	lines   []summary.Line
	refused map[raw.String]bool // paths of lines that stay as they are
	paths   []raw.String        // the same, in the order of the lines
	stay    int                 // how many entries that is
	at      int                 // the line under the cursor

	rows  []summary.Row // as laid out for
	width int
}

// layOut gives the rows at a width.
func (c *changed) layOut(width int) []summary.Row {
	if c.width != width {
		c.rows, c.width = summary.Rows(c.lines, width), width
	}
	return c.rows
}

// stays says whether a path stays as it is: it is refused, or what it is in.
func (c *changed) stays(p raw.String) bool {
	return len(c.paths) > 0 && summary.Covers(c.paths, p)
}

// count puts together what is refused.
func (c *changed) count() {
	c.paths, c.stay = nil, 0
	for i := range c.lines {
		if p := c.lines[i].Path; c.refused[p] && !c.stays(p) {
			c.paths = append(c.paths, p)
		}
	}
	for i := range c.entries {
		if c.stays(c.entries[i].Path) {
			c.stay++
		}
	}
}

// changesTold is a whole change set, or why there is none.
type changesTold struct {
	by      Daemon
	id      string
	change  changes.Change
	entries []changeset.Entry
	err     error
}

// diffTold is how a file differs.
type diffTold struct {
	by   Daemon
	path raw.String
	api.ChangesDifference
	err error
}

// set gives the change set of a ticket: nil where it is about none.
func (m *model) set(t *approval.Ticket) *changed {
	if t == nil || t.Changes == "" {
		return nil
	}
	c := m.sets[t.Changes]
	if c == nil {
		c = &changed{refused: map[raw.String]bool{}}
		m.sets[t.Changes] = c
	}
	return c
}

// fetch asks for the change set of the selected ticket, once.
func (m *model) fetch() tea.Cmd {
	t := m.ticket()
	c := m.set(t)
	if c == nil || c.told || m.daemon == nil || m.fetching[t.Changes] {
		return nil
	}
	m.fetching[t.Changes] = true
	ctx, d, id := m.ctx, m.daemon, t.Changes
	return func() tea.Msg {
		told := changesTold{by: d, id: id}
		for {
			page, err := fetchPage(ctx, d, id, len(told.entries))
			switch {
			case err != nil:
				told.err = err
			case told.entries != nil && page.Change.Digest != told.change.Digest:
				told.err = errors.New("it changed while it was read")
			default:
				told.change, told.entries = page.Change, append(told.entries, page.Entries...)
				if len(page.Entries) > 0 && len(told.entries) < page.Total {
					continue
				}
			}
			return told
		}
	}
}

func fetchPage(ctx context.Context, d Daemon, id string, from int) (api.ChangesEntries, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var page api.ChangesEntries
	err := d.Call(ctx, api.ChangesShow, api.ChangesPart{Changes: id, From: from}, &page)
	return page, err
}

// changesCame takes a change set in. Marks of what is refused are kept.
func (m *model) changesCame(msg changesTold) {
	delete(m.fetching, msg.id)
	if msg.by != m.daemon {
		return
	}
	m.laidKey = ""
	c := m.sets[msg.id]
	if c == nil {
		return // its ticket is gone
	}
	c.told, c.err = true, msg.err
	for i := range m.tickets {
		if t := &m.tickets[i]; c.err == nil && t.Changes == msg.id && !About(t, &msg.change) {
			c.err = fmt.Errorf("it is another than ticket %s is about", t.ID)
		}
	}
	for i := range m.tickets { // what was read until now was not this
		if m.tickets[i].Changes == msg.id {
			delete(m.whole, version(&m.tickets[i]))
		}
	}
	if c.err == nil {
		c.change, c.entries, c.width = msg.change, msg.entries, 0
		c.lines = summary.Of(msg.entries).Folded()
		c.count()
	}
}

// About says whether a ticket's facts are of this very change set.
func About(t *approval.Ticket, c *changes.Change) bool {
	for _, f := range t.Facts {
		if f.Name == "changes" && f.Digest != "" && f.Digest != c.Digest {
			return false
		}
	}
	return true
}

// changedLines are the text of a change set, below its ticket's.
func (m *model) changedLines(c *changed, width int) []line {
	var lines []line
	say := func(tone tone, format string, args ...any) {
		for _, v := range visible.Wrap(visible.Line(fmt.Sprintf(format, args...)), width) {
			lines = append(lines, line{text: v, tone: tone})
		}
	}
	switch {
	case !c.told:
		say(faint, "Looking at what changed ...")
		return lines
	case c.err != nil:
		say(warning, "What changed can't be shown: %v", c.err)
		return lines
	}
	for _, r := range c.layOut(width) {
		l := line{text: r.Text, entry: r.Line + 1}
		switch {
		case r.Sort == summary.Head:
			l.tone = title
		case r.Sort == summary.Note, r.Kind == changeset.Deleted:
			l.tone = warning
		}
		if r.Sort == summary.Item && r.First {
			mark := []byte("  ")
			if m.inside && r.Line == c.at {
				mark[0] = '>'
			}
			if c.stays(c.lines[r.Line].Path) {
				mark[1], l.tone = 'x', faint
			}
			l.text = string(mark) + r.Text[2:]
		}
		if m.inside && r.Line == c.at && r.Sort == summary.Item {
			l.tone = chosen
		}
		lines = append(lines, l)
	}
	say(plain, "%s", summary.Total(c.change.Count))
	if c.stay > 0 {
		say(warning, "%d refused, behind an x: a keeps the others", c.stay)
	}
	return lines
}

// enter goes into the changes of the selected ticket, from line to line. Where
// the ticket is about none it watches a call.
func (m *model) enter() tea.Cmd {
	t := m.ticket()
	c := m.set(t)
	switch {
	case c == nil:
		return m.follow()
	case m.daemon == nil:
		m.refuse("there is no connection")
	case !c.told:
		m.refuse("not yet: what changed is still looked at")
	case c.err != nil: // another try
		c.told = false
		m.laidKey = ""
	case len(c.lines) == 0:
		m.refuse("nothing changed")
	case m.firstRow(0) >= m.read && !m.whole[version(t)]:
		m.refuse("read on to what changed first (space goes on)")
	default:
		m.inside, m.laidKey = true, ""
		m.reveal(c)
	}
	return nil
}

// firstRow is the first row of the text that a line of the changes is on.
func (m *model) firstRow(of int) int {
	for i, l := range m.text() {
		if l.entry == of+1 {
			return i
		}
	}
	return 0
}

// reveal scrolls to the line under the cursor: no further than it takes, so that
// what is read is read in order.
func (m *model) reveal(c *changed) {
	first := m.firstRow(c.at)
	last := first
	for text := m.text(); last+1 < len(text) && text[last+1].entry == c.at+1; {
		last++
	}
	if c.at == len(c.lines)-1 {
		last = len(m.text()) - 1 // what is beneath the last can't be gone to
	}
	room := m.layout().room
	m.top = max(0, min(m.top, first), last+1-room)
	if last-first >= room { // it doesn't fit: from its beginning
		m.top = first
	}
}

// insideKey is for the keys among the changes.
func (m *model) insideKey(k tea.KeyPressMsg) tea.Cmd {
	t := m.ticket()
	c := m.set(t)
	m.laidKey = ""
	step := func(by int) {
		c.at = max(0, min(c.at+by, len(c.lines)-1))
		m.reveal(c)
	}
	switch k.String() {
	case "esc", "q", "left", "h":
		m.inside = false
	case "down", "j", "tab":
		step(1)
	case "up", "k", "shift+tab":
		step(-1)
	case "pgdown", "f":
		step(max(1, m.layout().room/2))
	case "pgup", "b":
		step(-max(1, m.layout().room/2))
	case "space", "x":
		c.toggle(c.at)
	case "enter", "d", "right", "l":
		return m.differ(c)
	case "a":
		return m.allow()
	case "?":
		m.help = true
	}
	return nil
}

// toggle refuses a line, or doesn't after all.
func (c *changed) toggle(at int) {
	p := c.lines[at].Path
	if c.refused[p] {
		delete(c.refused, p)
	} else {
		c.refused[p] = true
	}
	c.count()
}

// differ asks how the file under the cursor differs.
func (m *model) differ(c *changed) tea.Cmd {
	l := &c.lines[c.at]
	if l.First != l.Last {
		m.refuse("that is a whole directory: 'clawsup changes diff %s PATH' shows a file in it", c.change.ID)
		return nil
	}
	m.say("looking at %s ...", l.Name())
	d, path := m.daemon, l.Path
	return ask(m.ctx, d, api.ChangesDiff, api.ChangesPath{Changes: c.change.ID, Path: path}, func(r api.ChangesDifference, err error) tea.Msg {
		return diffTold{d, path, r, err}
	})
}

// diff is a difference that somebody looks at.
type diff struct {
	path  raw.String
	lines []string
	top   int
	rows  []string // as folded for
	width int
}

func (m *model) diffCame(msg diffTold) {
	switch {
	case msg.by != m.daemon || !m.inside:
		return
	case msg.err != nil:
		m.refuse("it can't be shown: %v", msg.err)
		return
	}
	m.notice = ""
	m.diff = &diff{path: msg.path}
	for _, l := range msg.Lines {
		m.diff.lines = append(m.diff.lines, visible.Line(l))
	}
	for _, n := range summary.Notes(&msg.Entry) {
		m.diff.lines = append(m.diff.lines, "@"+n)
	}
	if msg.Cut {
		m.diff.lines = append(m.diff.lines, "@not all of it is shown")
	}
}

func (m *model) diffKey(k tea.KeyPressMsg) {
	page := max(1, m.height-6)
	switch k.String() {
	case "q", "esc", "enter", "d", "ctrl+c":
		m.diff = nil
	case "up", "k":
		m.diff.top--
	case "down", "j":
		m.diff.top++
	case "pgup", "b":
		m.diff.top -= page
	case "pgdown", "space", "f":
		m.diff.top += page
	}
}

// diffRows are those of the difference that fit.
func (m *model) diffRows() []string {
	d := m.diff
	if d.width != m.width {
		d.rows, d.width = nil, m.width
		for _, l := range d.lines {
			d.rows = append(d.rows, summary.Fold(l, m.width)...)
		}
	}
	room := max(1, m.height-5)
	d.top = max(0, min(d.top, len(d.rows)-room))
	rows := []string{styleTitle.Render(Cut("--- "+visible.Text(string(d.path))+" ", m.width))}
	end := min(len(d.rows), d.top+room)
	style := styleFaint
	for i, r := range d.rows[:end] {
		switch {
		case r == "" || r[0] == '>': // goes on
		case r[0] == '-':
			style = styleRemoved
		case r[0] == '+':
			style = styleGood
		case r[0] == '@':
			style = styleFaint
		default:
			style = tones[plain]
		}
		if i >= d.top {
			rows = append(rows, style.Render(r))
		}
	}
	rows = fill(rows, m.height-4)
	return append(rows, styleFaint.Render(Cut(fmt.Sprintf("--- rows %d to %d of %d", min(d.top+1, end), end, len(d.rows)), m.width)))
}

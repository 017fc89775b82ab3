// SPDX-License-Identifier: Apache-2.0

package desk

import (
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// The styles use a terminal's own colours, so that they fit it.
var (
	styleBar     = lipgloss.NewStyle().Reverse(true)
	styleChosen  = lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Cyan)
	styleFaint   = lipgloss.NewStyle().Faint(true)
	styleGood    = lipgloss.NewStyle().Foreground(lipgloss.Green)
	styleRemoved = lipgloss.NewStyle().Foreground(lipgloss.Red)
	styleAlarm   = lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Red)
	styleTitle   = lipgloss.NewStyle().Bold(true)
	styleWarning = lipgloss.NewStyle().Foreground(lipgloss.Yellow)
	styleTheirs  = lipgloss.NewStyle().Italic(true).Foreground(lipgloss.Magenta)
)

var tones = map[tone]lipgloss.Style{
	plain:   lipgloss.NewStyle(),
	faint:   styleFaint,
	title:   styleTitle,
	warning: styleWarning,
	theirs:  styleTheirs,
	chosen:  styleChosen,
}

// wide is the width from which on list and text stand side by side.
const wide = 110

// layout is where things are. Besides them there are the bar on top, the
// line between list and text, and two lines at the bottom.
type layout struct {
	side  bool // list at the left, else on top
	list  int  // rows of the list
	panel int  // width of the list
	text  int  // width of the text
	room  int  // rows of the text
	form  int  // rows of the form, between text and notice
}

func (m *model) layout() layout {
	l := layout{panel: m.width, text: m.width}
	if m.form != nil {
		l.form = len(m.formRows())
	}
	body := max(m.height-3-l.form, 2) // bar, notice, keys
	if m.width >= wide {
		l.side, l.panel = true, min(60, m.width*3/10)
		l.text = m.width - l.panel - 1
		l.list, l.room = body, body-1
		return l
	}
	l.list = min(max(1, len(m.tickets)+len(m.calls)), max(1, body/4))
	l.room = max(1, body-l.list-1)
	return l
}

// text is the whole text of what is selected. It is laid out anew each second,
// and when something changes.
func (m *model) text() []line {
	key := fmt.Sprint(m.selected, m.layout().text, m.now().Unix(), m.ready)
	if m.laidKey != key {
		m.laid, m.laidKey = m.layOut(m.layout().text), key
	}
	return m.laid
}

func (m *model) layOut(width int) []line {
	if t := m.ticket(); t != nil {
		var was *approval.Ticket
		if p, ok := m.parents[t.Parent]; ok {
			was = &p
		}
		lines := ticketLines(t, was, width, m.now())
		if c := m.set(t); c != nil {
			lines = append(lines, m.changedLines(c, max(width, 30))...)
		}
		return lines
	}
	for i := range m.calls {
		if m.calls[i].ID == m.selected {
			return callLines(&m.calls[i], width, m.now())
		}
	}
	text := "Nothing waits for an answer. What is asked next appears here by itself."
	if !m.ready {
		text = "Looking at what waits ..."
	}
	var lines []line
	for _, v := range visible.Wrap(text, max(20, width)) {
		lines = append(lines, line{text: v, tone: faint})
	}
	return lines
}

// callLines is what there is to know about a running call.
func callLines(c *api.Call, width int, now time.Time) []line {
	s := &sheet{width: max(width, 20)}
	s.add("call", c.ID+", running for "+Span(now.Sub(c.Started)), title)
	s.add("command", c.Command, plain)
	s.add("asked by", c.Requester, plain)
	s.add("skill", c.Skill, plain)
	s.add("profile", c.Profile, plain)
	s.add("session", strings.TrimSpace(c.SessionName+" "+c.Session), plain)
	s.add("labels", labels(c.Labels), warning)
	s.add("allowed by", strings.TrimSpace(c.Rule+" "+c.Ticket+" "+c.Grant), plain)
	s.add("plan", c.Plan, faint)
	s.add("keys", "w follows what it writes, and k stops it there", faint)
	return s.lines
}

// View is the screen.
func (m *model) View() tea.View {
	v := tea.NewView(m.screen())
	v.AltScreen = true
	v.WindowTitle = "clawsup approvals"
	return v
}

func (m *model) screen() string {
	rows := []string{m.bar()}
	switch {
	case m.help:
		rows = append(rows, m.helpRows()...)
	case m.diff != nil:
		rows = append(rows, m.diffRows()...)
	case m.watch != nil:
		rows = append(rows, m.watchRows()...)
	default:
		rows = append(rows, m.bodyRows()...)
	}
	rows = fill(rows, m.height-2)
	return strings.Join(append(rows, m.noticeRow(), m.keysRow()), "\n")
}

// fill makes it n rows.
func fill(rows []string, n int) []string {
	n = max(n, 0)
	for len(rows) < n {
		rows = append(rows, "")
	}
	return rows[:n]
}

// bar is the line on top.
func (m *model) bar() string {
	left := " clawsup approvals"
	if m.width < 60 {
		left = " clawsup"
	}
	right := fmt.Sprintf("%d waiting, %d running ", len(m.tickets), len(m.calls))
	if m.daemon == nil {
		right = "no connection "
	}
	if who := visible.Line(m.me.Name + " (" + m.me.Role + ")"); m.me.Role != "" && visible.Columns(left+" "+who+right)+2 < m.width {
		right = who + "  " + right
	}
	gap := max(1, m.width-visible.Columns(left)-visible.Columns(right))
	return styleBar.Render(Cut(left+strings.Repeat(" ", gap)+right, m.width))
}

func (m *model) bodyRows() []string {
	l := m.layout()
	list, text := m.listRows(l), m.textRows(l)
	var rows []string
	if l.side {
		list = fill(list, l.list)
		text = fill(append([]string{m.rule(l, l.text)}, text...), l.list)
		for i := range list {
			pad := strings.Repeat(" ", max(0, l.panel-lipgloss.Width(list[i])))
			rows = append(rows, list[i]+pad+styleFaint.Render("|")+text[i])
		}
	} else {
		rows = append(fill(list, l.list), m.rule(l, m.width))
		rows = append(rows, fill(text, l.room)...)
	}
	if m.form != nil {
		rows = append(rows, m.formRows()...)
	}
	return rows
}

// listRows are the tickets and calls around the selected one.
func (m *model) listRows(l layout) []string {
	total, row := len(m.tickets)+len(m.calls), max(0, m.row())
	if total == 0 {
		return []string{styleFaint.Render(Cut("  nothing waits", l.panel))}
	}
	from := max(0, min(row-l.list/2, total-l.list))
	var rows []string
	for i := from; i < min(total, from+l.list); i++ {
		mark := "  "
		if i == row {
			mark = "> "
		}
		text := ""
		if i < len(m.tickets) {
			text = ticketRow(&m.tickets[i], m.now(), l.panel)
		} else {
			text = callRow(&m.calls[i-len(m.tickets)], m.now(), l.panel)
		}
		text = Cut(mark+text, l.panel)
		switch {
		case i == row:
			text = styleChosen.Render(text)
		case i >= len(m.tickets):
			text = styleGood.Render(text)
		}
		rows = append(rows, text)
	}
	return rows
}

// ticketRow is a ticket in one line. Nothing can be answered from it.
func ticketRow(t *approval.Ticket, now time.Time, width int) string {
	text := fmt.Sprintf("%-8s %6s", t.ID, Span(t.Expires.Sub(now)))
	if width >= 60 {
		text += fmt.Sprintf("  %-11s", t.Effect)
	}
	if t.Quorum > 1 {
		text += fmt.Sprintf(" %d/%d", yeses(t), t.Quorum)
	}
	if t.Count > 1 {
		text += fmt.Sprintf(" x%d", t.Count)
	}
	return text + "  " + Subject(t)
}

func callRow(c *api.Call, now time.Time, _ int) string {
	return fmt.Sprintf("%-8s %6s  %s", "running", Span(now.Sub(c.Started)), visible.Line(c.Command))
}

// rule is the line above the text: what part of it is shown.
func (m *model) rule(l layout, width int) string {
	lines := len(m.text())
	text := "--- all of it "
	if lines > l.room {
		text = fmt.Sprintf("--- lines %d to %d of %d ", m.top+1, min(lines, m.top+l.room), lines)
	}
	t := m.ticket()
	switch {
	case t == nil:
		text = "---"
	case lines > l.room && !m.whole[version(t)]:
		text += "--- space: read on "
	case lines > l.room:
		text += "--- read "
	}
	if c := m.set(t); c != nil && c.stay > 0 {
		text += fmt.Sprintf("--- %d refused ", c.stay)
	}
	text = Cut(text, width)
	return styleFaint.Render(text + strings.Repeat("-", max(0, width-visible.Columns(text))))
}

func (m *model) textRows(l layout) []string {
	lines := m.text()
	top := max(0, min(m.top, len(lines)-l.room))
	var rows []string
	for _, line := range lines[top:min(len(lines), top+l.room)] {
		rows = append(rows, tones[line.tone].Render(line.text))
	}
	return rows
}

// formRows are the form's, the one that takes keys marked.
func (m *model) formRows() []string {
	f := m.form
	rows := []string{styleTitle.Render(Cut("--- "+f.title+" ", m.width)) + styleFaint.Render(strings.Repeat("-", max(0, m.width-visible.Columns(f.title)-5)))}
	for i := range f.fields {
		rows = append(rows, f.fields[i].rows(i == f.at, m.width)...)
	}
	return rows
}

// rows are those of one field; here says that it takes the keys.
func (f *field) rows(here bool, width int) []string {
	name := "  " + f.name + ": "
	if here {
		name = "> " + f.name + ": "
	}
	if f.choices == nil && f.own {
		return []string{Cut(name, width), "  " + f.typed(width-4)}
	}
	if f.choices == nil {
		return []string{name + f.typed(width-visible.Columns(name)-2)}
	}
	text := visible.Line(f.choices[f.chosen])
	if len(f.choices) > 1 {
		text = "< " + text + " >"
	}
	if visible.Columns(name+text) < width {
		return []string{name + text}
	}
	rows := []string{Cut(name, width)}
	for _, w := range visible.Wrap(text, width-4) {
		rows = append(rows, "    "+w)
	}
	return rows
}

// typed is the text of an input around its cursor.
func (f *field) typed(width int) string {
	if width = max(4, width); f.input.Width() != width {
		f.input.SetWidth(width)
		f.input.SetCursor(f.input.Position()) // which brings it into the width
	}
	return f.input.View()
}

// helpRows are the help from the row on that is wanted.
func (m *model) helpRows() []string {
	var rows []string
	side := min(15, m.width/4)
	for _, b := range bindings {
		keys := strings.Join(b.keys, " ")
		if visible.Columns(keys) > side {
			rows = append(rows, styleTitle.Render(" "+Cut(keys, m.width-1)))
			keys = ""
		}
		for _, w := range visible.Wrap(b.what, m.width-side-2) {
			rows = append(rows, styleTitle.Render(fmt.Sprintf(" %-*s", side, keys))+" "+w)
			keys = ""
		}
	}
	rows = append(rows, "")
	for _, w := range visible.Wrap(fmt.Sprintf("A key answers a ticket only after it stood still for %v and was read to its end.", Settle), m.width-1) {
		rows = append(rows, " "+w)
	}
	m.helpTop = max(0, min(m.helpTop, len(rows)-(m.height-3)))
	return rows[m.helpTop:]
}

func (m *model) watchRows() []string {
	w := m.watch
	head := "--- " + visible.Line(w.call.ID+" "+w.call.Command) + " "
	rows := []string{styleTitle.Render(Cut(head, m.width))}
	rows = append(rows, w.rows(m.width, max(1, m.height-5))...)
	rows = fill(rows, m.height-4)
	state := "follows what it writes; ! is standard error"
	if w.missed > 0 {
		state = fmt.Sprintf("follows; %d lines are not kept", w.missed)
	}
	if w.back > 0 {
		state = fmt.Sprintf("%d rows above the end", w.back)
	}
	if w.over != "" {
		state = w.over
	}
	return append(rows, styleFaint.Render(Cut("--- "+state, m.width)))
}

func (m *model) noticeRow() string {
	if m.alarm {
		return styleAlarm.Render(Cut(m.notice, m.width))
	}
	return styleGood.Render(Cut(m.notice, m.width))
}

// keysRow names the keys that do something now, as many as fit.
func (m *model) keysRow() string {
	var names []string
	switch {
	case m.help:
		names = []string{"space more", "any other key closes this"}
	case m.form != nil:
		names = []string{"enter " + m.form.does, "esc leaves"}
		if len(m.form.fields) > 1 {
			names = append(names, "tab next", "arrows choose")
		}
	case m.diff != nil:
		names = []string{"q back", "space more", "up down"}
	case m.watch != nil:
		names = []string{"k kill", "q back", "up down"}
	case m.inside:
		names = []string{"space refuse", "enter diff", "a keep the others", "esc back", "up down"}
	default:
		about := m.set(m.ticket()) != nil
		for _, b := range bindings {
			name := b.name
			if about {
				name = b.changes
			}
			if name != "" {
				names = append(names, name)
			}
		}
	}
	text := " " + strings.Join(names, "  ")
	if visible.Columns(text) > m.width && !m.help { // the first letters, and where to read more
		text = " a g d c w  space more  ? help  q"
		switch {
		case m.form != nil:
			text = " " + names[0] + "  esc leaves"
		case m.diff != nil:
			text = " " + names[0]
		case m.watch != nil:
			text = " " + names[len(names)-1]
		case m.inside:
			text = " space enter a  esc back"
		case m.set(m.ticket()) != nil:
			text = " a d enter  space more  ? help  q"
		}
	}
	return styleFaint.Render(Cut(text, m.width))
}

// SPDX-License-Identifier: Apache-2.0

package desk

import (
	"context"
	"slices"

	tea "charm.land/bubbletea/v2"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
)

// binding is what a key does at the desk.
type binding struct {
	keys    []string
	name    string // in the line of keys
	changes string // the same where a ticket about a change set is selected; empty: it does nothing there
	what    string // in the help
	do      func(m *model) tea.Cmd
}

// bindings is the table of keys, in the order of the help.
var bindings = []binding{
	{[]string{"a"}, "a once", "a keep", "allow the selected ticket, this once; of a change set: keep what is not refused", (*model).allow},
	{[]string{"g"}, "g grant", "", "allow it and what is like it for a time: asks how long and for what", (*model).grant},
	{[]string{"d"}, "d deny", "d deny", "deny it: asks for a reason, which the requester gets", (*model).deny},
	{[]string{"c"}, "c change", "", "change the command; the new ticket waits for an answer of its own", (*model).change},
	{[]string{"enter", "e"}, "", "enter changes", "go into what a call changed: there up and down select, enter or d shows how a file differs, space refuses a path, a keeps the others, esc leaves. Of a call the same as w", (*model).enter},
	{[]string{"w"}, "w watch", "w watch", "follow the output of the selected or last allowed call; k there stops it", (*model).follow},
	{[]string{"space", "pgdown", "f"}, "space more", "space more", "go on in the text; a ticket can be answered once it was read to its end", func(m *model) tea.Cmd { return m.scroll(max(1, m.layout().room-1)) }},
	{[]string{"b", "pgup"}, "", "", "go back in the text", func(m *model) tea.Cmd { return m.scroll(min(-1, 1-m.layout().room)) }},
	{[]string{"right", "l"}, "", "", "one line on in the text", func(m *model) tea.Cmd { return m.scroll(1) }},
	{[]string{"left", "h"}, "", "", "one line back in the text", func(m *model) tea.Cmd { return m.scroll(-1) }},
	{[]string{"down", "j", "tab"}, "", "", "select the next of the list", func(m *model) tea.Cmd { return m.move(1) }},
	{[]string{"up", "k", "shift+tab"}, "", "", "select the one before", func(m *model) tea.Cmd { return m.move(-1) }},
	{[]string{"?"}, "? help", "? help", "this help", func(m *model) tea.Cmd { m.help = true; return nil }},
	{[]string{"q", "ctrl+c"}, "q quit", "q quit", "leave; what waits goes on waiting", func(*model) tea.Cmd { return tea.Quit }},
}

// key takes a key to whatever has the screen.
func (m *model) key(k tea.KeyPressMsg) tea.Cmd {
	switch {
	case k.String() == "ctrl+c" && m.form == nil && m.watch == nil && m.diff == nil:
		return tea.Quit
	case m.help:
		m.helpKey(k)
		return nil
	case m.form != nil:
		return m.formKey(k)
	case m.diff != nil:
		m.diffKey(k)
		return nil
	case m.watch != nil:
		return m.watchKey(k)
	case m.inside:
		m.notice = ""
		return m.insideKey(k)
	}
	for _, b := range bindings {
		if slices.Contains(b.keys, k.String()) {
			m.notice = ""
			return b.do(m)
		}
	}
	return nil
}

// helpKey goes through the help, or closes it.
func (m *model) helpKey(k tea.KeyPressMsg) {
	switch k.String() {
	case "space", "pgdown", "down", "j":
		m.helpTop += max(1, m.height-5)
	case "pgup", "up", "k", "b":
		m.helpTop -= max(1, m.height-5)
	default:
		m.help, m.helpTop = false, 0
	}
}

func (m *model) scroll(lines int) tea.Cmd {
	m.top = max(0, m.top+lines) // look keeps it above the end
	return nil
}

func (m *model) move(by int) tea.Cmd {
	if id := m.id(m.row() + by); id != "" {
		m.selected, m.top, m.chosen = id, 0, true
	}
	return nil
}

func (m *model) allow() tea.Cmd {
	t := m.answerable()
	if t == nil {
		return nil
	}
	a := approval.Answer{Ticket: t.ID, Revision: t.Revision, Verdict: approval.Allow}
	if c := m.set(t); c != nil {
		a.Refuse = c.paths
		switch {
		case c.err != nil:
			m.refuse("what changed can't be shown, and is not kept unseen: enter tries again, d denies it")
			return nil
		case len(c.entries) > 0 && c.stay == len(c.entries):
			m.refuse("all of it is refused: esc, then d denies it, with a reason")
			return nil
		}
	}
	return m.send(a)
}

func (m *model) grant() tea.Cmd { return m.before(newGrant) }
func (m *model) deny() tea.Cmd  { return m.open(newDeny) }

func (m *model) change() tea.Cmd { return m.before(newChange) }

// before opens a form that is for calls that have not run.
func (m *model) before(make func(approval.Ticket) (*form, error)) tea.Cmd {
	if m.set(m.ticket()) != nil {
		m.refuse("this call has run: a keeps what it did, enter goes into it, d denies it")
		return nil
	}
	return m.open(make)
}

// open shows a form for the selected ticket. What it was opened for is what it
// answers, whatever comes in the meantime.
func (m *model) open(make func(approval.Ticket) (*form, error)) tea.Cmd {
	t := m.answerable()
	if t == nil {
		return nil
	}
	f, err := make(*t)
	if err != nil {
		m.refuse("%v", err)
		return nil
	}
	m.form = f
	return f.focus()
}

func (m *model) formKey(k tea.KeyPressMsg) tea.Cmd {
	switch k.String() {
	case "esc", "ctrl+c":
		m.form = nil
		m.say("nothing was answered")
		return nil
	case "enter":
		a, err := m.form.answer()
		if err != nil {
			m.refuse("%v", err)
			return nil
		}
		if now := m.ticket(); now == nil || version(now) != version(&m.form.ticket) {
			m.form = nil
			m.refuse("not answered: the ticket changed in the meantime")
			return nil
		}
		m.form = nil
		return m.send(a)
	}
	m.notice = ""
	return m.form.take(k)
}

// follow watches a call: the selected one, or the one allowed last.
func (m *model) follow() tea.Cmd {
	call := api.Call{ID: m.allowed}
	for _, c := range m.calls {
		if c.ID == m.selected || call.Command == "" && c.ID == m.allowed {
			call = c
		}
	}
	switch {
	case m.daemon == nil:
		m.refuse("there is no connection")
		return nil
	case call.ID == "":
		m.refuse("no call runs here: select one below the tickets, or allow one")
		return nil
	}
	ctx, cancel := context.WithCancel(m.ctx)
	m.watch = newWatch(call, cancel)
	d := m.daemon
	return func() tea.Msg {
		var end api.Call
		err := d.Call(ctx, api.CallWatch, api.CallRef{Call: call.ID}, &end)
		end.ID = call.ID
		return watchEnded{end, err}
	}
}

func (m *model) watchKey(k tea.KeyPressMsg) tea.Cmd {
	switch k.String() {
	case "q", "esc", "w", "ctrl+c":
		m.watch.cancel()
		m.watch = nil
		m.notice = ""
	case "k", "x":
		id := m.watch.call.ID
		m.say("stopping %s ...", id)
		return ask(m.ctx, m.daemon, api.CallStop, api.Stop{Call: id, Reason: "stopped by an approver who watched it"},
			func(_ api.Stopped, err error) tea.Msg { return stopTold{id, err} })
	case "up", "left", "h":
		m.watch.back++
	case "pgup", "b":
		m.watch.back += max(1, m.height-5)
	case "down", "right", "l":
		m.watch.back--
	case "pgdown", "space", "f":
		m.watch.back -= max(1, m.height-5)
	case "end", "G":
		m.watch.back = 0
	}
	return nil
}

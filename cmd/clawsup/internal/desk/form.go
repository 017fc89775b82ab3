// SPDX-License-Identifier: Apache-2.0

package desk

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"charm.land/bubbles/v2/key"
	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// form asks what an answer needs besides a key.
type form struct {
	ticket approval.Ticket // as it was when the form was opened
	title  string
	does   string // what enter does
	fields []field
	at     int // the field that takes keys
	make   func(f *form) (approval.Answer, error)
}

// field is a text to type, or a choice.
type field struct {
	name    string
	input   textinput.Model
	own     bool     // has a line of its own, below its name
	choices []string // of a choice
	chosen  int
}

func newInput(name, value string, own bool) field {
	in := textinput.New()
	in.Prompt = ""
	in.CharLimit = 64 << 10
	in.KeyMap.Paste = key.NewBinding(key.WithDisabled()) // it would start programs that read the clipboard
	in.SetVirtualCursor(true)
	styles := in.Styles()
	styles.Cursor.Blink = false
	in.SetStyles(styles)
	in.SetValue(value)
	return field{name: name, input: in, own: own}
}

func (f *form) focus() tea.Cmd {
	for i := range f.fields {
		f.fields[i].input.Blur()
	}
	if now := &f.fields[f.at]; now.choices == nil {
		return now.input.Focus()
	}
	return nil
}

// take gives a key or pasted text to the field it is for.
func (f *form) take(msg tea.Msg) tea.Cmd {
	now := &f.fields[f.at]
	if k, ok := msg.(tea.KeyPressMsg); ok {
		switch k.String() {
		case "tab", "down":
			f.at = (f.at + 1) % len(f.fields)
			return f.focus()
		case "shift+tab", "up":
			f.at = (f.at + len(f.fields) - 1) % len(f.fields)
			return f.focus()
		}
		if now.choices != nil {
			switch k.String() {
			case "right", "space", "l":
				now.chosen = (now.chosen + 1) % len(now.choices)
			case "left", "h":
				now.chosen = (now.chosen + len(now.choices) - 1) % len(now.choices)
			}
			return nil
		}
	}
	if now.choices != nil {
		return nil
	}
	var cmd tea.Cmd
	now.input, cmd = now.input.Update(msg)
	return cmd
}

func (f *form) answer() (approval.Answer, error) {
	a, err := f.make(f)
	a.Ticket, a.Revision = f.ticket.ID, f.ticket.Revision
	return a, err
}

func newDeny(t approval.Ticket) (*form, error) {
	return &form{ticket: t, title: "Deny " + t.ID, does: "denies",
		fields: []field{newInput("reason, for the requester", "", true)},
		make: func(f *form) (approval.Answer, error) {
			return approval.Answer{Verdict: approval.Deny, Reason: f.fields[0].input.Value()}, nil
		}}, nil
}

const thisSession = "this session"

func newGrant(t approval.Ticket) (*form, error) {
	who := field{name: "for whom"}
	if t.Session != "" {
		who.choices = append(who.choices, thisSession)
	}
	if t.Agent != "" {
		who.choices = append(who.choices, Who(&policy.Scope{Agent: t.Agent}))
	}
	if who.choices == nil {
		return nil, errors.New("a grant is for a session or an agent, and this call has neither: allow it once")
	}
	what := field{name: "for what"}
	for _, exact := range []bool{false, true} {
		scope, err := t.Scope(t.Session == "", exact, "")
		if err != nil {
			return nil, err
		}
		if exact || scope.Plan == "" {
			scope.Target = "" // has a field of its own, or none
			what.choices = append(what.choices, What(&scope))
		}
	}
	f := &form{ticket: t, title: "Grant " + t.ID, does: "grants",
		fields: []field{newInput("how long", "1h", false), newInput("how often", "", false), who, what},
		make:   makeGrant}
	if t.Target != "" {
		to := field{name: "to " + wantings[t.Effect]}
		for _, target := range t.Targets {
			to.choices = append(to.choices, visible.Text(target))
		}
		if to.choices == nil { // of a daemon that knows no wider ones
			to.choices = []string{visible.Text(t.Target)}
		}
		f.fields = append(f.fields, to)
	}
	return f, nil
}

func makeGrant(f *form) (approval.Answer, error) {
	a := approval.Answer{Verdict: approval.Grant}
	var err error
	if a.For, err = time.ParseDuration(f.fields[0].input.Value()); err != nil || a.For <= 0 {
		return a, errors.New("how long is a time as 15m, 8h or 1h30m")
	}
	if uses := f.fields[1].input.Value(); uses != "" {
		if a.Uses, err = strconv.Atoi(uses); err != nil || a.Uses < 1 {
			return a, errors.New("how often is a number from 1 on, or empty: not counted")
		}
	}
	who, what := &f.fields[2], &f.fields[3]
	a.Wide = who.choices[who.chosen] != thisSession
	a.Exact = what.chosen == len(what.choices)-1
	if len(f.fields) > 4 && f.fields[4].chosen > 0 {
		a.Target = f.ticket.Targets[f.fields[4].chosen]
	}
	return a, nil
}

func newChange(t approval.Ticket) (*form, error) {
	words, err := command(&t)
	if err != nil || len(words) == 0 {
		return nil, fmt.Errorf("this command can't be edited here; use 'clawsup approve --change %s -- COMMAND'", t.ID)
	}
	in := newInput("command", spell(words), true)
	in.input.CursorEnd()
	return &form{ticket: t, title: "Change " + t.ID, does: "asks anew",
		fields: []field{in},
		make: func(f *form) (approval.Answer, error) {
			changed, err := split(f.fields[0].input.Value())
			switch {
			case err != nil:
			case len(changed) == 0:
				err = errors.New("there is no command left; esc leaves this")
			case slices.Equal(changed, words):
				err = errors.New("nothing is changed; esc leaves this")
			}
			return approval.Answer{Verdict: approval.Change, Args: raw.Of(changed)}, err
		}}, nil
}

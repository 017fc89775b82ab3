// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"time"

	"github.com/clawsup/clawsup/cmd/clawsup/internal/desk"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/visible"
)

const sessionUsage = `usage: clawsup session list [--json]
       clawsup session show SESSION [--json]
       clawsup session remove SESSION
       clawsup session clear --label L [--reason R] SESSION

A session is what the calls of one conversation share: a workspace, a private
/tmp, grants and labels. SESSION is its id or the beginning of it, or its name,
as AGENT/NAME too, if that means one alone.

  list     all sessions
  show     one, with the label that each call brought
  remove   removes it with all of its files
  clear    takes a label off it: says that what it has seen is not private, or
           not untrusted

  --label L   untrusted or private
  --reason R  why; the receipt has it
  --json      objects instead of text

Exit status: 0; 1 if the daemon refuses; 3 if there is no daemon.
`

func sessionCommand() *command {
	return &command{name: "session", subject: "sessions", synopsis: "list, show, remove and clear sessions", usage: sessionUsage, execute: executeSession}
}

type sessionFlags struct {
	json          bool
	label, reason string
}

var sessionVerbs = []verb[sessionFlags]{
	{name: "list", flags: []string{"json"}, execute: (*program).sessionList},
	{name: "show", least: 1, most: 1, needs: "a session", flags: []string{"json"}, execute: (*program).sessionShow},
	{name: "remove", least: 1, most: 1, needs: "a session", flags: []string{"json"}, execute: (*program).sessionRemove},
	{name: "clear", least: 1, most: 1, needs: "a session", flags: []string{"label", "reason", "json"}, execute: (*program).sessionClear},
}

func executeSession(p *program, args []string) int {
	var f sessionFlags
	s := p.flags("session")
	s.BoolVar(&f.json, "json", false, "")
	s.StringVar(&f.label, "label", "", "")
	s.StringVar(&f.reason, "reason", "", "")
	return choose(p, sessionCommand(), sessionVerbs, &f, s, args)
}

// sessionLabels names each label once.
func sessionLabels(s *api.Session) string {
	var untrusted, private bool
	for _, l := range s.Labels {
		untrusted = untrusted || l.Label == "untrusted"
		private = private || l.Label == "private"
	}
	return labelsText(untrusted, private)
}

func (p *program) sessionList(f *sessionFlags, _ []string) error {
	list, err := ask[[]api.Session](p, api.SessionList, api.Nothing{})
	switch {
	case err != nil:
		return err
	case f.json:
		return p.printJSON(orEmpty(list))
	}
	now := time.Now()
	t := newTable(p.stdout, "SESSION", "NAME", "OWNER", "LABELS", "CALLS", "SIZE", "USED", "EXPIRES")
	for i := range list {
		s := &list[i]
		t.row(s.ID, clipped(s.Name), sessionOwner(s), sessionLabels(s), fmt.Sprint(s.Calls), bytesText(s.Bytes), desk.Span(now.Sub(s.Used))+" ago", "in "+desk.Span(s.Expires.Sub(now)))
	}
	return t.flush()
}

func sessionOwner(s *api.Session) string {
	if s.Agent != "" {
		return "agent " + s.Agent
	}
	return fmt.Sprintf("uid %d", s.UID)
}

func (p *program) sessionShow(f *sessionFlags, words []string) error {
	s, err := ask[api.Session](p, api.SessionShow, api.SessionRef{Session: words[0]})
	switch {
	case err != nil:
		return err
	case f.json:
		return p.printJSON(s)
	}
	out := sheet{p.stdout}
	out.add("session", "%s", s.ID)
	out.add("name", "%s", visible.Text(s.Name))
	out.add("owner", "%s", sessionOwner(&s))
	out.add("calls", "%d", s.Calls)
	out.add("size", "%s of %s", bytesText(s.Bytes), bytesText(s.MaxBytes))
	out.add("made", "%s", stamp(s.Created))
	out.add("used", "%s", stamp(s.Used))
	out.add("expires", "%s", stamp(s.Expires))
	writeLabels(out, s.Labels)
	return nil
}

// writeLabels says where each label came from.
func writeLabels(out sheet, list []api.Label) {
	for _, l := range list {
		from := ""
		if l.Call != "" {
			from = ", by call " + l.Call
		}
		out.add("label", "%s on %s since %s%s: %s", l.Label, l.On, stamp(l.Since), from, l.Why)
	}
}

func (p *program) sessionRemove(f *sessionFlags, words []string) error {
	s, err := ask[api.Session](p, api.SessionRemove, api.SessionRef{Session: words[0]})
	switch {
	case err != nil:
		return err
	case f.json:
		return p.printJSON(s)
	}
	return p.line("removed session %s with %s", s.ID, bytesText(s.Bytes))
}

func (p *program) sessionClear(f *sessionFlags, words []string) error {
	if err := checkLabel(f.label); err != nil {
		return err
	}
	s, err := ask[api.Session](p, api.SessionClear, api.Clear{Name: words[0], Label: f.label, Reason: f.reason})
	switch {
	case err != nil:
		return err
	case f.json:
		return p.printJSON(s)
	}
	return p.line("%s is off session %s, which has %s now", f.label, s.ID, cmp.Or(sessionLabels(&s), "no label"))
}

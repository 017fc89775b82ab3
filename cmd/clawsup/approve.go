// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/clawsup/clawsup/cmd/clawsup/internal/desk"
	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/visible"
)

const approveUsage = `usage: clawsup approve [flags] TICKET
       clawsup approve --change [--workspace W] TICKET -- ARG...
       clawsup approve --refuse PATH [--refuse PATH]... TICKET

Shows the whole ticket and asks for the word yes on the terminal. TICKET is its
id, or a beginning of it that no other has.

  --for D         a grant: yes also to what is like it, for so long (30m, 8h).
                  Of a skill's call that is its script as the skill is now, with
                  any arguments, under the same profile and on the same workspace;
                  of any other call this plan alone, but of a question about a
                  destination any command, under the same profile and on the same
                  workspace. The question says it all
  --uses N        the grant ends after N uses
  --wide          the grant is for the agent; without it for the session
  --target T      what the grant lets be reached: one of the targets that the
                  ticket has, the first and narrowest without this; another
                  word makes it say which there are
  --exact         the grant is for this plan alone, though it is a skill's, or
                  about a destination
  --change        not this, but with the words after -- as the command (of a
                  skill: as its script and arguments). The new ticket is shown,
                  and asked about in its turn
  --workspace W   of a change: another workspace
  --refuse PATH   of a ticket about what a call did to files: keep all but this,
                  and all that is beneath it; see 'clawsup help changes'
  --yes           don't ask; takes --revision too
  --revision N    the revision of the ticket that you have read; if it has
                  another by now, nothing is answered
  --json          one object: the ticket afterwards, and for a change the next

Exit status: 0 it was answered; 1 you didn't say yes, or the daemon refuses; 2
for a wrong command line; 3 if there is no daemon.
`

const denyUsage = `usage: clawsup deny [--reason R] TICKET

Says no. TICKET is its id, or a beginning of it that no other has.

  --reason R  why; the requester gets it
  --json      one object: the ticket afterwards

Exit status: 0; 1 if the daemon refuses; 3 if there is no daemon.
`

func approveCommand() *command {
	return &command{name: "approve", synopsis: "say yes to a ticket, once or for a time", usage: approveUsage, execute: executeApprove}
}

func denyCommand() *command {
	return &command{name: "deny", synopsis: "say no to a ticket", usage: denyUsage, execute: executeDeny}
}

// approveFlags are those of approve.
type approveFlags struct {
	answer    approval.Answer
	forTime   string
	change    bool
	workspace *raw.String
	refuse    []string
	yes, json bool
	revision  int
}

func executeApprove(p *program, args []string) int {
	c := approveCommand()
	var f approveFlags
	s := p.flags("approve")
	s.StringVar(&f.forTime, "for", "", "")
	s.IntVar(&f.answer.Uses, "uses", 0, "")
	s.BoolVar(&f.answer.Wide, "wide", false, "")
	s.StringVar(&f.answer.Target, "target", "", "")
	s.BoolVar(&f.answer.Exact, "exact", false, "")
	s.BoolVar(&f.change, "change", false, "")
	s.Func("workspace", "", func(v string) error { w := raw.String(v); f.workspace = &w; return nil })
	s.Func("refuse", "", func(v string) error { f.refuse = append(f.refuse, v); return nil })
	s.BoolVar(&f.yes, "yes", false, "")
	s.IntVar(&f.revision, "revision", 0, "")
	s.BoolVar(&f.json, "json", false, "")
	words, rest, err := parse(s, args)
	if err == nil {
		err = f.check(words, rest)
	}
	if err == nil {
		err = p.approve(&f, words[0])
	}
	return p.ended(c, err)
}

// check makes an answer of the flags.
func (f *approveFlags) check(words, rest []string) error {
	a := &f.answer
	a.Verdict = approval.Allow
	bounds := a.Uses != 0 || a.Wide || a.Exact || a.Target != ""
	switch {
	case len(words) == 0:
		return usagef("approve needs a ticket; see 'clawsup approvals'")
	case len(words) > 1:
		return usagef("approve takes nothing more: %s", plainWord(words[1]))
	case !f.change && rest != nil:
		return usagef("what stands after -- belongs to --change")
	case !f.change && f.workspace != nil:
		return usagef("--workspace belongs to --change")
	case f.change && (f.forTime != "" || bounds):
		return usagef("--change makes a new ticket; answer that one with --for and the like")
	case f.change && len(rest) == 0 && f.workspace == nil:
		return usagef("say what to change: the command after --, or --workspace")
	case f.refuse != nil && (f.change || f.forTime != ""):
		return usagef("--refuse is for a plain yes to what a call did to files")
	case f.forTime == "" && bounds:
		return usagef("--uses, --wide, --target and --exact are about a grant; say for how long: --for 1h")
	case a.Uses < 0:
		return usagef("--uses: it is a number from 1 on")
	case f.yes != (f.revision > 0):
		return usagef("--yes and --revision N go together: N is of the ticket as you have read it")
	}
	if f.change {
		a.Verdict, a.Args, a.Workspace = approval.Change, raw.Of(rest), absolute(f.workspace)
		return nil
	}
	if f.forTime != "" {
		d, err := profiles.ParseDuration(f.forTime)
		if err != nil || d <= 0 {
			return usagef("--for: a time as 30m, 8h or 1h30m")
		}
		a.Verdict, a.For = approval.Grant, time.Duration(d)
	}
	return nil
}

// absolute makes a path of what looks like one; a plain name is one of the
// configuration's.
func absolute(w *raw.String) *raw.String {
	if w == nil || *w == "" || !strings.ContainsRune(string(*w), '/') && *w != "." && *w != ".." {
		return w
	}
	if path, err := filepath.Abs(string(*w)); err == nil {
		r := raw.String(path)
		return &r
	}
	return w
}

func (p *program) approve(f *approveFlags, id string) error {
	t, err := ask[approval.Ticket](p, api.TicketShow, api.TicketRef{Ticket: id})
	if err != nil {
		return err
	}
	if err := p.pending(&t); err != nil {
		return err
	}
	if err := p.grantable(&f.answer); err != nil {
		return err
	}
	if _, err := t.Scope(f.answer.Wide, f.answer.Exact, f.answer.Target); err != nil && f.answer.Target != "" {
		return err
	}
	f.answer.Ticket, f.answer.Revision = t.ID, t.Revision
	of, err := p.changesOf(&t)
	if err != nil {
		return err
	}
	if err := f.refusals(&t, of); err != nil {
		return err
	}
	if f.yes {
		f.answer.Revision = f.revision
		return p.answer(f)
	}
	question, err := f.question(&t)
	if err != nil {
		return err
	}
	if err := confirm(&t, of, question); err != nil {
		return err
	}
	return p.answer(f)
}

// changesOf gives what a ticket's call did to files: nil where it is not about
// that.
func (p *program) changesOf(t *approval.Ticket) (*api.ChangesEntries, error) {
	if t.Changes == "" {
		return nil, nil
	}
	c, entries, err := daemonChanges{p}.entries(t.Changes)
	if err == nil && !desk.About(t, &c) {
		err = fmt.Errorf("change set %s is another than ticket %s is about", c.ID, t.ID)
	}
	if err != nil {
		return nil, err
	}
	return &api.ChangesEntries{Change: c, Entries: entries, Total: len(entries)}, nil
}

// refusals finds what is refused by name, before there is a question.
func (f *approveFlags) refusals(t *approval.Ticket, of *api.ChangesEntries) (err error) {
	switch {
	case of == nil && f.refuse != nil:
		return fmt.Errorf("ticket %s is about a call that has not run, and has no paths that could be refused", t.ID)
	case of == nil:
		return nil
	case f.answer.Verdict == approval.Change:
		return fmt.Errorf("ticket %s is about what a call did: refuse single paths with --refuse, or deny it", t.ID)
	}
	f.answer.Refuse, err = pathsOf(&of.Change, of.Entries, f.refuse)
	return err
}

// grantable refuses, before there is a question, a grant that is too long for
// who answers. The daemon has the last word.
func (p *program) grantable(a *approval.Answer) error {
	if a.Verdict != approval.Grant {
		return nil
	}
	config, err := p.ready()
	if err != nil {
		return err
	}
	who, err := ask[api.Identity](p, api.WhoAmI, api.Nothing{})
	if err != nil {
		return err
	}
	key, most := "approvals.grant_max", config.Approvals.GrantMax
	if who.Role == approval.Admin.String() || who.Role == approval.Owner.String() {
		key, most = "approvals.grant_max_admin", config.Approvals.GrantMaxAdmin
	}
	if a.For > time.Duration(most) {
		return fmt.Errorf("--for %s: the role %s may grant for %s at most (%s in the configuration)", profiles.Duration(a.For), visible.Line(who.Role), most, key)
	}
	return nil
}

// pending says what became of a ticket that can't be answered any more.
func (p *program) pending(t *approval.Ticket) error {
	if t.State == approval.Pending {
		return nil
	}
	text := fmt.Sprintf("ticket %s is %s", t.ID, t.State)
	if t.Reason != "" {
		text += ": " + t.Reason
	}
	return errors.New(text)
}

// question is what yes would mean for a ticket.
func (f *approveFlags) question(t *approval.Ticket) (string, error) {
	a := &f.answer
	switch a.Verdict {
	case approval.Grant:
		scope, err := t.Scope(a.Wide, a.Exact, a.Target)
		if err != nil {
			return "", err
		}
		text := goes(t) + ", and for " + desk.Span(a.For)
		if a.Uses > 0 {
			text += fmt.Sprintf(" or %d times", a.Uses)
		}
		return fmt.Sprintf("%s also %s, in %s", text, desk.What(&scope), desk.Who(&scope)), nil
	case approval.Change:
		words := make([]string, len(a.Args))
		for i, w := range a.Args {
			words[i] = visible.Quote(string(w))
		}
		text := "change it"
		if len(words) > 0 {
			text += " into " + strings.Join(words, " ")
		}
		if a.Workspace != nil {
			text += ", with the workspace " + visible.Text(string(*a.Workspace))
		}
		return text, nil
	}
	if t.Changes == "" {
		return once(t), nil
	}
	text := "keep these changes"
	for i, path := range a.Refuse {
		sep := ", "
		if i == 0 {
			sep = ", all but "
		}
		text += sep + visible.Quote(string(path))
	}
	return text, nil
}

// goes is what yes to a ticket lets happen.
func goes(t *approval.Ticket) string {
	if t.Effect.External() {
		return "let it out"
	}
	return "let it run"
}

// once is what yes to a ticket means by itself.
func once(t *approval.Ticket) string { return goes(t) + ", this once" }

// answer sends the answer and tells what became of it. A change's new ticket
// is asked about in its turn.
func (p *program) answer(f *approveFlags) error {
	r, err := ask[api.Answered](p, api.TicketAnswer, f.answer)
	if err != nil {
		return err
	}
	if f.json {
		return p.printJSON(r)
	}
	if err := p.line("%s", answerText(&r.Ticket)); err != nil || r.Next == nil {
		return err
	}
	if f.yes {
		return p.line("its place takes ticket %s, which waits for an answer of its own", r.Next.ID)
	}
	next := &approveFlags{answer: approval.Answer{Ticket: r.Next.ID, Revision: r.Next.Revision, Verdict: approval.Allow}}
	if err := confirm(r.Next, nil, once(r.Next)); err != nil {
		return fmt.Errorf("%w; ticket %s still waits", err, r.Next.ID)
	}
	return p.answer(next)
}

// answerText is what became of a ticket by an answer.
func answerText(t *approval.Ticket) string {
	if t.State != approval.Pending {
		text := fmt.Sprintf("ticket %s is %s", t.ID, t.State)
		if n := len(t.Answers); n > 0 && t.Answers[n-1].Grant != "" {
			text += ", with grant " + t.Answers[n-1].Grant
		}
		return text
	}
	return fmt.Sprintf("ticket %s waits for more people: a yes takes %d", t.ID, t.Quorum)
}

func executeDeny(p *program, args []string) int {
	c := denyCommand()
	s := p.flags("deny")
	reason := s.String("reason", "", "")
	asJSON := s.Bool("json", false, "")
	words, err := arguments(c, s, args, 1, 1, "a ticket; see 'clawsup approvals'")
	if err == nil {
		err = p.deny(words[0], *reason, *asJSON)
	}
	return p.ended(c, err)
}

// denials is how often a no is said to a ticket that changes all the time. It
// is a no to whatever it is.
const denials = 10

func (p *program) deny(id, reason string, asJSON bool) error {
	for n := 1; ; n++ {
		t, err := ask[approval.Ticket](p, api.TicketShow, api.TicketRef{Ticket: id})
		if err != nil {
			return err
		}
		r, err := ask[api.Answered](p, api.TicketAnswer, approval.Answer{Ticket: t.ID, Revision: t.Revision, Verdict: approval.Deny, Reason: reason})
		switch {
		case api.CodeOf(err) == api.CodeConflict && n < denials:
			continue
		case err != nil:
			return err
		case asJSON:
			return p.printJSON(r.Ticket)
		}
		return p.line("%s", answerText(&r.Ticket))
	}
}

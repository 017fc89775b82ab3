// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"strings"
	"unicode/utf8"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/redact"
	"github.com/clawsup/clawsup/supervisor/session"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Names of facts in receipts, by which journal.go finds them again.
const (
	factCommand     = "command"
	factAgent       = "agent"
	factUID         = "uid"
	factSession     = "session"
	factSessionName = "session name"
	factKey         = "key"
	factTicket      = "ticket"
	factGrant       = "grant"
	factReason      = "reason"
	factRule        = "rule"
	factWouldAsk    = "would have asked"
	factClaim       = "requester says"
	factFrom        = "from"
	factLabels      = "labels"
	factRequest     = "request"
)

// facts collects those that have a value.
type facts []audit.Fact

func (f *facts) add(name, value string) {
	if value != "" {
		*f = append(*f, audit.Fact{Name: name, Value: fit(value, maxFact)})
	}
}

// maxFact bounds a fact as the log spells it, in bytes: with a dozen of them and
// all fields an entry still has room on its line.
const maxFact = 3000

// fit shortens a text until the log's spelling of it, in which a character
// beyond ASCII takes six bytes or twelve, has n bytes, and says so.
func fit(s string, n int) string {
	for i, r := range s {
		switch {
		case r > 0xffff:
			n -= 12
		case r > '~' || r < ' ':
			n -= 6
		case r == '"' || r == '\\':
			n -= 2
		default:
			n--
		}
		if n < 0 {
			return s[:i] + "..."
		}
	}
	return s
}

// field fits a text into a receipt's field; what is too long or no UTF-8
// becomes a fact and leaves a word that says so.
func field(text string, f *facts, name string) string {
	if len(text) <= audit.MaxField && utf8.ValidString(text) && !strings.HasPrefix(text, "audit.") {
		return text
	}
	f.add(name, text)
	return "see fact " + name
}

// receipt begins one about a call.
func (c *call) receipt(kind audit.Kind) audit.Receipt {
	v := c.snapshot()
	var f facts
	if kind == audit.Decision {
		f.add(factCommand, v.Command)
		f.add(factClaim, redact.Text(c.request.Claim))
	}
	f.add(factLabels, labelText(v.Labels))
	f.add(factAgent, v.Agent)
	f.add(factUID, c.owner.uidText())
	f.add(factSession, v.Session)
	f.add(factSessionName, v.SessionName)
	f.add(factKey, v.Key)
	if v.Key != "" {
		f.add(factRequest, c.mark)
	}
	f.add(factTicket, v.Ticket)
	f.add(factGrant, v.Grant)
	r := audit.Receipt{Kind: kind, Call: v.ID, Plan: v.Plan, Requester: v.Requester}
	if p := c.plan; p != nil {
		r.Profile = p.Profile.Digest
		if p.Skill != nil {
			r.Skill = p.Skill.Digest
		}
	}
	r.Facts = f
	return r
}

// labelText writes labels as words, none as nothing.
func labelText(l policy.Labels) string {
	var words []string
	if l.Untrusted {
		words = append(words, session.Untrusted)
	}
	if l.Private {
		words = append(words, session.Private)
	}
	return strings.Join(words, " ")
}

// decision is the receipt of what was decided about a call.
func (c *call) decision(decision, rule, reason string) audit.Receipt {
	r := c.receipt(audit.Decision)
	f := facts(r.Facts)
	f.add(factReason, redact.Text(cut(reason, maxReason)))
	if c.snapshot().WouldAsk {
		f.add(factWouldAsk, "yes")
	}
	r.Effect, r.Decision, r.Rule = "exec", decision, field(rule, &f, factRule)
	r.Facts = f
	return r
}

// outcome is the receipt of what became of a call.
func (c *call) outcome(result *runtime.Result) audit.Receipt {
	r := c.receipt(audit.Outcome)
	f := facts(r.Facts)
	if result.Status != runtime.Exited {
		f.add(factReason, redact.Text(cut(result.Message, maxMessage)))
	}
	if ch := c.snapshot().Changes; ch != nil {
		f.add(factChanges, ch.ID)
		f.add("what became of them", string(ch.State)+": "+ch.Count.String())
	}
	r.Facts = f
	r.Status = result.Status.String()
	if result.Status == runtime.Exited {
		code := result.ExitCode
		r.Exit = &code
	}
	u := result.Usage
	r.Usage = &audit.Usage{
		Wall: u.Wall, User: u.User, System: u.System, Memory: u.MemoryPeak,
		Pids: u.PidsPeak, Written: u.Written, Output: u.Stdout + u.Stderr,
	}
	return r
}

// command is a call in a line, for people and for the log: made visible, and
// without what looks like a secret.
func command(s *api.Submit) string {
	args := make([]string, 0, len(s.Args)+1)
	room := maxCommand // of what is looked at: the rest is in the ticket
	add := func(a string) {
		if room > 0 {
			args = append(args, cut(a, room))
		}
		room -= len(a) + 1
	}
	if s.Skill != "" {
		add(s.Skill)
	}
	for _, a := range s.Args {
		add(string(a))
	}
	args = redact.Args(args)
	for i, a := range args {
		args[i] = visible.Quote(a)
	}
	text := strings.Join(args, " ")
	if room < 0 {
		text += " ..."
	}
	return cut(text, maxCommand)
}

// maxCommand bounds, in bytes, what is kept of a command line for lists. The
// ticket has it whole. maxMessage bounds what is kept of how a call ended.
const (
	maxCommand = 4 << 10
	maxMessage = 4 << 10
)

// cut shortens a text to n bytes, at a character's end, and says so.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}

// record writes a receipt about something else than a call, and waits for it.
func (b *Broker) record(ctx context.Context, r audit.Receipt) error {
	_, err := b.log.Append(ctx, r)
	return err
}

// act is the receipt of what a person did.
func act(who client, did string, list ...audit.Fact) audit.Receipt {
	f := facts{}
	for _, one := range list {
		value := cut(one.Value, maxMessage)
		if one.Name == factReason {
			value = redact.Text(value)
		}
		f.add(one.Name, value)
	}
	r := audit.Receipt{Kind: audit.Administration, Requester: who.String()}
	r.Rule = field(did, &f, factRule)
	r.Facts = f
	return r
}

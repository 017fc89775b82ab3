// SPDX-License-Identifier: Apache-2.0

package desk

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// tone is how a line is meant to be read. Without colour nothing is lost.
type tone int

const (
	plain   tone = iota
	faint        // digests
	title        // what it is about
	warning      // labels, layers that are not enforced
	theirs       // the requester's words
	chosen       // under the cursor
)

// line is a line of text that fits its width.
type line struct {
	text  string
	tone  tone
	entry int // of a change set: which of its lines, from 1; else 0
}

// Text is everything there is to know about a ticket, in lines of at most
// width columns (at least 20).
func Text(t *approval.Ticket, width int, now time.Time) []string {
	lines := ticketLines(t, nil, width, now)
	text := make([]string, len(lines))
	for i, l := range lines {
		text[i] = l.text
	}
	return text
}

// narrow is the width below which a value stands under its name.
const narrow = 60

// nameWidth is the column of names, without the space after it.
const nameWidth = 12

// sheet lays out names and values.
type sheet struct {
	width int
	lines []line
}

// add lays out one thing. An empty value is nothing to tell.
func (s *sheet) add(name, value string, tone tone) {
	if value == "" {
		return
	}
	value = visible.Line(value)
	if s.width < narrow {
		s.lines = append(s.lines, line{text: Cut(name, s.width), tone: tone})
		for _, v := range visible.Wrap(value, s.width-2) {
			s.lines = append(s.lines, line{text: "  " + v, tone: tone})
		}
		return
	}
	for _, v := range visible.Wrap(value, s.width-nameWidth-1) {
		s.lines = append(s.lines, line{text: fmt.Sprintf("%-*s %s", nameWidth, name, v), tone: tone})
		name = ""
	}
}

// digest stands by itself, to be copied.
func (s *sheet) digest(d string) {
	if d == "" {
		return
	}
	for _, v := range visible.Wrap(visible.Line(d), s.width-2) {
		s.lines = append(s.lines, line{text: "  " + v, tone: faint})
	}
}

// ticketLines is Text with its tones. was is the ticket that this one takes
// the place of, if that is known: what differs says what it was.
func ticketLines(t, was *approval.Ticket, width int, now time.Time) []line {
	s := &sheet{width: max(width, 20)}
	s.add("ticket", t.ID+", "+state(t, now), title)
	s.add("wants to", wants(t), title)
	has := func(name string) bool {
		return slices.ContainsFunc(t.Facts, func(f approval.Fact) bool { return f.Name == name })
	}
	if !has("asked by") {
		s.add("asked by", t.Requester, plain)
	}
	if t.Count > 1 {
		s.add("stands for", fmt.Sprintf("%d calls that are the same, one yes for all: %s", t.Count, strings.Join(t.Calls, ", ")), warning)
	}
	for _, f := range t.Facts {
		tone := plain
		if f.Name == "NOT ENFORCED" {
			tone = warning
		}
		s.add(visible.Line(f.Name), f.Value, tone)
		s.digest(f.Digest)
		s.add("was", before(was, f), warning)
	}
	if len(t.Facts) == 0 || t.Facts[len(t.Facts)-1].Digest != t.Plan {
		s.add("plan", "all of this together is", plain)
		s.digest(t.Plan)
	}
	if !has("session") {
		s.add("session", session(t), plain)
	}
	s.add("labels", labels(t.Labels), warning)
	s.add("asked since", t.Created.Local().Format("15:04:05"), plain)
	s.add("why you", t.Rule, plain)
	if t.Parent != "" {
		s.add("instead of", "ticket "+t.Parent+", which was changed into this", plain)
	}
	s.quorum(t)
	s.claim(t.Claim)
	return s.lines
}

// state is what became of a ticket, or how long it still waits.
func state(t *approval.Ticket, now time.Time) string {
	text := string(t.State)
	if t.State == approval.Pending {
		text = "expires in " + Span(t.Expires.Sub(now))
		if !now.Before(t.Expires) {
			text = "expired"
		}
	}
	text += fmt.Sprintf(", revision %d", t.Revision)
	if t.Reason != "" {
		text += ": " + t.Reason
	}
	return text
}

// wantings say an effect in words.
var wantings = map[policy.Effect]string{
	policy.Exec:       "run a command",
	policy.FSCreate:   "make a file",
	policy.FSModify:   "change a file that was there before",
	policy.FSDelete:   "delete a file that was there before",
	policy.NetConnect: "connect to",
	policy.NetRequest: "send the request",
	policy.SecretUse:  "use the secret",
}

func wants(t *approval.Ticket) string {
	text := wantings[t.Effect]
	if t.Changes != "" {
		text = "keep what it did to files; the gravest: " + text
	}
	switch {
	case t.Target != "" && t.Changes != "":
		text += ", " + visible.Quote(t.Target)
	case t.Target != "":
		text += " " + visible.Text(t.Target)
	}
	return text + " (" + t.Effect.String() + ")"
}

// Subject is what a ticket is about, for a list: nothing can be answered by it.
func Subject(t *approval.Ticket) string {
	text := visible.Text(t.Target)
	if t.Target == "" {
		words, err := command(t)
		if text = spell(words); err != nil {
			text = ""
		}
	}
	if t.Skill != "" {
		text = visible.Text(t.Skill) + ": " + text
	}
	return visible.Line(text)
}

func session(t *approval.Ticket) string {
	if t.Session == "" || t.SessionName == "" {
		return t.Session
	}
	return visible.Text(t.SessionName) + ", " + t.Session
}

func labels(l policy.Labels) string {
	switch {
	case l.Untrusted && l.Private:
		return "untrusted and private: it has seen foreign input and something private"
	case l.Untrusted:
		return "untrusted: it has seen foreign input"
	case l.Private:
		return "private: it has seen something private"
	}
	return ""
}

// before is what a fact was, where it differs.
func before(was *approval.Ticket, f approval.Fact) string {
	if was == nil {
		return ""
	}
	for _, g := range was.Facts {
		if g.Name == f.Name && g.Value != f.Value {
			return g.Value
		}
	}
	return ""
}

// quorum says how many people it takes and who answered.
func (s *sheet) quorum(t *approval.Ticket) {
	if t.Quorum > 1 {
		s.add("people", fmt.Sprintf("a yes takes %d, %d said so", t.Quorum, yeses(t)), warning)
	}
	for _, a := range t.Answers {
		text := fmt.Sprintf("%s by %s over %s at %s", a.Verdict, a.By, a.Via, a.At.Local().Format("15:04:05"))
		if a.Reason != "" {
			text += ": " + a.Reason
		}
		for i, p := range a.Refuse {
			sep := ", "
			if i == 0 {
				sep = "; it refuses "
			}
			text += sep + visible.Text(string(p))
		}
		s.add("answer", text, plain)
	}
}

// yeses counts who said yes.
func yeses(t *approval.Ticket) int {
	n := 0
	for _, a := range t.Answers {
		if a.Verdict == approval.Allow || a.Verdict == approval.Grant {
			n++
		}
	}
	return n
}

// claim shows the requester's words as such.
func (s *sheet) claim(text string) {
	if text == "" {
		return
	}
	for _, v := range visible.Wrap("The requester says, in words that nobody has checked:", s.width) {
		s.lines = append(s.lines, line{text: v, tone: theirs})
	}
	for row := range strings.SplitSeq(text, "\n") {
		for _, v := range visible.Wrap(visible.Line(row), s.width-4) {
			s.lines = append(s.lines, line{text: "  > " + v, tone: theirs})
		}
	}
}

// Span is a time to wait, short: 9m41s, 2h05m, 0s.
func Span(d time.Duration) string {
	d = max(d, 0).Truncate(time.Second)
	switch {
	case d >= 24*time.Hour:
		return fmt.Sprintf("%dd%02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Explain gives the answer that [Decide] gives, and how it came to be, in lines
// for people: the question, each rule and each grant with whether it matched,
// and the answer. What a stranger chose is made visible in them.
func Explain(s Subject, rules []Rule, grants []Grant, now time.Time) (Verdict, []string) {
	v, quorum, counted := decide(s, rules, grants, now)
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, visible.Line(fmt.Sprintf(format, args...))) }

	add("question: %s", s.text())
	if s.Check() == nil {
		q := newQuestion(&s)
		list := about(q, rules)
		won := winners(list)
		for i := range rules {
			r := &rules[i]
			add("rule: %s, for %s: %s", r.text(), r.Decision, r.fate(&s, list, won))
		}
		for i := range grants {
			g := &grants[i]
			why := g.Mismatch(s, quorum, now)
			switch {
			case why != "":
				why = "does not match: " + why
			case i == counted:
				why = "counts"
			case counted >= 0:
				why = "matches, and another one goes before it"
			default:
				why = "matches, and changes nothing: only an ask is answered by a grant"
			}
			add("grant: %s: %s", g.text(), why)
		}
	}
	answer := string(v.Decision)
	if v.Decision == profiles.Ask && v.Quorum > 1 {
		answer = fmt.Sprintf("ask %d people", v.Quorum)
	}
	add("answer: %s, by this: %s", answer, v.Rule)
	return v, lines
}

// fate is what became of a rule: list are those that are about the subject, and
// won those that counted on their level.
func (r *Rule) fate(s *Subject, list []found, won []*Rule) string {
	i := slices.IndexFunc(list, func(f found) bool { return f.rule == r })
	switch {
	case r.Effect != s.Effect:
		return "does not match: it is about " + r.Effect.String()
	case i < 0 && r.Network != nil:
		return "does not match: it is about " + visible.Quote(clip(r.Network.Host)) + " and what else it names"
	case i < 0:
		return "does not match: it is about " + visible.Quote(clip(r.Target))
	}
	best := strictest(won)
	first := slices.IndexFunc(list, func(f found) bool { return f.rule.Level == r.Level && f.other == list[i].other })
	switch {
	case r == best || r.stricter(best) == 0 && list[i].rank == list[first].rank:
		return "counts"
	case slices.Contains(won, r) && r.Level != best.Level:
		return "matches, and another level is stricter"
	case slices.Contains(won, r):
		return "matches, and a stricter one counts as well"
	case list[first].rank.compare(list[i].rank) < 0:
		return "matches, and a more specific one goes before it"
	}
	return "matches, and a stronger one goes before it"
}

// text is a question for people.
func (s Subject) text() string {
	var b strings.Builder
	b.WriteString("may there be " + s.Effect.String())
	part := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, ", %s %s", name, visible.Text(clip(value)))
		}
	}
	part("of", s.Target)
	part("through", string(s.Through))
	for _, f := range s.Fields {
		part("with "+visible.Text(clip(f.Name)), f.Value)
	}
	if s.Unread {
		b.WriteString(", with a body that could not be looked at")
	}
	part("by plan", s.Plan)
	part("of skill", s.Skill)
	part("script", s.Script)
	part("under profile", s.Profile)
	part("on workspace", string(s.Workspace))
	part("in session", s.Session)
	part("for agent", s.Agent)
	switch {
	case s.Labels.both():
		b.WriteString(", untrusted and private")
	case s.Labels.Untrusted:
		b.WriteString(", untrusted")
	case s.Labels.Private:
		b.WriteString(", private")
	}
	return b.String() + "?"
}

// text is a grant for people.
func (g *Grant) text() string {
	uses := "without a count"
	if g.Uses >= 0 {
		uses = fmt.Sprintf("%d uses left", g.Uses)
	}
	text := fmt.Sprintf("%s for %s", g.ID, g.Scope.Effect)
	if g.Scope.Target != "" {
		text += " of " + visible.Text(clip(g.Scope.Target))
	}
	return fmt.Sprintf("%s by %s until %s, %s", text, strings.Join(g.By, " and "), g.Expires.UTC().Format(time.RFC3339), uses)
}

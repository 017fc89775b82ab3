// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"time"

	"github.com/clawsup/clawsup/profiles"
)

// Decide answers one question. See the package comment for how.
func Decide(s Subject, rules []Rule, grants []Grant, now time.Time) Verdict {
	v, _ := decide(s, rules, grants, now)
	return v
}

// decide also gives the place of the grant that counted, or -1.
func decide(s Subject, rules []Rule, grants []Grant, now time.Time) (Verdict, int) {
	if err := s.Check(); err != nil {
		return Verdict{Decision: profiles.Deny, Rule: err.Error()}, -1
	}
	rule := strongest(s, rules)
	if rule == nil {
		return Verdict{Decision: profiles.Deny, Rule: fmt.Sprintf("no rule is about %s, and what no rule is about is denied", s.Effect)}, -1
	}
	v := Verdict{Decision: rule.Decision, Rule: rule.text()}
	switch {
	case rule.severity() == denied:
		v.Decision = profiles.Deny
		return v, -1
	case rule.severity() == asked:
		v.Quorum = rule.people()
	case s.Effect.External() && s.Labels.both():
		v.Decision, v.Quorum = profiles.Ask, rule.people()
		v.Rule += bothLabels
	default:
		return v, -1
	}
	if i := granted(s, v.Quorum, grants, now); i >= 0 {
		return Verdict{Decision: profiles.Allow, Rule: v.Rule + "; granted by " + grants[i].ID, Grant: grants[i].ID}, i
	}
	return v, -1
}

const bothLabels = "; with something private and a stranger's words in it, what leaves the machine takes a person"

// strongest gives the rule that counts, or nil.
func strongest(s Subject, rules []Rule) *Rule {
	var best *Rule
	for i := range rules {
		if r := &rules[i]; r.matches(s) && (best == nil || r.order(best) < 0) {
			best = r
		}
	}
	return best
}

func (r *Rule) matches(s Subject) bool {
	return r.Effect == s.Effect && (r.Target == "" || Match(s.Effect, r.Target, s.Target))
}

// order is negative where r goes before q. Both match the same subject.
func (r *Rule) order(q *Rule) int {
	return cmp.Or(
		-cmp.Compare(specificity(r.Effect, r.Target), specificity(q.Effect, q.Target)),
		-cmp.Compare(r.severity(), q.severity()),
		-cmp.Compare(r.people(), q.people()),
		cmp.Compare(r.Name, q.Name), // only for the words
		cmp.Compare(r.Origin, q.Origin),
	)
}

// severity is how strong a decision is.
type severity int

const (
	allowed severity = iota
	asked
	denied
)

// severity of what is none of the known decisions is a denial's.
func (r *Rule) severity() severity {
	switch r.Decision {
	case profiles.Allow:
		return allowed
	case profiles.Ask:
		return asked
	}
	return denied
}

// people is how many a yes takes.
func (r *Rule) people() int { return max(1, r.Quorum) }

func (r *Rule) text() string {
	if r.Origin == "" {
		return r.Name
	}
	return r.Name + " (set in " + r.Origin + ")"
}

func (l Labels) both() bool { return l.Untrusted && l.Private }

// granted gives the place of the grant that counts, or -1. One whose uses are
// not counted goes first, then the one that ends first.
func granted(s Subject, quorum int, grants []Grant, now time.Time) int {
	best := -1
	for i := range grants {
		if g := &grants[i]; g.Mismatch(s, quorum, now) == "" && (best < 0 || g.order(&grants[best]) < 0) {
			best = i
		}
	}
	return best
}

func (g *Grant) order(h *Grant) int {
	counted := func(g *Grant) int {
		if g.Uses > 0 {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(counted(g), counted(h)),
		g.Expires.Compare(h.Expires),
		cmp.Compare(g.ID, h.ID),
	)
}

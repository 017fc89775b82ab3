// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/clawsup/clawsup/profiles"
)

// Decide answers one question. See the package comment for how.
func Decide(s Subject, rules []Rule, grants []Grant, now time.Time) Verdict {
	v, _, _ := decide(s, rules, grants, now)
	return v
}

// decide also gives how many people a yes takes, granted or not, and the place
// of the grant that counted, or -1.
func decide(s Subject, rules []Rule, grants []Grant, now time.Time) (v Verdict, people, grant int) {
	if err := s.Check(); err != nil {
		return Verdict{Decision: profiles.Deny, Rule: err.Error()}, 0, -1
	}
	won := winners(about(newQuestion(&s), rules))
	if len(won) == 0 {
		return Verdict{Decision: profiles.Deny, Rule: fmt.Sprintf("no rule is about %s, and what no rule is about is denied", s.Effect)}, 0, -1
	}
	rule := strictest(won)
	v = Verdict{Decision: rule.Decision, Rule: rule.text()}
	labelled := s.Effect.External() && s.Labels.both()
	switch {
	case rule.severity() == denied:
		v.Decision = profiles.Deny
		return v, rule.people(), -1
	case rule.severity() == allowed && !labelled:
		return v, rule.people(), -1
	case rule.severity() == allowed:
		v.Decision = profiles.Ask
		v.Rule += bothLabels
	}
	for _, r := range won {
		if labelled || r.severity() == asked {
			v.Quorum = max(v.Quorum, r.people())
		}
	}
	if i := granted(s, v.Quorum, grants, now); i >= 0 {
		return Verdict{Decision: profiles.Allow, Rule: v.Rule + "; granted by " + grants[i].ID, Grant: grants[i].ID}, v.Quorum, i
	}
	return v, v.Quorum, -1
}

const bothLabels = "; with something private and a stranger's words in it, what leaves the machine takes a person"

// found is a rule that is about a question.
type found struct {
	rule  *Rule
	rank  rank
	maybe bool // its fields can't be told: it counts only where it is stricter
	other bool // it is about the other reading of the path alone
}

// about gives the rules that are about a question, in all its readings.
func about(q *question, rules []Rule) []found {
	var list []found
	for i := range rules {
		r := &rules[i]
		if r.Effect != q.Effect {
			continue
		}
		if rank, fit := q.fits(r, q.path); fit != no {
			list = append(list, found{r, rank, fit == maybe, false})
		}
		if q.other == "" {
			continue
		}
		if rank, fit := q.fits(r, q.other); fit != no {
			list = append(list, found{r, rank, fit == maybe, true})
		}
	}
	return list
}

// strictest gives the rule that counts of those that won, of which there is one.
func strictest(won []*Rule) *Rule {
	return slices.MinFunc(won, (*Rule).stricter)
}

// winners gives what each level says: of either reading of the question the
// strongest rule that surely is about it, and those before it that may be. The
// second reading counts where a rule's paths tell it from the first.
func winners(list []found) []*Rule {
	slices.SortFunc(list, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.rule.Level, b.rule.Level), compareBool(a.other, b.other), a.rank.compare(b.rank), a.rule.order(b.rule))
	})
	var rules []*Rule
	for i := 0; i < len(list); {
		first := list[i]
		sure := false
		for ; i < len(list) && list[i].rule.Level == first.rule.Level && list[i].other == first.other; i++ {
			if sure {
				continue
			}
			if !first.other || list[i].rank.path > 0 {
				rules = append(rules, list[i].rule)
			}
			sure = !list[i].maybe
		}
	}
	return rules
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// order is negative where r goes before q, which is as specific.
func (r *Rule) order(q *Rule) int {
	return cmp.Or(
		-cmp.Compare(r.severity(), q.severity()),
		-cmp.Compare(r.people(), q.people()),
		cmp.Compare(r.Name, q.Name), // only for the words
		cmp.Compare(r.Origin, q.Origin),
	)
}

// stricter is negative where r is stricter than q, of whatever level.
func (r *Rule) stricter(q *Rule) int { return cmp.Or(r.order(q), cmp.Compare(r.Level, q.Level)) }

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

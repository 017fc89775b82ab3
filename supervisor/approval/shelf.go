// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"slices"

	"github.com/clawsup/clawsup/supervisor/policy"
)

// shelf has live grants by what they are for, so that a question is held against
// those alone which can be about it, however many there are.
type shelf map[label][]*entry

// label is the part of a scope that must be the very same in a question. A
// grant has one of session and agent, and is for a plan, for a script of a
// skill, or for any command under a profile; what it leaves open is empty. See
// [policy.Scope.Check].
type label struct{ session, agent, plan, skill, script, profile string }

func labelOf(c *policy.Scope) label {
	switch {
	case c.Plan != "":
		return label{session: c.Session, agent: c.Agent, plan: c.Plan}
	case c.Raw:
		return label{session: c.Session, agent: c.Agent, profile: c.Profile}
	}
	return label{session: c.Session, agent: c.Agent, skill: c.Skill, script: c.Script}
}

func (s shelf) add(e *entry) {
	l := labelOf(&e.rec.Grant.Scope)
	s[l] = append(s[l], e)
}

// remove takes an entry out, whose scope is what it was.
func (s shelf) remove(e *entry) {
	l := labelOf(&e.rec.Grant.Scope)
	if s[l] = slices.DeleteFunc(s[l], func(other *entry) bool { return other == e }); len(s[l]) == 0 {
		delete(s, l)
	}
}

// about gives the entries whose grants can be about a question.
func (s shelf) about(q *policy.Subject) (found []*entry) {
	whose := []label{{session: q.Session}, {agent: q.Agent}}
	for _, l := range whose {
		if l == (label{}) {
			continue
		}
		if q.Plan != "" {
			of := l
			of.plan = q.Plan
			found = append(found, s[of]...)
		}
		if q.Skill != "" {
			of := l
			of.skill, of.script = q.Skill, q.Script
			found = append(found, s[of]...)
		} else if q.Profile != "" {
			of := l
			of.profile = q.Profile
			found = append(found, s[of]...)
		}
	}
	return found
}

// SPDX-License-Identifier: Apache-2.0

package desk

import (
	"fmt"
	"strings"

	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// What is what a grant is for: a skill's script with its bounds, any command of
// no skill, or a plan; and where it is about a target, that.
func What(s *policy.Scope) string {
	who := fmt.Sprintf("skill %s as it is now, script %s with any arguments", visible.Text(s.SkillName), visible.Text(s.Script))
	switch {
	case s.Raw:
		who = "any command that is no skill's"
	case s.Skill == "":
		who = "exactly this plan"
	}
	text := fmt.Sprintf("%s, under profile %s, on %s", who, visible.Text(s.ProfileName), workspace(s.Workspace))
	if s.Target != "" {
		text += ", to " + wantings[s.Effect] + " " + visible.Text(s.Target)
		if s.Secrets != "" {
			text += " with the secret " + strings.ReplaceAll(visible.Text(s.Secrets), " ", ", ")
		}
	}
	return text
}

func workspace(w raw.String) string {
	if w == "" {
		return "no workspace but the session's own"
	}
	return "workspace " + visible.Text(string(w))
}

// Who is for whom a grant is.
func Who(s *policy.Scope) string {
	if s.Agent != "" {
		return "every session of agent " + visible.Text(s.Agent)
	}
	return "session " + s.Session
}

// SPDX-License-Identifier: Apache-2.0

package desk

import (
	"fmt"

	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// What is what a grant is for: a skill's script with its bounds, or a plan.
func What(s *policy.Scope) string {
	bounds := fmt.Sprintf("under profile %s, on %s", visible.Text(s.ProfileName), workspace(s.Workspace))
	if s.Skill == "" {
		return "exactly this plan, " + bounds
	}
	return fmt.Sprintf("skill %s as it is now, script %s with any arguments, %s", visible.Text(s.SkillName), visible.Text(s.Script), bounds)
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

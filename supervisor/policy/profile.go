// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"

	"github.com/clawsup/clawsup/profiles"
)

// FromProfile gives the rules that a profile means, one for each effect and
// each for every target:
//
//   - exec is what effects.exec says, by effects.quorum people
//   - fs.create, fs.modify and fs.delete are allowed where the workspace is
//     written through at once (workspace.mode = "rw"), and else denied: what a
//     scratch workspace takes is thrown away and touches nothing
//   - net.connect and net.request are denied: the network of a box is none
//   - secret.use is denied: a profile names no secret
func FromProfile(p *profiles.Loaded) []Rule {
	profile := &p.Profile
	rule := func(e Effect, d profiles.Decision, key, value string) Rule {
		return Rule{
			Effect: e, Decision: d, Origin: p.Origin[key],
			Name: fmt.Sprintf("profile %s has %s = %q", profile.Name, key, value),
		}
	}
	exec := rule(Exec, profile.Effects.Exec, "effects.exec", string(profile.Effects.Exec))
	exec.Quorum = profile.Effects.Quorum
	files := profiles.Deny
	if profile.Workspace.Mode == profiles.WorkspaceRW {
		files = profiles.Allow
	}
	rules := []Rule{exec}
	for _, e := range []Effect{FSCreate, FSModify, FSDelete} {
		rules = append(rules, rule(e, files, "workspace.mode", string(profile.Workspace.Mode)))
	}
	for _, e := range []Effect{NetConnect, NetRequest} {
		rules = append(rules, rule(e, profiles.Deny, "network.mode", string(profile.Network.Mode)))
	}
	return append(rules, Rule{
		Effect: SecretUse, Decision: profiles.Deny,
		Name: fmt.Sprintf("profile %s names no secret", profile.Name), Origin: p.Source,
	})
}

// AtLeast gives rules that take at least so many people each, as a
// configuration may want of every profile.
func AtLeast(quorum int, rules []Rule) []Rule {
	rules = slices.Clone(rules)
	for i := range rules {
		rules[i].Quorum = max(rules[i].Quorum, quorum)
	}
	return rules
}

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
//   - fs.create, fs.modify and fs.delete are what effects.fs_create and its
//     siblings say where the workspace is an overlay, by effects.quorum people,
//     allowed where it is written through at once (workspace.mode = "rw"), and
//     else denied: what a scratch workspace takes is thrown away and touches
//     nothing
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
	rules := []Rule{exec}
	for _, f := range []struct {
		effect   Effect
		decision profiles.Decision
		key      string
	}{
		{FSCreate, profile.Effects.FSCreate, "effects.fs_create"},
		{FSModify, profile.Effects.FSModify, "effects.fs_modify"},
		{FSDelete, profile.Effects.FSDelete, "effects.fs_delete"},
	} {
		switch profile.Workspace.Mode {
		case profiles.WorkspaceOverlay:
			r := rule(f.effect, f.decision, f.key, string(f.decision))
			r.Quorum = profile.Effects.Quorum
			rules = append(rules, r)
		case profiles.WorkspaceRW:
			rules = append(rules, rule(f.effect, profiles.Allow, "workspace.mode", string(profile.Workspace.Mode)))
		default:
			rules = append(rules, rule(f.effect, profiles.Deny, "workspace.mode", string(profile.Workspace.Mode)))
		}
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

// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"maps"
	"slices"

	"github.com/clawsup/clawsup/profiles"
)

// FromProfile gives the rules that a profile means:
//
//   - exec is what effects.exec says, by effects.quorum people
//   - fs.create, fs.modify and fs.delete are what effects.fs_create and its
//     siblings say where the workspace is an overlay, by effects.quorum people,
//     allowed where it is written through at once (workspace.mode = "rw"), and
//     else denied: what a scratch workspace takes is thrown away and touches
//     nothing
//   - net.connect and net.request are denied where network.mode is none, and
//     else what the rules say and what network.default says of the rest, each
//     file of the profile's chain on a level of its own, by effects.quorum people
//   - secret.use is allowed of what secrets names and of secrets, which are those
//     that a skill is bound to, and denied of any other; all of it is denied
//     where network.mode is none
func FromProfile(p *profiles.Loaded, secrets ...string) []Rule {
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
	if profile.Network.Mode != profiles.NetworkEgress {
		for _, e := range []Effect{NetConnect, NetRequest} {
			rules = append(rules, rule(e, profiles.Deny, "network.mode", string(profile.Network.Mode)))
		}
		if len(secrets) > 0 {
			return append(rules, rule(SecretUse, profiles.Deny, "network.mode", string(profile.Network.Mode)))
		}
		return append(rules, fromSecrets(p, nil)...)
	}
	rules = append(rules, fromLevels(profile)...)
	return append(rules, fromSecrets(p, secrets)...)
}

// fromLevels gives the rules about destinations.
func fromLevels(profile *profiles.Profile) []Rule {
	var rules []Rule
	quorum := profile.Effects.Quorum
	for i, level := range profile.Network.Levels {
		for j := range level.Rules {
			n := &level.Rules[j]
			r := Rule{
				Level: i, Network: n, Decision: n.Decision, Quorum: quorum, Origin: n.Origin,
				Name: fmt.Sprintf("profile %s has a rule that says %s for %s", profile.Name, n.Decision, n.Host),
			}
			if n.Through == "" || n.Through == profiles.ThroughHTTP {
				r.Effect = NetRequest
				rules = append(rules, r)
			}
			if n.Through != profiles.ThroughHTTP {
				r.Effect = NetConnect
				rules = append(rules, r)
			}
		}
		if level.Default == "" {
			continue
		}
		for _, e := range []Effect{NetConnect, NetRequest} {
			rules = append(rules, Rule{
				Effect: e, Level: i, Decision: level.Default, Quorum: quorum, Origin: level.Origin,
				Name: fmt.Sprintf("profile %s has network.default = %q", profile.Name, level.Default),
			})
		}
	}
	return rules
}

// fromSecrets gives the rules about secrets.
func fromSecrets(p *profiles.Loaded, bound []string) []Rule {
	var rules []Rule
	name := p.Profile.Name
	for _, variable := range slices.Sorted(maps.Keys(p.Profile.Secrets)) {
		secret := p.Profile.Secrets[variable]
		rules = append(rules, Rule{
			Effect: SecretUse, Target: secret, Decision: profiles.Allow, Origin: p.Origin["secrets."+variable],
			Name: fmt.Sprintf("profile %s has secrets.%s = %q", name, variable, secret),
		})
	}
	for _, secret := range bound {
		if slices.ContainsFunc(rules, func(r Rule) bool { return r.Target == secret }) {
			continue // by the profile, whether or not somebody bound it too
		}
		rules = append(rules, Rule{Effect: SecretUse, Target: secret, Decision: profiles.Allow, Name: "a person has bound the skill to the secret " + secret})
	}
	no := "no"
	if len(rules) > 0 {
		no = "no other"
	}
	return append(rules, Rule{
		Effect: SecretUse, Decision: profiles.Deny,
		Name: fmt.Sprintf("profile %s names %s secret", name, no), Origin: p.Source,
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

// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Generation is configuration, profiles and roles as they were at one moment.
// It is never changed: a reload makes the next, whole, or none.
type Generation struct {
	Number   int
	Loaded   time.Time
	Config   supervisor.Config
	roles    approval.Roles
	profiles map[string]*profiles.Loaded
	rules    map[*profiles.Loaded][]policy.Rule // of profiles
	agents   map[string]*supervisor.AgentConfig // of Config, by name
}

// load reads everything. It fails on the first file that is wrong: a profile
// that can't be read must not be found out about when it is needed.
func load(file string, number int) (*Generation, error) {
	config, err := supervisor.LoadConfig(file)
	if err != nil {
		return nil, err
	}
	g := &Generation{Number: number, Loaded: time.Now(), Config: config, profiles: map[string]*profiles.Loaded{}, rules: map[*profiles.Loaded][]policy.Rule{}, agents: map[string]*supervisor.AgentConfig{}}
	for i := range g.Config.Agents {
		g.agents[g.Config.Agents[i].Name] = &g.Config.Agents[i]
	}
	list, err := profiles.List(config.ProfilePaths)
	if err != nil {
		return nil, err
	}
	var wrong []error
	for _, l := range list {
		if l.Err != nil {
			wrong = append(wrong, l.Err)
			continue
		}
		p, err := profiles.Load(l.Name, config.ProfilePaths)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		g.profiles[l.Name] = p
		g.rules[p] = g.rulesOf(p)
	}
	wrong = append(wrong, g.check()...)
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	uids := make([]uint32, 0, len(config.Agents))
	for _, a := range config.Agents {
		uids = append(uids, a.UID)
	}
	if g.roles, err = approval.NewRoles(approval.RoleNames{
		Owner: config.Roles.Owner, Admin: config.Roles.Admin,
		Approver: config.Roles.Approver, Viewer: config.Roles.Viewer,
	}, uids); err != nil {
		return nil, err
	}
	return g, nil
}

// check makes sure that the names lead somewhere.
func (g *Generation) check() (wrong []error) {
	need := func(who, name string) {
		if g.profiles[name] == nil {
			wrong = append(wrong, fmt.Errorf("%s: there is no profile %s", who, visible.Text(name)))
		}
	}
	need("default_profile", g.Config.DefaultProfile)
	for _, a := range g.Config.Agents {
		need("agent "+a.Name+": profile", a.Profile)
		for _, name := range a.CallProfiles {
			need("agent "+a.Name+": call_profiles", name)
		}
	}
	return wrong
}

// agent gives the configuration of an agent, or nil.
func (g *Generation) agent(name string) *supervisor.AgentConfig { return g.agents[name] }

// outward gives the profile that says what an agent's own box reaches beyond
// itself; nil: nothing does.
func (g *Generation) outward(agent string) *profiles.Loaded {
	a := g.agent(agent)
	if a == nil || a.Network != supervisor.AgentNetworkEgress {
		return nil
	}
	return g.profiles[a.Profile]
}

// policy gives the rules of a profile. Nobody changes them.
func (g *Generation) policy(p *profiles.Loaded) []policy.Rule {
	if rules, ok := g.rules[p]; ok {
		return rules
	}
	return g.rulesOf(p) // read from a path just now
}

// policyFor gives the rules of a plan: its profile's, with the secrets that a
// person has bound its skill to.
func (g *Generation) policyFor(p *supervisor.Plan) []policy.Rule {
	if len(p.Secrets) == 0 {
		return g.policy(p.Profile)
	}
	return g.rulesOf(p.Profile, slices.Sorted(maps.Values(p.Secrets))...)
}

func (g *Generation) rulesOf(p *profiles.Loaded, secrets ...string) []policy.Rule {
	return policy.AtLeast(g.Config.Approvals.Quorum, policy.FromProfile(p, secrets...))
}

// profile gives what a caller may run under: root any profile, also by its
// path, an agent those that it was given.
func (g *Generation) profile(agent, name string) (*profiles.Loaded, error) {
	a := g.agent(agent)
	if agent != "" && a == nil {
		return nil, refusef("agent %s is not configured any more, and may ask for nothing", agent)
	}
	if a != nil {
		if name == "" && len(a.CallProfiles) > 0 {
			name = a.CallProfiles[0]
		}
		if !slices.Contains(a.CallProfiles, name) {
			return nil, refusef("agent %s may not name profile %s: its call_profiles are %s", agent, visible.Quote(name), strings.Join(a.CallProfiles, ", "))
		}
	} else if name == "" {
		name = g.Config.DefaultProfile
	}
	if p := g.profiles[name]; p != nil {
		return p, nil
	}
	if agent == "" && (strings.Contains(name, "/") || strings.HasSuffix(name, ".toml")) {
		return profiles.Load(name, g.Config.ProfilePaths)
	}
	return nil, fmt.Errorf("there is no profile %s; see 'clawsup profile list', and reload after a new one was made", visible.Quote(name))
}

// tree is a workspace that a call names.
type tree struct {
	path    string
	private bool
}

// workspace gives the tree that a caller means by a name: a configured one, or
// for root any path.
func (g *Generation) workspace(agent, name string) (tree, error) {
	a := g.agent(agent)
	for _, w := range g.Config.Workspaces {
		if w.Name != name && w.Path != name {
			continue
		}
		if agent != "" && (a == nil || len(a.Workspaces) > 0 && !slices.Contains(a.Workspaces, w.Name)) {
			break
		}
		return tree{w.Path, w.Private}, nil
	}
	if agent == "" {
		if !strings.HasPrefix(name, "/") {
			return tree{}, fmt.Errorf("workspace %s is neither the name of a [[workspace]] in the configuration nor a directory's path from the root", visible.Quote(name))
		}
		return tree{name, true}, nil
	}
	return tree{}, refusef("agent %s has no workspace %s: a [[workspace]] of the configuration must have that name", agent, visible.Quote(name))
}

// refusal is a no of the configuration's, in words for who asked.
type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }

func refusef(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

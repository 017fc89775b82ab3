// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/clawsup/clawsup/cmd/clawsup/internal/desk"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/visible"
)

const grantUsage = `usage: clawsup grant list [--all] [--json]
       clawsup grant show GRANT [--json]
       clawsup grant revoke [--reason R] GRANT

A grant is a person's yes that outlives one ticket, bounded by scope, time and
count. Grants are given by answering a ticket: see 'clawsup help approve'.

  list     those that count; --all: also those that are over
  show     one, with the whole scope
  revoke   makes it void at once

  --reason R  why; the receipt has it
  --json      objects instead of text

Exit status: 0; 1 if the daemon refuses; 3 if there is no daemon.
`

func grantCommand() *command {
	return &command{name: "grant", subject: "grants", synopsis: "list, show and revoke grants", usage: grantUsage, execute: executeGrant}
}

type grantFlags struct {
	json, all bool
	reason    string
}

var grantVerbs = []verb[grantFlags]{
	{name: "list", flags: []string{"all", "json"}, execute: (*program).grantList},
	{name: "show", least: 1, most: 1, needs: "a grant", flags: []string{"json"}, execute: (*program).grantShow},
	{name: "revoke", least: 1, most: 1, needs: "a grant", flags: []string{"reason", "json"}, execute: (*program).grantRevoke},
}

func executeGrant(p *program, args []string) int {
	var f grantFlags
	s := p.flags("grant")
	s.BoolVar(&f.json, "json", false, "")
	s.BoolVar(&f.all, "all", false, "")
	s.StringVar(&f.reason, "reason", "", "")
	return choose(p, grantCommand(), grantVerbs, &f, s, args)
}

// grantState is what a grant is good for.
func grantState(g *policy.Grant, now time.Time) string {
	switch {
	case g.Revoked != "":
		return "void: " + g.Revoked
	case !now.Before(g.Expires):
		return "expired"
	case g.Uses == 0:
		return "used up"
	case g.Uses > 0:
		return fmt.Sprintf("%s, %d uses", desk.Span(g.Expires.Sub(now)), g.Uses)
	}
	return desk.Span(g.Expires.Sub(now))
}

func grantCounts(g *policy.Grant, now time.Time) bool {
	return g.Revoked == "" && now.Before(g.Expires) && g.Uses != 0
}

func (p *program) grantList(f *grantFlags, _ []string) error {
	list, err := ask[[]policy.Grant](p, api.GrantList, api.Nothing{})
	if err != nil {
		return err
	}
	now := time.Now()
	shown := []policy.Grant{}
	for _, g := range list {
		if f.all || grantCounts(&g, now) {
			shown = append(shown, g)
		}
	}
	if f.json {
		return p.printJSON(shown)
	}
	t := newTable(p.stdout, "GRANT", "LEFT", "EFFECT", "FOR", "WHAT", "PROFILE", "WORKSPACE", "BY")
	for i := range shown {
		g := &shown[i]
		t.row(g.ID, grantState(g, now), g.Scope.Effect.String()+" "+g.Scope.Target, grantFor(&g.Scope), grantWhat(&g.Scope, true), g.Scope.ProfileName, string(g.Scope.Workspace), strings.Join(g.By, ", "))
	}
	return t.flush()
}

func grantFor(s *policy.Scope) string {
	if s.Agent != "" {
		return "agent " + s.Agent
	}
	return "session " + s.Session
}

// grantWhat is the plan or the skill; short: with the beginning of its digest.
func grantWhat(s *policy.Scope, short bool) string {
	cut := func(digest string) string {
		if short && len(digest) > 19 {
			return digest[:19]
		}
		return digest
	}
	switch {
	case s.Raw:
		return "any command that is no skill's"
	case s.Skill == "":
		return "plan " + cut(s.Plan)
	}
	return fmt.Sprintf("skill %s %s, script %s, any arguments", visible.Text(s.SkillName), cut(s.Skill), visible.Text(s.Script))
}

// findGrant gives the grant with an id, or a beginning of it that no other has.
func (p *program) findGrant(id string) (*policy.Grant, error) {
	list, err := ask[[]policy.Grant](p, api.GrantList, api.Nothing{})
	if err != nil {
		return nil, err
	}
	var found []*policy.Grant
	for i := range list {
		if list[i].ID == id {
			return &list[i], nil
		}
		if strings.HasPrefix(list[i].ID, id) {
			found = append(found, &list[i])
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("there is no grant %s; see 'clawsup grant list --all'", visible.Text(id))
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("%d grants begin with %s; write more of it", len(found), visible.Text(id))
}

func (p *program) grantShow(f *grantFlags, words []string) error {
	g, err := p.findGrant(words[0])
	switch {
	case err != nil:
		return err
	case f.json:
		return p.printJSON(g)
	}
	now := time.Now()
	out := sheet{p.stdout}
	out.add("grant", "%s", g.ID)
	out.add("left", "%s", grantState(g, now))
	out.add("effect", "%s %s", g.Scope.Effect, g.Scope.Target)
	out.add("for", "%s", grantFor(&g.Scope))
	out.add("what", "%s", grantWhat(&g.Scope, false))
	out.add("profile", "%s %s", visible.Text(g.Scope.ProfileName), g.Scope.Profile)
	if w := g.Scope.Workspace; w != "" {
		out.add("workspace", "%s", visible.Text(string(w)))
	} else {
		out.add("workspace", "none but the session's own")
	}
	out.add("expires", "%s", stamp(g.Expires))
	out.add("by", "%s", strings.Join(g.By, ", "))
	out.add("ticket", "%s", g.Ticket)
	out.add("given", "%s", stamp(g.Created))
	out.add("last used", "%s", stamp(g.LastUsed))
	return nil
}

func (p *program) grantRevoke(f *grantFlags, words []string) error {
	found, err := p.findGrant(words[0])
	if err != nil {
		return err
	}
	g, err := ask[policy.Grant](p, api.GrantRevoke, api.GrantRef{Grant: found.ID, Reason: f.reason})
	switch {
	case err != nil:
		return err
	case f.json:
		return p.printJSON(g)
	}
	return p.line("grant %s is void", g.ID)
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/secrets"
	"github.com/clawsup/clawsup/supervisor/visible"
)

const skillUsage = `usage: clawsup skill bind [--force] [--json] SKILL VAR=SECRET...
       clawsup skill unbind [--json] SKILL [VAR...]
       clawsup skill bindings [--json]

A skill's manifest says which environment variables it needs for keys and tokens
(requires.env, primaryEnv). Once bound, each has a placeholder of its secret in every
call of the skill whose profile lets it out; the skill never sees the value.

  bind      gives variables secrets. It counts for the bytes that the skill has now:
            if they change, calls of it are refused until you have looked at it and
            bound them again
  unbind    takes them away, all of them or VAR
  bindings  lists them, and says which don't count any more

  --force   also variables that the manifest doesn't name
  --json    objects instead of text

Exit status: 0; 1 if the daemon refuses; 2 for a wrong command line; 3 if there is no
daemon. Root alone asks for these.
`

func skillCommand() *command {
	return &command{name: "skill", subject: "skills", synopsis: "give skills placeholders of secrets", usage: skillUsage, execute: executeSkill}
}

type skillFlags struct{ json, force bool }

var skillVerbs = []verb[skillFlags]{
	{name: "bind", least: 2, most: -1, needs: "a skill and VAR=SECRET", flags: []string{"force", "json"}, execute: (*program).skillBind},
	{name: "unbind", least: 1, most: -1, needs: "a skill", flags: []string{"json"}, execute: (*program).skillUnbind},
	{name: "bindings", flags: []string{"json"}, execute: (*program).skillBindings},
}

func executeSkill(p *program, args []string) int {
	var f skillFlags
	s := p.flags("skill")
	s.BoolVar(&f.json, "json", false, "")
	s.BoolVar(&f.force, "force", false, "")
	return choose(p, skillCommand(), skillVerbs, &f, s, args)
}

func (p *program) skillBind(f *skillFlags, words []string) error {
	variables := map[string]string{}
	for i, pair := range words[1:] {
		name, secret, ok := strings.Cut(pair, "=")
		switch {
		case !ok || name == "":
			return usagef("word %d after the skill is not VAR=SECRET", i+1)
		case variables[name] != "":
			return usagef("%s is there twice", visible.Text(name))
		}
		if _, err := onlyName([]string{secret}); err != nil { // who writes the value there, as in a shell
			return err
		}
		variables[name] = secret
	}
	bound, err := ask[api.SkillBound](p, api.SkillBind, api.SkillBinding{Skill: words[0], Variables: variables, Force: f.force})
	switch {
	case err != nil:
		return err
	case f.json:
		return p.printJSON(bound)
	}
	if len(bound.Wanted) > 0 {
		fmt.Fprintf(p.stderr, "clawsup: its manifest names these too: %s\n", visible.Line(strings.Join(bound.Wanted, ", ")))
	}
	return p.line("skill %s as it is now (%s) has %s", bound.Bound.Skill, bound.Bound.Digest, pairsText(&bound.Bound))
}

func pairsText(b *secrets.Bound) string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(b.Variables)) {
		pairs = append(pairs, name+"="+b.Variables[name])
	}
	return strings.Join(pairs, " ")
}

func (p *program) skillUnbind(f *skillFlags, words []string) error {
	if _, err := ask[api.Nothing](p, api.SkillUnbind, api.SkillVariables{Skill: words[0], Variables: words[1:]}); err != nil {
		return err
	}
	if f.json {
		return p.printJSON(api.SkillVariables{Skill: words[0], Variables: words[1:]})
	}
	what := "none of its variables"
	if len(words) > 1 {
		what = strings.Join(words[1:], ", ") + " no more"
	}
	return p.line("skill %s has %s bound", words[0], what)
}

func (p *program) skillBindings(f *skillFlags, _ []string) error {
	list, err := ask[[]api.SkillBound](p, api.SkillBindings, api.Nothing{})
	switch {
	case err != nil:
		return err
	case f.json:
		return p.printJSON(orEmpty(list))
	case len(list) == 0:
		return p.line("no skill has secrets; 'clawsup help skill' says how to bind one")
	}
	now := time.Now()
	t := newTable(p.stdout, "SKILL", "VARIABLES", "SINCE", "BY", "NOTE")
	for i := range list {
		b := &list[i]
		note := ""
		if b.Wrong != "" {
			note = "DOES NOT COUNT"
		}
		t.row(b.Bound.Skill, clipped(pairsText(&b.Bound)), ago(b.Bound.At, now), b.Bound.By, note)
	}
	if err := t.flush(); err != nil {
		return err
	}
	for i := range list {
		if b := &list[i]; b.Wrong != "" {
			fmt.Fprintf(p.stderr, "clawsup: skill %s: %s\n", visible.Text(b.Bound.Skill), visible.Line(b.Wrong))
		}
	}
	return nil
}

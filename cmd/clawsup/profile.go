// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/BurntSushi/toml"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime/seccomp"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/visible"
)

const profileUsage = `usage: clawsup profile list [--json]
       clawsup profile show P [--seccomp | --json]
       clawsup profile check FILE
       clawsup profile schema

A profile is a TOML file that says what a sandbox may see, use and ask for.
P is a name or a file. None of these needs root.

  list     all profiles by name, with what they are for
  show     every effective value and the file that set it;
           --seccomp: the table of system calls, with a reason for each
  check    read a file with its ancestors; what is wrong, with its line
  schema   the JSON schema of a profile file, for editors

Exit status: 0, or 1 if a profile can't be used.
`

func profileCommand() *command {
	return &command{
		name:     "profile",
		subject:  "profiles",
		synopsis: "list, show and check profiles",
		usage:    profileUsage,
		execute:  executeProfile,
	}
}

// profileFlags are those of show and list.
type profileFlags struct{ seccomp, json bool }

var profileVerbs = []verb[profileFlags]{
	{name: "list", flags: []string{"json"}, execute: (*program).listProfiles},
	{name: "show", least: 1, most: 1, needs: "a profile", flags: []string{"json", "seccomp"}, execute: (*program).showProfile},
	{name: "check", least: 1, most: 1, needs: "a file", execute: (*program).checkProfile},
	{name: "schema", execute: (*program).showSchema},
}

func executeProfile(p *program, args []string) int {
	var f profileFlags
	flags := p.flags("profile")
	flags.BoolVar(&f.seccomp, "seccomp", false, "")
	flags.BoolVar(&f.json, "json", false, "")
	return choose(p, profileCommand(), profileVerbs, &f, flags, args)
}

func (p *program) listProfiles(pf *profileFlags, _ []string) error {
	config, err := p.ready()
	if err != nil {
		return err
	}
	list, err := profiles.List(config.ProfilePaths)
	if err != nil {
		return err
	}
	type row struct {
		Name        string `json:"name"`
		Description string `json:"description,omitempty"`
		Source      string `json:"source"`
		Error       string `json:"error,omitempty"`
	}
	rows := make([]row, 0, len(list))
	broken := 0
	for _, l := range list {
		r := row{Name: l.Name, Description: l.Description, Source: l.Source}
		if l.Err != nil {
			r.Error = l.Err.Error()
			broken++
		}
		rows = append(rows, r)
	}
	if pf.json {
		return p.printJSON(rows)
	}
	tab := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		text := visible.Line(r.Description)
		if r.Error != "" {
			text = "CAN'T BE USED: " + visible.Line(r.Error)
		}
		fmt.Fprintf(tab, "%s\t%s\n", visible.Text(r.Name), text)
		if !strings.HasPrefix(r.Source, "built in") && r.Error == "" {
			fmt.Fprintf(tab, "\t  %s\n", visible.Text(r.Source))
		}
	}
	if err := tab.Flush(); err != nil {
		return err
	}
	if broken > 0 {
		return fmt.Errorf("%d of %d profiles can't be used", broken, len(rows))
	}
	return nil
}

func (p *program) showProfile(pf *profileFlags, words []string) error {
	config, err := p.ready()
	if err != nil {
		return err
	}
	if pf.seccomp && pf.json {
		return usagef("--seccomp does not go with --json")
	}
	l, err := profiles.Load(words[0], config.ProfilePaths)
	if err != nil {
		return err
	}
	switch {
	case pf.seccomp:
		return seccomp.WriteTable(p.stdout, supervisor.SeccompGroups(&l.Profile))
	case pf.json:
		return p.showProfileJSON(l)
	}
	return profiles.Show(p.stdout, l)
}

// showProfileJSON prints the values under the names of the file's keys.
func (p *program) showProfileJSON(l *profiles.Loaded) error {
	var text bytes.Buffer
	if err := toml.NewEncoder(&text).Encode(l.Profile); err != nil {
		return err
	}
	var values map[string]any
	if _, err := toml.Decode(text.String(), &values); err != nil {
		return err
	}
	return p.printJSON(struct {
		Name   string            `json:"name"`
		Digest string            `json:"digest"`
		Source string            `json:"source"`
		Values map[string]any    `json:"values"`
		Origin map[string]string `json:"origin"`
	}{l.Profile.Name, l.Digest, l.Source, values, l.Origin})
}

func (p *program) checkProfile(_ *profileFlags, words []string) error {
	config, err := p.ready()
	if err != nil {
		return err
	}
	name := words[0]
	if !strings.Contains(name, "/") {
		name = "./" + name // a file, never a built-in of that name
	}
	l, err := profiles.Load(name, config.ProfilePaths)
	if err != nil {
		return err
	}
	if _, err := seccomp.Compile(supervisor.SeccompGroups(&l.Profile)); err != nil {
		return fmt.Errorf("%s: seccomp.groups: %w", visible.Text(l.Origin["seccomp.groups"]), err)
	}
	_, err = fmt.Fprintf(p.stdout, "%s is good: profile %s, %s\n", visible.Text(words[0]), l.Profile.Name, l.Digest)
	return err
}

func (p *program) showSchema(*profileFlags, []string) error {
	_, err := p.stdout.Write(profiles.Schema())
	return err
}

func (p *program) printJSON(v any) error {
	e := json.NewEncoder(p.stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

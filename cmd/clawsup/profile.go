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
	"github.com/clawsup/clawsup/runtime/spell"
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
		synopsis: "list, show and check profiles",
		usage:    profileUsage,
		execute:  executeProfile,
	}
}

// profileFlags are those of show and list.
type profileFlags struct{ seccomp, json bool }

// profileVerbs are the words after profile, with how many names each takes.
var profileVerbs = map[string]struct {
	names   int
	what    string
	execute func(*program, supervisor.Config, *profileFlags, []string) error
}{
	"list":   {0, "", listProfiles},
	"show":   {1, "a profile", showProfile},
	"check":  {1, "a file", checkProfile},
	"schema": {0, "", showSchema},
}

func executeProfile(p *program, args []string) int {
	c := profileCommand()
	var pf profileFlags
	flags := p.flags("profile")
	flags.BoolVar(&pf.seccomp, "seccomp", false, "")
	flags.BoolVar(&pf.json, "json", false, "")
	words, rest, err := parse(flags, args)
	words = append(words, rest...)
	if err == nil && len(words) == 0 {
		err = usagef("say what about profiles: list, show, check or schema")
	}
	if err != nil {
		return p.mistaken(c, err)
	}
	verb, known := profileVerbs[words[0]]
	switch {
	case !known:
		hint := "they are list, show, check and schema"
		if near, ok := spell.Nearest(words[0], []string{"list", "show", "check", "schema"}); ok {
			hint = "did you mean " + near + "?"
		}
		err = usagef("profile knows no %s; %s", plainWord(words[0]), hint)
	case len(words)-1 < verb.names:
		err = usagef("profile %s needs %s", words[0], verb.what)
	case len(words)-1 > verb.names:
		err = usagef("profile %s takes nothing more: %s", words[0], plainWord(words[verb.names+1]))
	case pf.seccomp && (words[0] != "show" || pf.json):
		err = usagef("--seccomp belongs to profile show, and not with --json")
	case pf.json && words[0] != "show" && words[0] != "list":
		err = usagef("--json belongs to profile list and show")
	}
	if err != nil {
		return p.mistaken(c, err)
	}
	config, err := p.ready()
	if err == nil {
		err = verb.execute(p, config, &pf, words[1:])
	}
	if err != nil {
		return p.fault(exitFault, err)
	}
	return exitOK
}

func listProfiles(p *program, config supervisor.Config, pf *profileFlags, _ []string) error {
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

func showProfile(p *program, config supervisor.Config, pf *profileFlags, words []string) error {
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

func checkProfile(p *program, config supervisor.Config, _ *profileFlags, words []string) error {
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

func showSchema(p *program, _ supervisor.Config, _ *profileFlags, _ []string) error {
	_, err := p.stdout.Write(profiles.Schema())
	return err
}

func (p *program) printJSON(v any) error {
	e := json.NewEncoder(p.stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

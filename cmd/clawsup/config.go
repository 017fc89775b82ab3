// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/visible"
)

const configUsage = `usage: clawsup config check [FILE]
       clawsup config show [--json]

The configuration is /etc/clawsup/clawsup.toml, or what --config says, with the
files clawsup.d/*.toml beside it laid over it, sorted by name. It belongs to
root; whoever can read it can ask for this.

  check    read it, or FILE, as clawsupd would, and look for the profiles,
           workspaces, programs, users and groups that it names: everything that
           is wrong, each with file and line
  show     every effective value, as a file would have it, and what set it;
           --json: a list of objects with key, value and origin (null: default)

Exit status: 0, or 1 if the configuration can't be used.
`

func configCommand() *command {
	return &command{
		name:     "config",
		subject:  "the configuration",
		synopsis: "check and show the configuration",
		usage:    configUsage,
		execute:  executeConfig,
	}
}

// configFlags are those of show.
type configFlags struct{ json bool }

var configVerbs = []verb[configFlags]{
	{name: "check", most: 1, execute: (*program).checkConfig},
	{name: "show", flags: []string{"json"}, execute: (*program).showConfig},
}

func executeConfig(p *program, args []string) int {
	var f configFlags
	flags := p.flags("config")
	flags.BoolVar(&f.json, "json", false, "")
	return choose(p, configCommand(), configVerbs, &f, flags, args)
}

func (p *program) checkConfig(_ *configFlags, words []string) error {
	if len(words) == 1 {
		p.configFile = words[0]
	}
	config, err := p.ready()
	if err == nil {
		err = errors.Join(config.HostFaults()...)
	}
	if err != nil {
		return err
	}
	name, is := p.configFile, "is good"
	if name == "" {
		name = supervisor.DefaultConfig
		if _, err := os.Lstat(name); err != nil {
			is = "is not there, the defaults are good"
		}
	}
	_, err = fmt.Fprintf(p.stdout, "%s %s: %s, %s, %s\n", visible.Text(name), is,
		several(len(config.Agents), "agent"), several(len(config.Workspaces), "workspace"), several(len(filesOf(config)), "file"))
	return err
}

// several gives a number with its noun.
func several(n int, noun string) string {
	switch n {
	case 0:
		return "no " + noun + "s"
	case 1:
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// filesOf gives the files that set anything.
func filesOf(config supervisor.Config) map[string]bool {
	files := map[string]bool{}
	for _, origin := range config.Origin {
		files[origin[:strings.LastIndexByte(origin, ':')]] = true
	}
	return files
}

func (p *program) showConfig(f *configFlags, _ []string) error {
	config, err := p.ready()
	if err != nil {
		return err
	}
	all := config.Settings()
	if f.json {
		type setting struct {
			Key    string  `json:"key"`
			Value  any     `json:"value"`
			Origin *string `json:"origin"`
		}
		list := make([]setting, len(all))
		for i, s := range all {
			list[i] = setting{Key: s.Key, Value: s.Value}
			if s.Origin != "" {
				list[i].Origin = &all[i].Origin
			}
		}
		return p.printJSON(list)
	}
	tab := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	header := ""
	for _, s := range all {
		h, name := splitKey(s.Key)
		if h != header {
			// a line without a cell ends a column: each section is aligned for itself
			fmt.Fprintf(tab, "\n%s\n", strings.SplitN(h, " ", 2)[0])
			header = h
		}
		origin := "default"
		if s.Origin != "" {
			origin = visible.Text(s.Origin)
		}
		fmt.Fprintf(tab, "%s = %s\t# %s\n", name, s.Literal(), origin)
	}
	return tab.Flush()
}

// splitKey gives a setting's header in a file, with the name of its agent or
// workspace behind it, and its name below that.
func splitKey(key string) (header, name string) {
	section, rest, deep := strings.Cut(key, ".")
	if !deep {
		return "", key
	}
	if section != "agent" && section != "workspace" {
		return "[" + section + "]", rest
	}
	whose, name, _ := strings.Cut(rest, ".")
	return "[[" + section + "]] " + whose, name
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
)

const helpUsage = `usage: clawsup help [COMMAND]

Explains a command, or lists them all.
`

func helpCommand() *command {
	return &command{
		name:     "help",
		synopsis: "explain a command",
		usage:    helpUsage,
		execute: func(p *program, args []string) int {
			switch {
			case len(args) == 0:
				return p.print(overview())
			case args[0] == "help", strings.HasPrefix(args[0], "-"):
				return p.print(helpUsage)
			}
			c, err := find(args[0])
			if err != nil {
				return p.mistaken(nil, err)
			}
			return p.print(c.usage)
		},
	}
}

// overview is what clawsup says about itself as a whole.
func overview() string {
	var b strings.Builder
	b.WriteString("clawsup runs what strangers wrote in a throwaway sandbox and says what happened.\n" +
		"usage: clawsup [--config FILE] [--log-level LEVEL] COMMAND ...\n\n")
	for _, g := range groups() {
		fmt.Fprintf(&b, "%s\n", g.name)
		for _, c := range g.commands {
			fmt.Fprintf(&b, "  %-10s %s\n", c.name, c.synopsis)
		}
	}
	b.WriteString(`  --config FILE      configuration; default /etc/clawsup/clawsup.toml, if it is there
  --log-level LEVEL  what goes to standard error: error, warning (default), info, debug
Begin with 'sudo clawsup doctor', then 'sudo clawsup run -- ls -la /proc'.
`)
	return b.String()
}

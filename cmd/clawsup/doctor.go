// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"

	"github.com/clawsup/clawsup/supervisor/doctor"
	"github.com/clawsup/clawsup/supervisor/stdio"
)

const doctorUsage = `usage: clawsup doctor [--json]

Says what this host offers a sandbox, what would be enforced with the present
configuration, what is missing and how to get it. As root it also makes a box
and throws it away. It changes nothing else.

  ok       as it should be
  note     worth knowing; another layer stops the same
  unknown  could not be looked at, most often for want of root
  lowered  less than it could be, because the configuration says so
  broken   no sandbox can be made

  --json   one object: the findings, the summary and the exit status

Exit status: 0 everything is enforced, 1 something is lowered or unknown,
2 no sandbox can be made.
`

func doctorCommand() *command {
	return &command{
		name:     "doctor",
		synopsis: "say what this host can enforce",
		usage:    doctorUsage,
		execute:  executeDoctor,
	}
}

// exitBroken is doctor's when no sandbox can be made.
const exitBroken = 2

func executeDoctor(p *program, args []string) int {
	c := doctorCommand()
	flags := p.flags("doctor")
	asJSON := flags.Bool("json", false, "")
	words, rest, err := parse(flags, args)
	if err == nil && len(words)+len(rest) > 0 {
		err = usagef("doctor takes no arguments")
	}
	if err != nil {
		return p.mistaken(c, err)
	}
	config, err := p.ready()
	if err != nil {
		return p.fault(exitBroken, err)
	}
	found := doctor.Run(context.Background(), doctor.Checks(config))
	if *asJSON {
		err = p.printJSON(struct {
			Status   int              `json:"status"`
			Summary  string           `json:"summary"`
			Findings []doctor.Finding `json:"findings"`
		}{doctor.Status(found), doctor.Summary(found), found})
	} else {
		_, plain := os.LookupEnv("NO_COLOR")
		err = doctor.Write(p.stdout, found, stdio.IsTerminal(p.stdout) && !plain)
	}
	if err != nil {
		return p.fault(exitBroken, err)
	}
	return doctor.Status(found)
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/visible"
)

const lockdownUsage = `usage: clawsup lockdown [--reason R] [--json]

Stops everything at once: freezes and kills every call, stops the agents,
makes all grants and tickets void, and refuses what is new until
'clawsup unlock'. A restart of the daemon changes nothing about that.

  --reason R  why; it is told to whoever is refused, and the receipt has it
  --json      one object: what was stopped, and how long it took

Exit status: 0; 1 if something could not be stopped; 3 if there is no daemon.
`

const unlockUsage = `usage: clawsup unlock [--reason R] [--json]

Ends a lockdown. What was stopped stays so: start agents by 'clawsup agent
start'; grants and tickets stay void.

  --reason R  why; the receipt has it
  --json      one object: the daemon's state

Exit status: 0; 1 if the daemon refuses; 3 if there is no daemon.
`

func lockdownCommand() *command {
	return &command{name: "lockdown", synopsis: "stop everything and refuse what is new", usage: lockdownUsage, execute: executeLockdown}
}

func unlockCommand() *command {
	return &command{name: "unlock", synopsis: "end a lockdown", usage: unlockUsage, execute: executeUnlock}
}

// reasonFlags are those of both.
func (p *program) reasonFlags(c *command, args []string) (reason string, asJSON bool, err error) {
	s := p.flags(c.name)
	s.StringVar(&reason, "reason", "", "")
	s.BoolVar(&asJSON, "json", false, "")
	_, err = arguments(c, s, args, 0, 0, "")
	return reason, asJSON, err
}

func executeLockdown(p *program, args []string) int {
	c := lockdownCommand()
	reason, asJSON, err := p.reasonFlags(c, args)
	if err == nil {
		err = p.lockdown(reason, asJSON)
	}
	return p.ended(c, err)
}

func (p *program) lockdown(reason string, asJSON bool) error {
	r, err := ask[api.LockdownReport](p, api.Lockdown, api.LockdownOrder{Reason: reason})
	switch {
	case err != nil:
		return err
	case asJSON:
		err = p.printJSON(r)
	default:
		fmt.Fprintf(p.stdout, "locked down in %v: %s and %s stopped, %s and %s void\n", r.Took.Round(time.Millisecond),
			several(r.Calls, "call"), several(r.Agents, "agent"), several(r.Tickets, "ticket"), several(r.Grants, "grant"))
		for _, f := range r.Failed {
			fmt.Fprintf(p.stdout, "NOT STOPPED: %s\n", visible.Line(f))
		}
	}
	if err == nil && len(r.Failed) > 0 {
		err = fmt.Errorf("%s could not be stopped", several(len(r.Failed), "thing"))
	}
	return err
}

func executeUnlock(p *program, args []string) int {
	c := unlockCommand()
	reason, asJSON, err := p.reasonFlags(c, args)
	if err == nil {
		err = p.unlock(reason, asJSON)
	}
	return p.ended(c, err)
}

func (p *program) unlock(reason string, asJSON bool) error {
	d, err := ask[api.Daemon](p, api.Unlock, api.Reason{Reason: reason})
	switch {
	case err != nil:
		return err
	case asJSON:
		return p.printJSON(d)
	}
	_, err = fmt.Fprintln(p.stdout, "unlocked; start agents by 'clawsup agent start'")
	return err
}

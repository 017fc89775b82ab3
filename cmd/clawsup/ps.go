// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"time"

	"github.com/clawsup/clawsup/cmd/clawsup/internal/desk"
	"github.com/clawsup/clawsup/supervisor/api"
)

const psUsage = `usage: clawsup ps [--all] [--session S] [--json]

Lists the calls that have not ended: queued, planning, asking (for a person's
yes) or running.

  --all        also those that have ended, the newest first
  --session S  of one session, by its id
  --json       a list of objects

Exit status: 0; 1 if the daemon refuses; 3 if there is no daemon.
`

func psCommand() *command {
	return &command{name: "ps", synopsis: "list calls", usage: psUsage, execute: executePs}
}

func executePs(p *program, args []string) int {
	c := psCommand()
	s := p.flags("ps")
	all := s.Bool("all", false, "")
	session := s.String("session", "", "")
	asJSON := s.Bool("json", false, "")
	_, err := arguments(c, s, args, 0, 0, "")
	if err == nil {
		err = p.ps(api.CallFilter{Live: !*all, Session: *session}, *asJSON)
	}
	return p.ended(c, err)
}

func (p *program) ps(filter api.CallFilter, asJSON bool) error {
	list, err := ask[[]api.Call](p, api.CallList, filter)
	if err != nil {
		return err
	}
	if asJSON {
		return p.printJSON(orEmpty(list))
	}
	return writeCalls(p.stdout, list, time.Now())
}

// writeCalls writes the list of calls.
func writeCalls(w io.Writer, list []api.Call, now time.Time) error {
	t := newTable(w, "CALL", "STATE", "AGE", "ASKED BY", "COMMAND")
	for i := range list {
		c := &list[i]
		t.row(c.ID, callState(c), desk.Span(now.Sub(c.Created)), c.Requester, clipped(c.Command))
	}
	return t.flush()
}

// callState is where a call is, or how it ended.
func callState(c *api.Call) string {
	switch {
	case c.State == api.Asking && c.Ticket != "":
		return "asking " + c.Ticket
	case c.State != api.Ended || c.Result == nil:
		return string(c.State)
	case c.Result.ExitCode >= 0:
		return fmt.Sprintf("%s %d", c.Result.Status, c.Result.ExitCode)
	}
	return c.Result.Status.String()
}

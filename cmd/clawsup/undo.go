// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/clawsup/clawsup/cmd/clawsup/internal/summary"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/visible"
)

const undoUsage = `usage: clawsup undo [--dry-run] [--json] CHANGE [PATH...]

Takes back what a change set did to its workspace: what was modified or deleted
comes out of the trash as it was, with its mode and time, and what was created
goes. CHANGE is the id of a call or of its change set, or a beginning of it that
no other has; PATH is below the workspace, and means all that is beneath it too.

That is a change set itself: what has changed since is never overwritten but
reported, and an undo can be undone.

  --dry-run   show what it would do, and do nothing
  --json      one object: the change set that undoes

With 'daemon = true' in the configuration clawsupd is asked, and it takes the
role admin; else this works on the host's store, as root.

Exit status: 0; 1 if it failed, or not all of it could be taken back; 2 for a
wrong command line; 3 if there is no daemon.
`

func undoCommand() *command {
	return &command{name: "undo", synopsis: "take back what a call did to files", usage: undoUsage, execute: executeUndo}
}

func executeUndo(p *program, args []string) int {
	c := undoCommand()
	s := p.flags("undo")
	dry := s.Bool("dry-run", false, "")
	asJSON := s.Bool("json", false, "")
	words, err := arguments(c, s, args, 1, -1, "a change set; see 'clawsup changes list'")
	if err == nil {
		err = p.undo(words[0], words[1:], *dry, *asJSON)
	}
	return p.ended(c, err)
}

// undo takes back what a change set did, at all paths or at some.
func (p *program) undo(id string, typed []string, dry, asJSON bool) error {
	return p.withChanges(func(source changeSource) error {
		choice := api.ChangesChoice{Changes: id, DryRun: dry}
		if len(typed) > 0 {
			c, entries, err := source.entries(id)
			if err != nil {
				return err
			}
			choice.Changes = c.ID
			if choice.Only, err = pathsOf(&c, entries, typed); err != nil {
				return err
			}
		}
		c, err := source.undo(choice)
		switch {
		case err != nil:
			return err
		case !dry:
			return p.committed(&c, asJSON)
		case asJSON:
			return p.printJSON(c)
		}
		// It is discarded by now, and can still be looked at.
		c, entries, err := source.entries(c.ID)
		if err != nil {
			return err
		}
		if err := p.line("nothing is done; 'clawsup undo' would do this to %s:", visible.Text(string(c.Workspace))); err != nil {
			return err
		}
		return writeSummary(p.stdout, &c, summary.Of(entries).Folded(), terminalWidth(p.stdout)-1)
	})
}

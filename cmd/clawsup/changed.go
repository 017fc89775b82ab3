// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/clawsup/clawsup/cmd/clawsup/internal/summary"
	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/changes"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// exitRefused is that of a call whose tool was content, and whose change set is
// not in force.
const exitRefused = 126

// refused says that what the call changed did not come about, or not all of it.
func (o *outcome) refused() bool {
	c := o.changes
	if c == nil || o.flags.request.DryRun {
		return false
	}
	switch c.State {
	case changes.Writing:
		return false
	case changes.Committed:
		r := c.Report
		return r != nil && len(r.Refused)+len(r.Conflicts)+len(r.Failed) > 0
	}
	return true
}

// becameOf says by state what became of a change set, and what can be done.
var becameOf = map[changes.State]string{
	changes.Writing:   "kept for the session's next call; 'clawsup changes show CHANGE' and commit or discard end that",
	changes.Asking:    "nobody has answered yet; see 'clawsup changes show CHANGE'",
	changes.Held:      "nothing of it is in the workspace; 'clawsup changes show CHANGE' has it, and commit and discard decide",
	changes.Committed: "committed; 'clawsup undo CHANGE' takes it back",
	changes.Discarded: "discarded, the workspace is as it was",
}

// reportChanges tells what the call did to its workspace.
func (p *program) reportChanges(o *outcome) {
	c := o.changes
	if c == nil {
		return
	}
	fmt.Fprintf(p.stderr, "clawsup: changes: %s: %s\n", c.Count, strings.ReplaceAll(becameOf[c.State], "CHANGE", c.ID))
	if o.flags.request.DryRun {
		if err := p.showDry(c.ID); err != nil {
			fmt.Fprintf(p.stderr, "clawsup: what it would have changed can't be shown: %s\n", visible.Line(err.Error()))
		}
	}
	if c.Reason != "" && c.State != changes.Committed && !o.flags.request.DryRun {
		fmt.Fprintf(p.stderr, "  because %s\n", visible.Line(c.Reason))
	}
	if c.Report == nil {
		return
	}
	for _, left := range []struct {
		word string
		n    int
	}{{"refused", len(c.Report.Refused)}, {"in conflict", len(c.Report.Conflicts)}, {"failed", len(c.Report.Failed)}, {"further of these", c.Unlisted}} {
		if left.n > 0 {
			fmt.Fprintf(p.stderr, "  %s and not applied: %d; see 'clawsup changes show %s'\n", left.word, left.n, c.ID)
		}
	}
}

// showDry shows what a dry run changed: it is discarded, and can still be seen.
func (p *program) showDry(id string) error {
	return p.withChanges(func(source changeSource) error {
		c, entries, err := source.entries(id)
		if err != nil {
			return err
		}
		return writeSummary(p.stderr, &c, summary.Of(entries).Folded(), terminalWidth(p.stderr)-1)
	})
}

// status is the tool's, unless it was content and its work is not in force.
func (o *outcome) status() int {
	if o.result.Status == runtime.Exited && o.result.ExitCode == 0 && o.refused() {
		return exitRefused
	}
	return o.exitStatus()
}

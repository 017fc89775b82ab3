// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// deniedLines bounds how many denials are told of in words; --json has all
// that the daemon noted.
const deniedLines = 5

// reportReached says what the call was not let reach. A tool's own words about
// it are as bad as its authors' imagination of a network.
func (p *program) reportReached(o *outcome) {
	if o.call == nil || o.call.Reached == nil {
		return
	}
	r := o.call.Reached
	for i, d := range r.Denied {
		if i == deniedLines {
			fmt.Fprintf(p.stderr, "clawsup: and %d more that were not let out: see 'clawsup explain %s' or --json\n", int64(len(r.Denied)-i)+r.More, o.call.ID)
			return
		}
		fmt.Fprintf(p.stderr, "clawsup: not let out: %s\n", denialText(&d))
	}
}

// denialText is a denial in a line.
func denialText(d *api.Denial) string {
	var b strings.Builder
	if d.Effect != "" {
		b.WriteString(d.Effect + " ")
	}
	b.WriteString(visible.Line(d.Target) + ": " + visible.Line(d.Reason))
	if d.Ticket != "" {
		b.WriteString(" (ticket " + visible.Line(d.Ticket) + ")")
	}
	if d.Times > 1 {
		fmt.Fprintf(&b, ", %d times", d.Times)
	}
	return b.String()
}

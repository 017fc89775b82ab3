// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"cmp"
	"net"
	"strconv"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// refuse writes a no down.
func (r *reach) refuse(q *packet.Query, rule, reason, ticket string) {
	effect, what := target(q)
	again := r.deny(api.Denial{Effect: effect.String(), Target: visible.Text(cut(what, 1<<10)), Reason: visible.Line(cut(reason, 400)), Rule: rule, Ticket: ticket})
	if again && ticket == "" {
		return
	}
	ok, skipped := r.line(time.Now())
	if !ok {
		return
	}
	a, f := r.receipt(effect)
	a.Decision, a.Rule = string(profiles.Deny), field(rule, &f, factRule)
	f.add(factSkipped, skipped)
	f.add(factTicket, ticket)
	f.add(factReason, cut(reason, maxReason))
	a.Facts = append(f, aboutQuery(q)...)
	_ = r.begin(a) // a no stays one
}

// Bounds of the receipts of what one box was refused: the log is not its to fill.
// Nor does a flood hide what comes after it, in a box that lives for long.
const (
	maxLines       = 1000 // at once
	linesPerMinute = 6
	sameAgain      = time.Hour // after which a refusal that was written is written again
)

// factSkipped tells of refusals that have no receipt of their own.
const factSkipped = "refused before without a receipt"

// line says whether there may be one more, and how many there were not since the last.
func (r *reach) line(now time.Time) (ok bool, skipped string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.lines.take(maxLines, linesPerMinute, now) {
		r.skipped++
		return false, ""
	}
	if r.skipped > 0 {
		skipped = strconv.Itoa(r.skipped)
	}
	r.skipped = 0
	return true, skipped
}

func (r *reach) refused(n packet.Refusal) {
	at := n.Host
	if n.Port != 0 {
		at = net.JoinHostPort(n.Host, strconv.Itoa(int(n.Port)))
	}
	at, why := visible.Text(cut(at, 512)), visible.Line(cut(n.Detail, packet.MaxDetail))
	if r.deny(api.Denial{Target: cmp.Or(at, string(n.Kind)), Reason: why, Rule: "clawsup-egress: " + string(n.Kind)}) {
		return
	}
	ok, skipped := r.line(time.Now())
	if !ok {
		return
	}
	a, f := r.receipt(-1)
	a.Decision, a.Rule = string(profiles.Deny), "clawsup-egress: "+string(n.Kind)
	f.add(factSkipped, skipped)
	f.add("host", at)
	f.add(factReason, why)
	a.Facts = f
	_ = r.begin(a)
}

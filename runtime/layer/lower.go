// SPDX-License-Identifier: Apache-2.0

package layer

import (
	"fmt"
	"strings"

	"github.com/clawsup/clawsup/runtime/wire"
)

// Plan is what will be enforced. It holds nothing that Lower did not decide.
type Plan struct {
	Enforce Set
	ABI     int // Landlock version to apply; 0 where the layer is not enforced
	Reports []Report
}

// MissingError names the layers that the host can't give.
type MissingError struct{ Reports []Report }

// Error says what is missing, why, and the two ways on.
func (e *MissingError) Error() string {
	var b strings.Builder
	b.WriteString("this host lacks what the sandbox needs:")
	for _, r := range e.Reports {
		fmt.Fprintf(&b, "\n  %s: %s", r.Layer, r.Detail)
	}
	b.WriteString("\nsee 'clawsup doctor'; a layer is given up only by name, with lower = [...] in clawsup.toml")
	return b.String()
}

// Lower decides what of the wished layers a host enforces, when the operator
// gave up the layers in given. It is a pure function. The plan is complete,
// with reports for every layer, even when the error (a *MissingError) is not nil.
func Lower(wish Set, host Host, given Set) (Plan, error) {
	plan := Plan{Reports: make([]Report, Count)}
	for l := Layer(0); l < Count; l++ {
		state, detail := judge(l, wish, host, given)
		plan.Reports[l] = Report{Layer: l, State: state, Detail: detail}
		if state == Enforced {
			plan.Enforce |= Of(l)
		}
	}
	// A cover counts only when it holds itself.
	for l := range plan.Reports {
		r := &plan.Reports[l]
		if r.State == Covered && !plan.Enforce.Has(rows[r.Layer].cover) {
			r.State = Missing
			r.Detail += "; " + rows[r.Layer].cover.String() + ", which would cover it, is not enforced either"
		}
	}
	if !wish.Has(Network) && plan.Enforce.Has(Namespaces) {
		plan.Reports[Namespaces].Detail = "without one of the network"
	}
	if plan.Enforce.Has(Landlock) {
		plan.ABI = min(host.Landlock, wire.MaxABI)
		plan.Reports[Landlock].Detail = fmt.Sprintf("version %d", plan.ABI)
	}
	var missing []Report
	for _, r := range plan.Reports {
		if r.State == Missing {
			missing = append(missing, r)
		}
	}
	if missing != nil {
		return plan, &MissingError{missing}
	}
	return plan, nil
}

// judge looks at one layer, without regard to whether its cover holds.
func judge(l Layer, wish Set, host Host, given Set) (State, string) {
	row := rows[l]
	sub := row.abi > 0 && l != Landlock
	switch {
	case l == Network && !wish.Has(l):
		return Unused, "the box is in the host's network"
	case !wish.Has(l):
		return Unused, "the profile does not ask for it"
	case given.Has(l) && !row.firm:
		return Lowered, "given up in the configuration"
	case sub && given.Has(Landlock):
		return Lowered, "landlock is given up in the configuration"
	}
	lack := lacking(row, host)
	switch {
	case lack == "":
		return Enforced, ""
	case l == CgroupSwap && host.NoSwap:
		return Covered, lack + "; this host has no swap"
	case row.cover == l || l == CgroupSwap:
		return Missing, lack
	case l == LandlockScope && !wish.Has(Network):
		// Abstract sockets belong to the network namespace.
		return Missing, lack + "; abstract Unix sockets of the host's network can be reached without it"
	}
	return Covered, lack + "; covered by " + row.cover.String()
}

// lacking says what a host lacks for a row, and how to get it.
func lacking(row row, host Host) string {
	for _, f := range row.needs {
		if why := host.Lacks[f]; why != "" {
			return fmt.Sprintf("%s (%s)", why, hints[f])
		}
	}
	if row.abi > host.Landlock {
		if host.Landlock == 0 {
			return "the kernel has no Landlock, or it is off (Linux 5.19 or later with landlock in its lsm= list)"
		}
		return fmt.Sprintf("Landlock version %d, this kernel has %d", row.abi, host.Landlock)
	}
	return ""
}

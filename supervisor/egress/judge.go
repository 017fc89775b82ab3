// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"context"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// Judge decides what may leave a box. It is the broker.
//
// All that it is asked has been checked for its form, and so that no secret is
// in a Query that its binding does not cover: the rest of what the helper says
// may be lies.
//
// Ask and Capture are called on goroutines of their own, of which there are
// bounded numbers (package packet), and return soon after their context ends. The
// others are called by who reads what the helper says: they don't wait for
// people, disks or networks. None of them calls Open or Close of a box.
type Judge interface {
	// Name says whether a name may be asked for at all, and whether it may be
	// looked up before anybody was asked (Early).
	Name(b *Box, host string) packet.Verdict
	// Ask says whether this may leave. It may take a person. The context ends
	// when who asked left, the box was shut or the helper ended. A Verdict's Values are
	// sent only as far as they are of secrets that the Query uses; its Decision is
	// given here.
	Ask(ctx context.Context, b *Box, q packet.Query) packet.Verdict
	// Capture takes a token out of the answer of a token endpoint that the box was
	// allowed to ask, and gives what the box gets in its place.
	Capture(ctx context.Context, b *Box, c packet.Captured) packet.Verdict
	// Ended tells what became of an Ask that was allowed: once for each, with
	// Traffic.Error if the helper ended, the box was shut or who asked had left before it said
	// so. The Verdict is as Ask gave it, with its Decision and without Values; the
	// Query is without Fields.
	Ended(b *Box, q packet.Query, v packet.Verdict, t packet.Traffic)
	// Refused tells what was refused without asking, at the helper or here. Of
	// floods some are told, and at the end how many were not.
	Refused(b *Box, r packet.Refusal)
}

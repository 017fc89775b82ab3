// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"context"
	"net/netip"
	"os"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// Host is what clawsupd does for boxes. Each method is a word of package
// packet, and waits for its answer or for the context. boxed.Server is one.
type Host interface {
	// Name says whether a name, or an address, may be asked for.
	Name(ctx context.Context, box int, host string) (packet.Verdict, error)
	// Ask says whether something may leave. It may wait for a person.
	Ask(ctx context.Context, box int, q packet.Query) (packet.Verdict, error)
	// Connect gives a TCP socket that is connected, in non-blocking mode.
	Connect(ctx context.Context, box, decision int, to netip.AddrPort) (*os.File, error)
	// Lookup gives a socket to one of the host's resolvers.
	Lookup(ctx context.Context, server int, tcp bool) (*os.File, error)
	// Capture hands in a token.
	Capture(ctx context.Context, box int, c packet.Captured) (packet.Verdict, error)
	// Ended tells what became of a yes, once.
	Ended(box, decision int, t packet.Traffic)
	// Refused tells of what was refused here.
	Refused(box int, r packet.Refusal)
}

// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"fmt"
	"os"

	"github.com/clawsup/clawsup/runtime/netns"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// wayOut leads a network namespace as a box's would be, and looks for what the
// other end needs: without either, profiles with network.mode = "egress" reach
// nothing.
func wayOut(config supervisor.Config) look {
	return func(context.Context) (Level, string, string) {
		if os.Geteuid() != 0 {
			return Unknown, "needs root", ""
		}
		if err := netns.Check(); err != nil {
			return Lowered, visible.Line(err.Error()),
				"the kernel needs nf_tables, nft_tproxy and nft_reject_ipv4, built in or as modules; until then use profiles with network.mode = \"none\""
		}
		bundle := config.Network.Bundle()
		info, err := os.Stat(bundle)
		if err != nil || info.Size() == 0 {
			return Lowered, fmt.Sprintf("boxes can be led out, and no server's certificate can be verified: there is nothing in %s", visible.Text(bundle)),
				"install ca-certificates, or name a file in network.roots"
		}
		return Good, fmt.Sprintf("boxes can be led to clawsup-egress; servers are verified against %s", visible.Text(bundle)), ""
	}
}

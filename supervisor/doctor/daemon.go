// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// answerLimit bounds how long the daemon may take to say how it is.
const answerLimit = 5 * time.Second

// daemon asks clawsupd how it is, where runs go through it.
func daemon(config supervisor.Config) look {
	return func(ctx context.Context) (Level, string, string) {
		if !config.Daemon {
			return Good, "not used: runs are standalone", ""
		}
		ctx, cancel := context.WithTimeout(ctx, answerLimit)
		defer cancel()
		d, err := askDaemon(ctx, config)
		switch {
		case api.CodeOf(err) == api.CodeDenied:
			return Unknown, visible.Line(err.Error()), ""
		case err != nil:
			return Broken, visible.Line(err.Error()), "systemctl status clawsupd; journalctl -u clawsupd"
		case d.Locked != "":
			return Lowered, "lockdown by " + visible.Line(d.Locked), "nothing runs before 'clawsup unlock'"
		case len(d.Notes) > 0:
			return Lowered, visible.Line(strings.Join(d.Notes, "; ")), ""
		}
		return Good, fmt.Sprintf("answers: generation %d, agents: %d, calls at work: %d, tickets: %d", d.Generation, len(d.Agents), d.Calls, d.Tickets), ""
	}
}

func askDaemon(ctx context.Context, config supervisor.Config) (d api.Daemon, err error) {
	c, err := api.Dial(ctx, filepath.Join(config.RunDir, "approval.sock"))
	if err != nil {
		return d, err
	}
	defer c.Close()
	return d, c.Call(ctx, api.Status, api.Nothing{}, &d)
}

// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/session"
)

// sessionBounds are those of sessions, by a generation.
func sessionBounds(g *Generation) session.Bounds {
	c := g.Config.Sessions
	return session.Bounds{Expiry: time.Duration(c.Expiry), Max: int64(c.Max), Count: c.Count, Reserve: int64(c.Reserve)}
}

// layered says whether the call writes in a layer.
func (c *call) layered() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shown != nil && c.shown.Overlay
}

// keepReserve stops the calls that write in sessions, and in layers, where their
// file system has too little left: what they write lies under the log of receipts
// and the tickets, a session's size is looked at only when a call has left it, and
// the bounds of all layers together may be more than the disk has.
func (b *Broker) keepReserve() {
	full := b.sessions.Room()
	if full == nil {
		return
	}
	for _, c := range b.calls.live() {
		if v := c.snapshot(); (v.Session != "" || c.layered()) && v.State == api.Running {
			logrus.WithError(full).WithField("call", c.id).Warn("a call that writes to the disk is stopped")
			c.cancel(fmt.Errorf("stopped by clawsupd: %w", full))
		}
	}
}

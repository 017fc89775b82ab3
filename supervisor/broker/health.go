// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor"
)

// Summary is the daemon's state in a line, for systemctl status.
func (b *Broker) Summary() string {
	d := b.state()
	text := fmt.Sprintf("generation %d, %d agents, %d calls at work, %d waiting, %d tickets", d.Generation, len(d.Agents), d.Calls, d.Queue, d.Tickets)
	if d.Locked != "" {
		text = "LOCKDOWN by " + d.Locked + "; " + text
	}
	if len(d.Notes) > 0 {
		text += "; " + strings.Join(d.Notes, "; ")
	}
	return text
}

// answerTime is how long a healthy daemon may take to say how it is.
const answerTime = 5 * time.Second

// Alive says whether everything that each request goes through still answers:
// the locks of queue, register, sessions and tickets. It is false where one of
// them is held for ever.
func (b *Broker) Alive() bool {
	answered := make(chan struct{})
	go func() {
		_ = b.state()
		_ = b.calls.list(func(*call) bool { return false }, 0)
		close(answered)
	}()
	select {
	case <-answered:
		return true
	case <-time.After(answerTime):
		return false
	}
}

// IsConfig says whether an error is one of the configuration or of a profile,
// which stays until somebody edits the file.
func IsConfig(err error) bool {
	var c *supervisor.ConfigError
	var p *profiles.Error
	return errors.As(err, &c) || errors.As(err, &p)
}

// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/policy"
)

// owner is who asked for a call, and who alone sees it on a call socket: an
// agent, told by the listener that accepted it, or a user of the host.
type owner struct {
	agent string // empty: nobody's agent
	uid   uint32
}

func (o owner) String() string {
	if o.agent != "" {
		return fmt.Sprintf("agent %s (uid %d)", o.agent, o.uid)
	}
	return fmt.Sprintf("uid %d", o.uid)
}

func (o owner) uidText() string { return fmt.Sprint(o.uid) }

// same tells an agent by its name, a user by the uid.
func (o owner) same(p owner) bool {
	return o.agent == p.agent && (o.agent != "" || o.uid == p.uid)
}

// call is one call, from its acceptance until it is forgotten.
type call struct {
	id      string
	owner   owner
	request api.Submit
	mark    string // of the request; see fingerprint
	gen     *Generation
	first   atomic.Uint64    // sequence number of its first receipt; 0: it has none
	pending []*audit.Pending // noted, on their way to the disk; of the goroutine that carries it out

	ctx    context.Context
	cancel context.CancelCauseFunc
	done   chan struct{} // closed at the end

	streams atomic.Pointer[streams] // nil: rebuilt from the log
	stdin   supervisor.Stdin

	plan  *supervisor.Plan // of the goroutine that carries it out; changes with an answer
	next  chan change      // what an approver put in its place
	rules []policy.Rule

	mu      sync.Mutex
	view    api.Call         // mu
	shown   *supervisor.Plan // mu; whose facts can be asked for
	over    bool             // mu; no change is taken any more
	secret  bool             // mu; its output is private
	box     *runtime.Sandbox // mu; while it runs
	changed chan struct{}    // mu; closed when view changes; nil: nobody waits for that
}

// change is a call in other words.
type change struct {
	plan    *supervisor.Plan
	rules   []policy.Rule
	ticket  string
	command string // for people; see command
}

// offer gives the call another plan, unless it is over.
func (c *call) offer(other change) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return false
	}
	c.next <- other // a ticket has one answer, and the next one comes when this was taken
	return true
}

// shut takes no more plans, and closes one that nobody took.
func (c *call) shut() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	select {
	case other := <-c.next:
		return other.plan.Close()
	default:
		return nil
	}
}

// Causes for which a call is stopped.
var (
	errCancelled  = errors.New("cancelled by who asked for it")
	errGone       = errors.New("who asked for it has gone")
	errShutdown   = errors.New("clawsupd is going down")
	errLockedDown = errors.New("lockdown")
)

// stopped is a person's act.
type stopped struct{ by, reason string }

func (s *stopped) Error() string {
	if s.reason == "" {
		return "stopped by " + s.by
	}
	return "stopped by " + s.by + ": " + s.reason
}

// mint makes an id of 80 random bits behind a prefix.
func mint(prefix string) string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // it never fails (crypto/rand)
	return prefix + strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// snapshot is the call as others may see it.
func (c *call) snapshot() api.Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.view
}

// update changes the view and wakes who follows it.
func (c *call) update(f func(*api.Call)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.view)
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// changes gives the view and a channel that is closed when it is no longer so.
func (c *call) changes() (api.Call, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return c.view, c.changed
}

// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/record"
	"github.com/clawsup/clawsup/supervisor/session"
)

// The log of receipts is the journal of calls too: a decision begins one, an
// outcome ends it. What it doesn't have, has not happened. A record beside it
// says from where on the log has to be read at the next start.

// place is that record.
type place struct {
	From uint64 `json:"from"` // sequence number of the first receipt that still matters
}

func placeFile(stateDir string) string { return filepath.Join(stateDir, "calls.json") }

// readPlace gives the record, or the log's beginning where there is none.
func readPlace(stateDir string) (place, error) {
	var at place
	err := record.Read(placeFile(stateDir), &at)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	at.From = max(at.From, 1)
	return at, err
}

// past is a call as the log knows it.
type past struct {
	call   *call
	opened audit.Receipt
}

// replay reads the log from where it matters, ends the calls that a dead
// daemon left, and makes those that ended lately known again, so that a caller
// who lost its connection finds its call, and never has it run twice.
func (b *Broker) replay(ctx context.Context, keep time.Duration) error {
	at, err := readPlace(b.supervisor.Config.StateDir)
	if err != nil {
		return err
	}
	calls := map[string]*past{}
	var order []string
	for r, err := range audit.Read(b.auditDir(), at.From) {
		if err != nil {
			return err
		}
		if r.Call == "" || r.Kind != audit.Decision && r.Kind != audit.Outcome {
			continue
		}
		p := calls[r.Call]
		if p == nil {
			p = &past{call: remembered(&r)}
			p.call.first.Store(r.Seq)
			calls[r.Call] = p
			order = append(order, r.Call)
		}
		p.call.remember(&r)
		if r.Kind == audit.Decision {
			p.opened = r
		}
	}
	for _, id := range order {
		p := calls[id]
		if p.call.view.State != api.Ended {
			if err := b.closeLeft(ctx, p); err != nil {
				return err
			}
		}
		if time.Since(p.call.view.Ended) > keep {
			continue
		}
		close(p.call.done)
		b.calls.add(p.call)
		b.calls.ended(p.call)
	}
	return b.checkpoint()
}

// checkpoint notes from where on the log matters: from the first receipt of a
// call that is still known, or else from what comes now.
func (b *Broker) checkpoint() error {
	from := b.calls.least()
	if from == 0 {
		if a := b.log.Anchor(); a != nil {
			from = a.Seq
		}
	}
	if from == b.noted {
		return nil
	}
	b.noted = from
	return record.Write(placeFile(b.supervisor.Config.StateDir), place{from})
}

// closeLeft writes the outcome of a call that a dead daemon left.
func (b *Broker) closeLeft(ctx context.Context, p *past) error {
	r := p.opened
	r.Kind, r.Decision, r.Effect, r.Rule = audit.Outcome, "", "", ""
	r.Status = runtime.SupervisorRestart.String()
	r.Seq, r.Time, r.Behind = 0, time.Time{}, 0
	if err := b.record(ctx, r); err != nil {
		return fmt.Errorf("call %s of the last run can't be closed: %w", r.Call, err)
	}
	p.call.remember(&r)
	p.call.view.Ended = time.Now().UTC()
	return nil
}

// remembered begins a call from its first receipt.
func remembered(r *audit.Receipt) *call {
	c := &call{id: r.Call, done: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.cancel(nil)
	c.view = api.Call{ID: r.Call, Requester: r.Requester, Created: r.Time, State: api.Running}
	return c
}

// remember takes what a receipt says of the call.
func (c *call) remember(r *audit.Receipt) {
	v := &c.view
	if r.Plan != "" {
		v.Plan = r.Plan
	}
	for _, f := range r.Facts {
		switch f.Name {
		case factCommand:
			v.Command = f.Value
		case factAgent:
			v.Agent, c.owner.agent = f.Value, f.Value
		case factUID:
			n, _ := strconv.ParseUint(f.Value, 10, 32)
			c.owner.uid = uint32(n)
		case factSession:
			v.Session = f.Value
		case factSessionName:
			v.SessionName = f.Value
		case factKey:
			v.Key = f.Value
		case factRequest:
			c.mark = f.Value
		case factTicket:
			v.Ticket = f.Value
		case factGrant:
			v.Grant = f.Value
		case factReason:
			v.Reason = f.Value
		case factWouldAsk:
			v.WouldAsk = true
		case factLabels:
			v.Labels.Untrusted = strings.Contains(f.Value, session.Untrusted)
			v.Labels.Private = strings.Contains(f.Value, session.Private)
		}
	}
	if r.Kind == audit.Decision {
		if r.Effect == policy.Exec.String() { // not what came of its changes
			v.Decision, v.Rule = r.Decision, r.Rule
		}
		return
	}
	result := runtime.Result{ExitCode: -1, Message: v.Reason}
	if result.Status.UnmarshalText([]byte(r.Status)) != nil {
		result.Status = runtime.SandboxError
	}
	if result.Status == runtime.Denied && v.Decision == "" {
		v.Decision = string(profiles.Deny)
	}
	if r.Exit != nil {
		result.ExitCode = *r.Exit
	}
	if u := r.Usage; u != nil {
		result.Usage = runtime.Usage{
			Wall: u.Wall, User: u.User, System: u.System, MemoryPeak: u.Memory,
			PidsPeak: u.Pids, Written: u.Written,
		}
	}
	v.State, v.Ended, v.Result = api.Ended, r.Time, &result
}

// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/audit"
)

// decide gives nil when the call may run, and else its result. The turn is
// given back while a person is asked.
func (b *Broker) decide(c *call, t *turn) *runtime.Result {
	no := func(rule, reason string) *runtime.Result {
		r := b.denied(c, rule, reason)
		return &r
	}
	fail := func(err error) *runtime.Result {
		r := supervisor.Failed(err, c.plan)
		return &r
	}
	verdict := b.book.Use(b.subject(c), c.rules)
	switch verdict.Decision {
	case profiles.Allow:
		c.update(func(v *api.Call) {
			v.Decision, v.Rule, v.Grant = string(profiles.Allow), verdict.Rule, verdict.Grant
		})
		if err := b.allowed(c, verdict.Rule); err != nil {
			return fail(err)
		}
		return nil
	case profiles.Ask:
	default:
		return no(verdict.Rule, verdict.Rule)
	}
	if b.headless(c) {
		c.update(func(v *api.Call) { v.WouldAsk = true })
		return no(verdict.Rule, "a person would have been asked, and this call asks nobody; "+verdict.Rule)
	}
	t.pause()
	denial := b.ask(c, verdict)
	if denial != nil {
		return denial
	}
	t.again()
	if err := t.wait(c.ctx); err != nil {
		r := supervisor.StoppedResult(c.plan, err)
		return &r
	}
	c.update(func(v *api.Call) { v.State = api.Planning })
	return nil
}

// headless says whether an ask is a no at once.
func (b *Broker) headless(c *call) bool {
	if c.request.Approver == supervisor.ApproverNone || c.request.Deadline != nil && *c.request.Deadline == 0 {
		return true
	}
	a := c.gen.agent(c.owner.agent)
	return a != nil && a.Approver == supervisor.ApproverNone
}

// allowed records a yes. The box of a call that can reach nothing outside may
// be made meanwhile: what such a call does is not yet an effect. Where it can
// write, the yes is on the disk first.
func (b *Broker) allowed(c *call, rule string) error {
	record := b.note
	if reachesOut(c.plan) {
		record = b.write
	}
	if err := record(c, c.decision(string(profiles.Allow), rule, "")); err != nil {
		return fmt.Errorf("the decision could not be recorded, so nothing ran: %w", err)
	}
	return nil
}

// noteFirst notes a number that no receipt of the call is before, as long as it
// has none: where the log has to be read from while the call lives.
func (b *Broker) noteFirst(c *call) {
	from := uint64(1)
	if a := b.log.Anchor(); a != nil {
		from = a.Seq
	}
	c.first.CompareAndSwap(0, from)
}

// note writes a receipt about a call without waiting for the disk: what comes
// after it in the log is not durable before it is.
func (b *Broker) note(c *call, r audit.Receipt) error {
	b.noteFirst(c)
	p, err := b.log.Begin(context.Background(), r)
	if err != nil {
		b.logFailed(err)
		return err
	}
	c.pending = append(c.pending, p)
	return nil
}

// write writes a receipt about a call and waits for it, and for those noted
// before: one sync is for all of them.
func (b *Broker) write(c *call, r audit.Receipt) error {
	b.noteFirst(c)
	for _, p := range c.pending {
		if err := p.Failed(); err != nil { // what comes after it would hang in the air
			b.logFailed(err)
			return err
		}
	}
	_, err := b.log.Append(context.Background(), r)
	if err != nil {
		b.logFailed(err)
	}
	return errors.Join(b.settle(c), err)
}

// settle waits until the disk has what was noted about a call.
func (b *Broker) settle(c *call) error {
	noted := c.pending
	c.pending = nil
	for _, p := range noted {
		if _, err := p.Wait(context.Background()); err != nil {
			b.logFailed(err)
			return err
		}
	}
	return nil
}

// reachesOut says whether a call can change something that stays.
func reachesOut(p *supervisor.Plan) bool {
	for _, bind := range p.Spec.Binds {
		if bind.Writable && !(p.Overlay && bind.Target == rootfs.WorkspaceDir) {
			return true
		}
	}
	return false
}

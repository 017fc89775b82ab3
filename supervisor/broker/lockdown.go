// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/audit"
)

// lockdownLimit bounds the end of what is frozen and killed. It takes
// milliseconds; what needs longer waits for a disk.
const lockdownLimit = 10 * time.Second

// lockdown freezes and then kills every call, kills the agents, voids grants
// and tickets, and lets nothing new begin until somebody unlocks. Nothing in
// it waits for a caller, an agent, or the log.
func (b *Broker) lockdown(ctx context.Context, who client, r *api.Request) (any, error) {
	order, err := params[api.LockdownOrder](r)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	why := who.String()
	if order.Reason != "" {
		why += ": " + cut(order.Reason, maxReason)
	}
	// First the gate, in memory, so that nothing begins meanwhile. Who was let
	// in before it is in the register then.
	b.accepting.Lock()
	b.mu.Lock()
	b.locked, b.lockedAt = why, time.Now().UTC()
	b.lockdowns++
	b.locking++
	b.mu.Unlock()
	b.accepting.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.locking--
	}()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockdownLimit)
	defer cancel()
	var report api.LockdownReport
	var mu sync.Mutex
	failed := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		report.Failed = append(report.Failed, fmt.Sprintf(format, args...))
	}
	var emptied sync.WaitGroup
	emptied.Go(func() { // what waits has nobody to wait for
		if err := b.supervisor.Boxes().Stop(); err != nil {
			failed("boxes that waited: %v", err)
		}
	})
	var frozen sync.WaitGroup
	calls := b.calls.live()
	var boxless []*call
	for _, c := range calls {
		c.mu.Lock()
		box := c.box
		c.mu.Unlock()
		if box == nil { // it gets none any more: see run
			boxless = append(boxless, c)
			continue
		}
		frozen.Go(func() { freeze(ctx, box) })
	}
	agents := b.agentList()
	for _, a := range agents {
		frozen.Go(func() {
			if err := a.Kill(ctx, "lockdown"); err != nil {
				failed("agent %s: %v", a.Name(), err)
			}
		})
	}
	voided, err := b.book.Lock(why)
	if err != nil {
		failed("tickets and grants: %v; they are void while this process lives", err)
	}
	for _, c := range boxless { // their tickets are void by now, and counted
		c.cancel(errLockedDown)
	}
	frozen.Wait()
	for _, c := range calls {
		c.cancel(errLockedDown)
	}
	for _, c := range calls {
		select {
		case <-c.done:
		case <-ctx.Done():
			failed("call %s has not ended yet", c.id)
		}
	}
	emptied.Wait()
	report.Calls, report.Agents, report.Tickets, report.Grants = len(calls), len(agents), len(voided.Tickets), len(voided.Grants)
	report.Took = time.Since(begin)
	logrus.WithFields(logrus.Fields{"by": who.String(), "calls": report.Calls, "agents": report.Agents}).Warn("LOCKDOWN")
	if err := b.record(ctx, act(who, "lockdown", audit.Fact{Name: factReason, Value: order.Reason},
		audit.Fact{Name: "calls", Value: fmt.Sprint(report.Calls)})); err != nil {
		b.logFailed(err)
		failed("its receipt: %v", err)
	}
	return report, nil
}

// freeze stops a box where it stands, so that it does nothing more while the
// others are reached. That it can't be frozen any more, as it is ending, is
// no error: it is killed next.
func freeze(ctx context.Context, box *runtime.Sandbox) { _ = box.Freeze(ctx) }

func (b *Broker) unlock(ctx context.Context, who client, r *api.Request) (any, error) {
	reason, err := params[api.Reason](r)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	locked, n, working := b.locked, b.lockdowns, b.locking > 0
	b.mu.Unlock()
	if locked == "" {
		return nil, failf(api.CodeOver, "there is no lockdown")
	}
	if working { // or it would lock again what this unlocks
		return nil, failf(api.CodeConflict, "the lockdown is still at work; unlock once it has ended")
	}
	if err := b.record(ctx, act(who, "unlock", audit.Fact{Name: factReason, Value: cut(reason.Reason, maxReason)})); err != nil {
		return nil, err
	}
	if err := b.book.Unlock(); err != nil {
		return nil, err
	}
	b.mu.Lock()
	if b.lockdowns == n { // or else another came meanwhile, which stays
		b.locked, b.lockedAt = "", time.Time{}
		b.supervisor.Boxes().Start()
	}
	b.mu.Unlock()
	return b.state(), nil
}

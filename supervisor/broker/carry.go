// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/session"
)

// carry takes a call from the queue to its end.
func (b *Broker) carry(c *call, t *turn) {
	// Here, where it was let in: a long command takes a while to clean.
	text := command(&c.request)
	c.update(func(v *api.Call) { v.Command = text })
	result := b.result(c, t)
	t.leave()
	c.streams.Load().release()
	if err := errors.Join(c.shut(), c.plan.Close()); err != nil {
		logrus.WithError(err).Warn("a sealed copy stayed behind; the next start removes it")
	}
	if cause := context.Cause(c.ctx); cause != nil && result.Status == runtime.Stopped {
		result.Message = cause.Error()
		if errors.Is(cause, errShutdown) {
			result.Status = runtime.SupervisorRestart
		}
	}
	c.cancel(nil)
	// The reply waits for the receipt. Where that can't be written the caller
	// gets no result that looks like one, and nothing new begins.
	if err := b.write(c, c.outcome(&result)); err != nil {
		result.Message = strings.TrimSpace(result.Message + "; its receipt could not be written: " + err.Error())
		result.Status, result.Step = runtime.SandboxError, runtime.StepReport
	}
	result.Message = cut(result.Message, maxMessage)
	result.Layers = b.layers.same(result.Layers)
	c.update(func(v *api.Call) {
		v.State, v.Ended, v.Result = api.Ended, time.Now().UTC(), &result
		v.Reason = cut(v.Reason, maxMessage)
		if v.Reason == "" && result.Status == runtime.Denied {
			v.Reason = result.Message
		}
	})
	c.mu.Lock()
	// Nobody needs these any more, and there may be thousands of calls that have ended.
	c.plan, c.rules, c.request = nil, nil, api.Submit{}
	c.mu.Unlock()
	close(c.done)
	b.calls.ended(c)
}

// result carries the call out.
func (b *Broker) result(c *call, t *turn) runtime.Result {
	if err := t.wait(c.ctx); err != nil {
		return supervisor.StoppedResult(c.plan, err)
	}
	c.gen = b.generation.Load() // of now, not of when it began to wait
	c.update(func(v *api.Call) { v.State = api.Planning })
	if c.request.Session != "" {
		s, err := b.sessions.Use(c.ctx, session.Owner{Agent: c.owner.agent, UID: c.owner.uid}, c.request.Session)
		if err != nil {
			return b.refused(c, err)
		}
		defer b.sessions.Leave(s.ID)
		c.update(func(v *api.Call) { v.Session = s.ID })
		if c.owner.agent != "" {
			if err := b.sessions.Mark(s.ID, "", session.Untrusted, c.id, "agent "+c.owner.agent+" asks in it"); err != nil {
				return supervisor.Failed(err, nil)
			}
		}
	}
	p, rules, err := b.resolve(c.ctx, c, &c.request)
	if err != nil {
		return b.refused(c, err)
	}
	c.planned(p, rules)
	if denial := b.decide(c, t); denial != nil {
		return *denial
	}
	return b.run(c, t)
}

// refused is the result of a call that could not be resolved: a denial where
// the configuration says no, and else an error.
func (b *Broker) refused(c *call, err error) runtime.Result {
	if c.ctx.Err() != nil {
		return supervisor.StoppedResult(c.plan, context.Cause(c.ctx))
	}
	var no *refusal
	var full *session.Error
	if errors.As(err, &no) || errors.As(err, &full) {
		return b.denied(c, "configuration", err.Error())
	}
	return supervisor.Failed(err, nil)
}

// denied records a no and gives its result.
func (b *Broker) denied(c *call, rule, reason string) runtime.Result {
	c.update(func(v *api.Call) { v.Decision, v.Rule, v.Reason = string(profiles.Deny), rule, reason })
	_ = b.note(c, c.decision(string(profiles.Deny), rule, reason)) // a no stays one
	return supervisor.DeniedResult(c.plan, reason)
}

// run gives the call its box.
func (b *Broker) run(c *call, t *turn) runtime.Result {
	if c.snapshot().Session != "" || c.plan.Overlay { // people may have thought for long
		if err := b.sessions.Room(); err != nil {
			return supervisor.StoppedResult(c.plan, err)
		}
	}
	// Before a byte of it can be seen: what it reads of private things makes
	// whoever gets the output private.
	if why := c.private(); why != "" {
		c.mu.Lock()
		c.secret = true
		c.mu.Unlock()
		if err := b.markPrivate(c, why); err != nil {
			return supervisor.Failed(err, c.plan)
		}
	}
	v := c.snapshot()
	running := supervisor.Running{
		Streams: c.streams.Load().stdio, Started: func(box *runtime.Sandbox) { b.began(c, box) },
		Call: c.id, Requester: v.Requester, Command: v.Command,
	}
	if c.plan.Reaches {
		r, err := b.reachOf(c)
		if err != nil {
			return supervisor.Failed(err, c.plan)
		}
		defer r.leave()
		running.Way = callWay{r}
	}
	ran, err := b.supervisor.Run(c.ctx, c.plan, running)
	c.mu.Lock()
	c.box = nil
	c.mu.Unlock()
	if err != nil {
		logrus.WithError(err).WithField("call", c.id).Warn("something of the box stayed behind; the next start removes it")
	}
	if ran.Changes != nil {
		b.settleChanges(c, t, ran.Changes, &ran.Result)
	}
	return ran.Result
}

// began is called when the box is there.
func (b *Broker) began(c *call, box *runtime.Sandbox) {
	c.mu.Lock()
	c.box = box
	c.mu.Unlock()
	// A lockdown finds the box now, or this finds the lockdown.
	if b.lockedDown() {
		c.cancel(errLockedDown)
	}
	c.update(func(v *api.Call) { v.State, v.Started = api.Running, time.Now().UTC() })
}

// lockedDown says whether there is a lockdown.
func (b *Broker) lockedDown() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.locked != ""
}

// markPrivate labels everybody who gets a call's output, durably.
func (b *Broker) markPrivate(c *call, why string) error {
	v := c.snapshot()
	return b.sessions.Mark(v.Session, v.Agent, session.Private, c.id, why)
}

// private says what makes a call's output private; empty: nothing does.
func (c *call) private() string {
	if c.snapshot().Labels.Private { // in a session, or for an agent, that is
		return "it was asked for with the label"
	}
	if w := c.request.Workspace; w != "" {
		if t, err := c.gen.workspace(c.owner.agent, string(w)); err != nil || t.private {
			return "it saw workspace " + string(w)
		}
	}
	if len(c.plan.Spec.Read) > 0 {
		return "its profile " + c.plan.Profile.Profile.Name + " shows files of the host"
	}
	return ""
}

// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// ask puts the call to people. It gives nil when the answer is yes.
func (b *Broker) ask(c *call, verdict policy.Verdict) *runtime.Result {
	no := func(rule, reason string) *runtime.Result {
		r := b.denied(c, rule, reason)
		return &r
	}
	wait := time.Duration(c.gen.Config.Calls.Deadline)
	if d := c.request.Deadline; d != nil {
		wait = time.Duration(*d)
	}
	ctx, cancel := context.WithTimeout(c.ctx, wait)
	defer cancel()
	q := b.question(c, c.plan, verdict, c.request.Claim)
	if n := readable(q.Facts); n > maxQuestion {
		return no(verdict.Rule, fmt.Sprintf("the question would have %d bytes, more than the %d that people can be asked to read: pass long input through stdin or a file", n, maxQuestion))
	}
	q.Within = wait
	ticket, err := b.book.Ask(ctx, q)
	if err != nil {
		return no(verdict.Rule, err.Error())
	}
	for {
		c.update(func(v *api.Call) {
			v.State, v.Ticket, v.Decision, v.Rule = api.Asking, ticket, string(profiles.Ask), verdict.Rule
		})
		if err := b.note(c, c.decision(string(profiles.Ask), verdict.Rule, "")); err != nil {
			cancel() // the call leaves the ticket
			_, _ = b.book.Await(ctx, ticket, c.id)
			return no(verdict.Rule, "the question could not be recorded: "+err.Error())
		}
		// The disk works while people read. What it can't keep they are not to answer.
		recorded := make(chan error, 1)
		go func() {
			err := b.settle(c)
			if err != nil {
				cancel()
			}
			recorded <- err
		}()
		answer, err := b.book.Await(ctx, ticket, c.id)
		unrecorded := <-recorded
		switch {
		case unrecorded != nil:
			return no(verdict.Rule, "the question could not be recorded: "+unrecorded.Error())
		case err != nil:
			return no(verdict.Rule, err.Error())
		case c.ctx.Err() != nil:
			r := supervisor.StoppedResult(c.plan, context.Cause(c.ctx))
			return &r
		case answer.State == approval.Allowed:
			rule := "ticket " + ticket + ": " + given(answer.Answers)
			c.update(func(v *api.Call) { v.Decision, v.Grant, v.Rule = string(profiles.Allow), answer.Grant, rule })
			if err := b.allowed(c, rule); err != nil {
				r := supervisor.Failed(err, c.plan)
				return &r
			}
			return nil
		case answer.State == approval.Changed && answer.Next != "":
			// Who changed it planned it anew, and asked, before this was told.
			other := <-c.next
			if err := c.plan.Close(); err != nil {
				logrus.WithError(err).Warn("a sealed copy stayed behind; the next start removes it")
			}
			c.planned(other.plan, other.rules)
			c.update(func(v *api.Call) { v.Command = other.command })
			ticket = other.ticket
		default:
			return no("ticket "+ticket+": "+string(answer.State), cmp.Or(answer.Reason, "ticket "+ticket+" is "+string(answer.State)+", and no reason was given"))
		}
	}
}

// maxQuestion bounds, in bytes, what a person has to read to say yes.
const maxQuestion = 64 << 10

// readable is how much that is.
func readable(facts []approval.Fact) (n int) {
	for _, f := range facts {
		n += len(f.Name) + len(f.Value) + len(f.Digest)
	}
	return n
}

// given says who said yes.
func given(answers []approval.Given) string {
	var names []string
	for _, a := range answers {
		if a.Verdict == approval.Allow || a.Verdict == approval.Grant {
			names = append(names, a.By)
		}
	}
	return "allowed by " + strings.Join(names, ", ")
}

// question is what people are asked about a plan.
func (b *Broker) question(c *call, p *supervisor.Plan, verdict policy.Verdict, claim string) approval.Question {
	v := c.snapshot()
	q := approval.Question{
		Call: c.id, Effect: policy.Exec, Plan: p.Digest, Labels: v.Labels, Rule: verdict.Rule,
		Claim: claim, Requester: c.owner.String(), RequesterUID: c.owner.uid,
		Agent: v.Agent, Session: v.Session, SessionName: v.SessionName,
		Profile: p.Profile.Profile.Name, ProfileDigest: p.Profile.Digest, Script: p.Script,
		Quorum: verdict.Quorum,
	}
	if p.Skill != nil {
		q.Skill, q.SkillDigest = p.Skill.Name, p.Skill.Digest
	}
	if p.Workspace != nil {
		q.Workspace = raw.String(p.Workspace.Path)
	}
	q.Facts = factsOf(p)
	return q
}

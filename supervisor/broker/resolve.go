// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/skills"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// planned takes a plan, the first or one in its place.
func (c *call) planned(p *supervisor.Plan, rules []policy.Rule) {
	c.plan, c.rules = p, rules
	c.mu.Lock()
	c.shown = p
	c.mu.Unlock()
	c.update(func(v *api.Call) {
		v.Plan, v.Profile, v.ProfileDigest = p.Digest, p.Profile.Profile.Name, p.Profile.Digest
		if p.Skill != nil {
			v.SkillDigest = p.Skill.Digest
		}
	})
}

// facts are those of the plan, for who asks about the call.
func (c *call) facts() []approval.Fact {
	c.mu.Lock()
	p := c.shown
	c.mu.Unlock()
	if p == nil {
		return nil
	}
	facts := factsOf(p)
	if readable(facts) > maxQuestion { // nobody reads it whole, and no frame holds it
		for i := range facts {
			facts[i].Value = cut(facts[i].Value, 1<<10)
		}
	}
	return facts
}

// factsOf gives a plan's facts for tickets.
func factsOf(p *supervisor.Plan) []approval.Fact {
	all := p.Facts()
	list := make([]approval.Fact, len(all))
	for i, f := range all {
		list[i] = approval.Fact{Name: f.Name, Value: f.Value, Digest: f.Digest}
	}
	return list
}

// resolve makes the plan of a request, and the rules that are about it.
func (b *Broker) resolve(ctx context.Context, c *call, s *api.Submit) (*supervisor.Plan, []policy.Rule, error) {
	profile, err := c.gen.profile(c.owner.agent, s.Profile)
	if err != nil {
		return nil, nil, err
	}
	r := supervisor.Request{
		Skill: s.Skill, Args: raw.Strings(s.Args), Profile: s.Profile, Timeout: time.Duration(s.Timeout),
		Env: raw.Strings(s.Env), Stdin: c.stdin, Requester: int(c.owner.uid), Agent: c.owner.agent,
		Keep: s.Keep, DryRun: s.DryRun,
	}
	if s.Workspace != "" {
		w, err := c.gen.workspace(c.owner.agent, string(s.Workspace))
		if err != nil {
			return nil, nil, err
		}
		r.Workspace = w.path
	}
	if id := c.snapshot().Session; id != "" {
		r.Session, r.Called = id, s.Session
		r.Trees = &supervisor.Trees{
			Workspace: b.sessions.Workspace(id), Tmp: b.sessions.Tmp(id),
			Owner: rootfs.Owner{UID: b.sessionUID(), GID: b.sessionUID()},
		}
	}
	p, err := b.supervisor.PlanUnder(ctx, r, profile)
	if err != nil {
		return nil, nil, err
	}
	if p.Skill != nil {
		b.renewed(p.Skill, profile.Profile.Name)
	}
	return p, c.gen.policyFor(p), nil
}

// renewed voids the grants for a skill whose folder has other bytes now. They
// match nothing any more; this is so that nobody takes them for good.
func (b *Broker) renewed(k *skills.Skill, profile string) {
	b.mu.Lock()
	before := b.skills[k.Source]
	b.skills[k.Source] = k.Digest
	b.mu.Unlock()
	if before == "" || before == k.Digest {
		return
	}
	b.drain("a skill has changed", ofProfile(profile)) // those with the former bytes fit no call any more
	if _, err := b.book.VoidSkill(before); err != nil {
		logrus.WithError(err).WithField("skill", k.Name).Warn("grants for its former bytes could not be marked as void; they match nothing")
	}
}

// labelsOf gives the labels of what an agent asks for in a session; either may
// be empty. An agent reads hostile text all day: what it asks for is untrusted.
func (b *Broker) labelsOf(agent, id string) policy.Labels {
	labels, _, _ := b.sessions.Labels(id, agent)
	labels.Untrusted = labels.Untrusted || agent != ""
	return labels
}

// subject is the question that policy gets about a call.
func (b *Broker) subject(c *call) policy.Subject {
	v := c.snapshot()
	labels := b.labelsOf(v.Agent, v.Session)
	s := c.plan.Subject()
	s.Effect, s.Session, s.Agent, s.Labels = policy.Exec, v.Session, v.Agent, labels
	c.update(func(v *api.Call) { v.Labels = labels })
	return s
}

// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/changes"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// Fate is what is to become of a change set.
type Fate int

// The fates.
const (
	Left      Fate = iota // more calls may write to it
	Unwanted              // it is discarded
	Undecided             // it is held
	Wanted                // it is committed
	Asked                 // people are asked
)

// Settlement is what policy makes of a change set, and why. Who carries it out
// records it first, and has people to ask or has not.
type Settlement struct {
	Fate      Fate
	By        string            // of Unwanted and Wanted: the rule
	Why       string            // of Unwanted and Undecided
	Judgement changes.Judgement // where policy was asked
}

// Settle says what is to become of what a call did to its workspace. subject
// and rules are what policy has to know, see Plan.Subject.
func (s *Supervisor) Settle(ctx context.Context, p *Plan, r *runtime.Result, c *changes.Change, subject policy.Subject, rules []policy.Rule) Settlement {
	switch {
	case c.State == changes.Writing: // the session's next call goes on with it
		return Settlement{Fate: Left}
	case p.Request.DryRun:
		return Settlement{Fate: Unwanted, By: "a dry run", Why: "it was to be shown and no more"}
	}
	store, err := s.Changes(ctx)
	var j changes.Judgement
	if err == nil {
		j, err = store.Judge(ctx, c.ID, changes.Question{Rules: rules, Subject: subject, Many: int(p.Profile.Profile.Effects.FSMany)})
	}
	switch {
	case err != nil:
		return Settlement{Fate: Undecided, Why: "it could not be judged: " + err.Error()}
	case r.Status != runtime.Exited && j.Decision != profiles.Deny:
		// What is half done nobody wants unasked; what is denied nobody can want.
		return Settlement{Fate: Undecided, Why: "the call did not end by itself: " + r.Status.String(), Judgement: j}
	case j.Decision == profiles.Allow:
		return Settlement{Fate: Wanted, By: j.Rule, Judgement: j}
	case j.Decision == profiles.Ask:
		return Settlement{Fate: Asked, Judgement: j}
	}
	return Settlement{Fate: Unwanted, By: j.Rule, Why: j.Rule, Judgement: j}
}

// Subject is the question that policy gets about the plan, but for the effect
// and who wants it.
func (p *Plan) Subject() policy.Subject {
	s := policy.Subject{Plan: p.Digest, Script: p.Script, Profile: p.Profile.Digest}
	if p.Skill != nil {
		s.Skill = p.Skill.Digest
	}
	if p.Workspace != nil {
		s.Workspace = raw.String(p.Workspace.Path)
	}
	return s
}

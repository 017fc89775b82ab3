// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Ticket is one question put to people.
type Ticket struct {
	ID       string           `json:"id"`       // letters and digits, short enough to type
	Revision int              `json:"revision"` // grows with every change; an answer names the one it was given to
	State    State            `json:"state"`
	Count    int              `json:"count"` // calls that it stands for, the folded ones included
	Calls    []string         `json:"calls"` // their ids
	Effect   policy.Effect    `json:"effect"`
	Target   string           `json:"target,omitempty"`
	Targets  []string         `json:"targets,omitempty"` // what a grant may be for, the narrowest, which is Target, first; see policy.Widen
	Through  profiles.Through `json:"through,omitempty"` // of net.connect
	Secrets  string           `json:"secrets,omitempty"` // of net.request; see policy.Subject
	Plan     string           `json:"plan"`              // digest
	Facts    []Fact           `json:"facts"`
	Claim    string           `json:"claim,omitempty"` // what the requester says it is for: the requester's words
	Labels   policy.Labels    `json:"labels"`
	Rule     string           `json:"rule"` // why a person is asked

	Requester     string     `json:"requester"`
	Agent         string     `json:"agent,omitempty"`
	Session       string     `json:"session,omitempty"`      // id
	SessionName   string     `json:"session_name,omitempty"` // the caller's name for it
	Profile       string     `json:"profile"`                // name
	ProfileDigest string     `json:"profile_digest"`
	Workspace     raw.String `json:"workspace,omitempty"` // path; empty: the session's own, or none
	Skill         string     `json:"skill,omitempty"`     // name
	SkillDigest   string     `json:"skill_digest,omitempty"`
	Script        string     `json:"script,omitempty"`
	Changes       string     `json:"changes,omitempty"` // id of the change set that it is about; empty: about a call that has not run

	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"` // at this moment it is over
	Quorum  int       `json:"quorum"`  // people that a yes takes, at least 1
	Answers []Given   `json:"answers,omitempty"`
	Parent  string    `json:"parent,omitempty"` // the ticket whose answer was to change the call into this
	Reason  string    `json:"reason,omitempty"` // of a no
}

// Scope gives what a grant that comes of the ticket is for: its skill's script,
// with any arguments, under its profile and on its workspace; for a
// destination, of a command that is no skill's, any such command there; or
// else, and where exact is wished for, its whole plan. target is one of
// Targets; empty is the first. It is for the session, or for the agent where wide is
// wished for. The error is, or wraps, ErrInvalid: there is no such grant.
func (t *Ticket) Scope(wide, exact bool, target string) (policy.Scope, error) {
	if t.Changes != "" {
		return policy.Scope{}, fmt.Errorf("%w: a change set is what a call did, and nobody knows what the next will do: allow it, or say in a profile what is allowed", ErrInvalid)
	}
	target = cmp.Or(target, t.Target)
	if target != t.Target && !slices.Contains(t.Targets, target) {
		return policy.Scope{}, fmt.Errorf("%w: a grant of this ticket can't be for %s; it can be for %s", ErrInvalid, visible.Quote(target), spelled(t.targets()))
	}
	s := policy.Scope{
		Effect: t.Effect, Target: target, Through: t.Through, Secrets: t.Secrets,
		Profile: t.ProfileDigest, ProfileName: t.Profile, Workspace: t.Workspace,
	}
	destination := t.Effect == policy.NetConnect || t.Effect == policy.NetRequest
	switch {
	case exact:
		s.Plan = t.Plan
	case t.SkillDigest != "" && t.Script != "":
		s.Skill, s.SkillName, s.Script = t.SkillDigest, t.Skill, t.Script
	case t.SkillDigest == "" && destination:
		s.Raw = true
	default:
		s.Plan = t.Plan
	}
	if wide {
		s.Agent = t.Agent
	} else {
		s.Session = t.Session
	}
	if err := s.Check(); err != nil {
		if wide && t.Agent == "" {
			return s, fmt.Errorf("%w: the call is no agent's, so that nothing can be granted to its agent", ErrInvalid)
		}
		if !wide && t.Session == "" && t.Agent != "" {
			return s, fmt.Errorf("%w: the call has no session: grant it to its agent, or allow it once", ErrInvalid)
		}
		return s, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return s, nil
}

// targets are those that a grant may be for; of a ticket that was kept by an
// older version, its own alone.
func (t *Ticket) targets() []string {
	if t.Targets == nil && t.Target != "" {
		return []string{t.Target}
	}
	return t.Targets
}

// spelled writes a list for people.
func spelled(list []string) string {
	if len(list) == 0 {
		return "no target"
	}
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = visible.Quote(s)
	}
	return strings.Join(quoted, ", ")
}

// Fact is one thing that the plan is, with everything that others chose made visible.
type Fact struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Digest string `json:"digest,omitempty"`
}

// State is what became of a ticket.
type State string

// The states. Only Pending can change.
const (
	Pending   State = "pending"
	Allowed   State = "allowed"
	Denied    State = "denied"
	Changed   State = "changed"   // another ticket, whose Parent it is, took its place
	Expired   State = "expired"   // nobody answered in time
	Cancelled State = "cancelled" // the requester gave up
	Void      State = "void"      // lockdown, restart, reload or a removed approver
)

// Verdict is what a person says.
type Verdict string

// The verdicts.
const (
	Allow  Verdict = "allow"  // this once
	Grant  Verdict = "grant"  // this and what the scope says
	Deny   Verdict = "deny"   // with a reason, which the requester gets
	Change Verdict = "change" // not this; with other words it may be asked again at once
)

// Answer is what a person says to one ticket.
type Answer struct {
	Ticket    string        `json:"ticket"`
	Revision  int           `json:"revision"` // of the ticket that the person saw
	Verdict   Verdict       `json:"verdict"`
	Reason    string        `json:"reason,omitempty"`
	For       time.Duration `json:"for,omitempty"`       // of a grant
	Uses      int           `json:"uses,omitempty"`      // of a grant; 0: not counted
	Wide      bool          `json:"wide,omitempty"`      // of a grant: for the agent, not the session alone
	Exact     bool          `json:"exact,omitempty"`     // of a grant: this plan alone, though it is a skill's or a destination
	Target    string        `json:"target,omitempty"`    // of a grant: one of the ticket's targets; empty: the first
	Args      []raw.String  `json:"args,omitempty"`      // of a change: the new command or arguments
	Workspace *raw.String   `json:"workspace,omitempty"` // of a change: the new workspace
	Refuse    []raw.String  `json:"refuse,omitempty"`    // of a yes to a change set: paths that stay as they are, with what is beneath them
}

// Given is an answer with who gave it.
type Given struct {
	By      string       `json:"by"` // "uid 1000 (alice)"
	UID     uint32       `json:"uid"`
	Via     string       `json:"via"` // "approval.sock", or a helper's name
	Verdict Verdict      `json:"verdict"`
	Reason  string       `json:"reason,omitempty"`
	At      time.Time    `json:"at"`
	Grant   string       `json:"grant,omitempty"`  // id of the grant that it made
	Refuse  []raw.String `json:"refuse,omitempty"` // see Answer
}

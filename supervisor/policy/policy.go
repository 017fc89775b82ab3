// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// Effect is one thing a call does to the world. The set is closed.
type Effect int

// The effects.
const (
	Exec Effect = iota
	FSCreate
	FSModify
	FSDelete
	NetConnect
	NetRequest
	SecretUse
)

var effectNames = []string{"exec", "fs.create", "fs.modify", "fs.delete", "net.connect", "net.request", "secret.use"}

// Effects gives all of them in their order.
func Effects() []Effect {
	return []Effect{Exec, FSCreate, FSModify, FSDelete, NetConnect, NetRequest, SecretUse}
}

// String gives the effect's name.
func (e Effect) String() string {
	if !e.known() {
		return fmt.Sprintf("effect %d", int(e))
	}
	return effectNames[e]
}

func (e Effect) known() bool { return e >= 0 && int(e) < len(effectNames) }
func (e Effect) file() bool  { return e >= FSCreate && e <= FSDelete }
func (e Effect) net() bool   { return e == NetConnect || e == NetRequest }

// External says whether something leaves the machine: a packet, or the use of a secret.
func (e Effect) External() bool { return e >= NetConnect }

// MarshalText gives the effect's name.
func (e Effect) MarshalText() ([]byte, error) {
	if !e.known() {
		return nil, fmt.Errorf("%s is none that there is", e)
	}
	return []byte(e.String()), nil
}

// UnmarshalText takes an effect's name.
func (e *Effect) UnmarshalText(b []byte) error {
	for i, name := range effectNames {
		if name == string(b) {
			*e = Effect(i)
			return nil
		}
	}
	return fmt.Errorf("unknown effect %q", b)
}

// Labels say what a session, or an agent, has seen.
type Labels struct {
	Untrusted bool `json:"untrusted"` // foreign input
	Private   bool `json:"private"`   // something private
}

// Or gives what either has seen.
func (l Labels) Or(m Labels) Labels {
	return Labels{l.Untrusted || m.Untrusted, l.Private || m.Private}
}

// Subject is what a question is about: who wants which effect on what.
type Subject struct {
	Effect    Effect
	Target    string     // of fs: a path below the workspace; of net: see Endpoint and Request; of secret: its name; of exec: empty. See Check
	Plan      string     // digest
	Skill     string     // digest; empty: a raw command
	Script    string     // of the skill
	Profile   string     // digest
	Workspace raw.String // path of the tree that it works on; empty: the session's own, or none
	Session   string     // id; empty: none
	Agent     string     // name; empty: not an agent's
	Labels    Labels

	Through profiles.Through // of net.connect: ThroughTLS or ThroughTCP, which it is when empty
	Fields  []Field          // of net.request: what query and body have of the fields that rules look at
	Unread  bool             // of net.request: the body could not be looked at for fields
	Secrets string           // of net.request: names of those that it uses, see Names
}

// Field is a value of a field that a rule looks at. A name may come several times.
type Field struct {
	Name  string
	Value string
}

// Rule is one line of a profile's policy.
type Rule struct {
	Effect   Effect
	Target   string                // pattern, see Match; empty: every target, or those of Network
	Network  *profiles.NetworkRule // of net: the targets that it is about; its own decision isn't looked at
	Level    int                   // rules of one level compete, and the strictest of the levels counts
	Decision profiles.Decision
	Quorum   int    // how many people a yes takes; 0 is 1
	Name     string // for people: "profile python: effects.exec"
	Origin   string // "FILE:LINE" or "built in: NAME"
}

// Scope is what a grant is for. It names either a skill by digest and script, under
// one profile and on one workspace, or one whole plan; never a program alone, with
// which anything could be run. A raw scope, of destinations alone, names profile and
// workspace: any command there that is no skill's may reach its target.
type Scope struct {
	Plan        string           `json:"plan,omitempty"`       // digest; it covers profile and workspace
	Skill       string           `json:"skill,omitempty"`      // digest
	SkillName   string           `json:"skill_name,omitempty"` // for people; the digest counts
	Script      string           `json:"script,omitempty"`     // of the skill
	Profile     string           `json:"profile"`              // digest
	ProfileName string           `json:"profile_name"`         // for people; the digest counts
	Workspace   raw.String       `json:"workspace,omitempty"`  // path; empty: the session's own, or none
	Effect      Effect           `json:"effect"`
	Target      string           `json:"target,omitempty"`  // pattern, see Match
	Raw         bool             `json:"raw,omitempty"`     // any command of no skill
	Through     profiles.Through `json:"through,omitempty"` // of net.connect, as in Subject
	Secrets     string           `json:"secrets,omitempty"` // of net.request, as in Subject: it is for requests that use no others
	Session     string           `json:"session,omitempty"` // id; one of session and agent is set
	Agent       string           `json:"agent,omitempty"`
}

// Grant is a person's yes that outlives one ticket.
type Grant struct {
	ID       string    `json:"id"`
	Scope    Scope     `json:"scope"`
	Expires  time.Time `json:"expires"` // at this moment it is over
	Uses     int       `json:"uses"`    // left; negative: not counted
	Ticket   string    `json:"ticket"`  // whose answer it was
	By       []string  `json:"by"`      // approvers, as "uid 1000 (alice)"
	ByUID    []uint32  `json:"by_uid"`
	Created  time.Time `json:"created"`
	Revoked  string    `json:"revoked,omitempty"` // why it is void; empty: it is not
	LastUsed time.Time `json:"last_used,omitzero"`
}

// Verdict is what policy says.
type Verdict struct {
	Decision profiles.Decision
	Rule     string // for people: the rule that made it, with its origin
	Quorum   int    // of an ask: how many people, at least 1
	Grant    string // id of the grant that made an ask an allow
}

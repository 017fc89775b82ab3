// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"time"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/changes"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// The methods. Rights has who may use them, and on which socket.
const (
	CallSubmit  = "call.submit"  // Submit → Call
	CallWait    = "call.wait"    // CallRef → Call, when it has ended
	CallFollow  = "call.follow"  // Follow → Call, when it has ended; before that Output and CallChanged notifications
	CallCancel  = "call.cancel"  // CallRef → Call
	CallList    = "call.list"    // CallFilter → []Call, newest first
	CallShow    = "call.show"    // CallRef → Call
	CallExplain = "call.explain" // CallRef → Explanation
	CallWatch   = "call.watch"   // CallRef → Call, when it has ended; before that Output notifications
	CallStop    = "call.stop"    // Stop → Stopped

	TicketList   = "ticket.list"   // TicketFilter → []approval.Ticket, oldest first
	TicketShow   = "ticket.show"   // TicketRef → approval.Ticket
	TicketAnswer = "ticket.answer" // approval.Answer → Answered
	TicketWatch  = "ticket.watch"  // Nothing → never; TicketChanged notifications, at first one for each pending ticket, then Ready

	GrantList   = "grant.list"   // Nothing → []policy.Grant
	GrantRevoke = "grant.revoke" // GrantRef → policy.Grant

	SessionList   = "session.list"   // Nothing → []Session
	SessionShow   = "session.show"   // SessionRef → Session
	SessionRemove = "session.remove" // SessionRef → Session
	SessionClear  = "session.clear"  // Clear → Session
	AgentClear    = "agent.clear"    // Clear → Agent

	AgentStatus  = "agent.status"  // AgentRef → []Agent; an empty name means all
	AgentStart   = "agent.start"   // AgentRef → Agent
	AgentStop    = "agent.stop"    // AgentRef → Agent, when it is gone
	AgentRestart = "agent.restart" // AgentRef → Agent
	AgentFreeze  = "agent.freeze"  // AgentRef → Agent
	AgentThaw    = "agent.thaw"    // AgentRef → Agent
	AgentLogs    = "agent.logs"    // Logs → Log
	AgentRestore = "agent.restore" // Restore → Agent; it is stopped before and not started after

	Status   = "status"   // Nothing → Daemon
	Reload   = "reload"   // Nothing → Daemon; or an error, and what was in force stays
	Lockdown = "lockdown" // LockdownOrder → LockdownReport
	Unlock   = "unlock"   // Reason → Daemon
	WhoAmI   = "whoami"   // Nothing → Identity
)

// Notifications, from the daemon to a client.
const (
	Output        = "output"         // OutputPart
	CallChanged   = "call.changed"   // Call, whenever its state changes
	TicketChanged = "ticket.changed" // approval.Ticket
	Ready         = "ready"          // Nothing: the present was told, what follows is new
)

// Nothing is the parameters of a method that has none.
type Nothing struct{}

// Duration is a span of time, in JSON a string as "90s" or "1h30m".
type Duration time.Duration

// MarshalText writes it as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration does, and nothing negative.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err == nil && v < 0 {
		err = errors.New("a duration can't be negative")
	}
	*d = Duration(v)
	return err
}

// Submit asks for a call. With three descriptors in the frame (stdin, stdout,
// stderr) these are its streams; without, Stdin is its input and what it
// writes can be followed.
type Submit struct {
	Skill     string       `json:"skill,omitempty"` // name; a path from root alone
	Args      []raw.String `json:"args,omitempty"`
	Profile   string       `json:"profile,omitempty"`
	Workspace raw.String   `json:"workspace,omitempty"` // name of a configured one; a path from root alone
	Session   string       `json:"session,omitempty"`   // the caller's name for it
	Timeout   Duration     `json:"timeout,omitzero"`
	Env       []raw.String `json:"env,omitempty"`        // NAME=value; the profile says which pass
	Stdin     []byte       `json:"stdin,omitempty"`      // base64
	StdinPath raw.String   `json:"stdin_path,omitempty"` // what the caller calls its stdin, for the facts
	Key       string       `json:"key,omitempty"`        // the same key finds the same call again
	Deadline  *Duration    `json:"deadline,omitempty"`   // how long people may take; 0: nobody is asked and an ask is a no
	Keep      bool         `json:"keep,omitempty"`       // of an overlay workspace: the session's calls write into one change set
	DryRun    bool         `json:"dry_run,omitempty"`    // of an overlay workspace: what the call did is listed and thrown away
	Approver  string       `json:"approver,omitempty"`   // "none": as a deadline of 0
	Claim     string       `json:"claim,omitempty"`      // why, in the requester's words
	Wait      bool         `json:"wait,omitempty"`       // answer when it has ended, not when it is accepted
	Progress  bool         `json:"progress,omitempty"`   // with wait: CallChanged notifications before the answer, when it is accepted and when people are asked
}

// CallRef names a call.
type CallRef struct {
	Call string `json:"call"`
}

// Follow names a call and from where on its output is wanted, in bytes.
type Follow struct {
	Call   string `json:"call"`
	Stdout int64  `json:"stdout,omitempty"`
	Stderr int64  `json:"stderr,omitempty"`
}

// CallFilter says which calls.
type CallFilter struct {
	Live    bool   `json:"live,omitempty"` // only those that have not ended
	Session string `json:"session,omitempty"`
	Limit   int    `json:"limit,omitempty"` // 0: 100
}

// Stop names a call, or all.
type Stop struct {
	Call   string `json:"call,omitempty"`
	All    bool   `json:"all,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Stopped lists the calls that were stopped.
type Stopped struct {
	Calls []string `json:"calls"`
}

// CallState is where a call is.
type CallState string

// The states, in their order.
const (
	Queued   CallState = "queued"   // waits for its turn
	Planning CallState = "planning" // is being resolved
	Asking   CallState = "asking"   // waits for a person
	Running  CallState = "running"
	Ended    CallState = "ended"
)

// Call is what may be told of a call.
type Call struct {
	ID            string          `json:"id"`
	State         CallState       `json:"state"`
	Requester     string          `json:"requester"` // "agent NAME (uid N)" or "uid N"
	Agent         string          `json:"agent,omitempty"`
	Session       string          `json:"session,omitempty"` // id
	SessionName   string          `json:"session_name,omitempty"`
	Command       string          `json:"command"` // quoted, made visible
	Skill         string          `json:"skill,omitempty"`
	SkillDigest   string          `json:"skill_digest,omitempty"`
	Profile       string          `json:"profile,omitempty"`
	ProfileDigest string          `json:"profile_digest,omitempty"`
	Plan          string          `json:"plan,omitempty"` // digest
	Key           string          `json:"key,omitempty"`
	Labels        policy.Labels   `json:"labels"`
	Decision      string          `json:"decision,omitempty"` // allow, ask or deny
	Rule          string          `json:"rule,omitempty"`
	WouldAsk      bool            `json:"would_ask,omitempty"` // nobody was asked because the call is headless
	Ticket        string          `json:"ticket,omitempty"`
	Grant         string          `json:"grant,omitempty"`
	Created       time.Time       `json:"created"`
	Started       time.Time       `json:"started,omitzero"` // of the tool
	Ended         time.Time       `json:"ended,omitzero"`
	Result        *runtime.Result `json:"result,omitempty"`  // once it has ended
	Reason        string          `json:"reason,omitempty"`  // of a no: what a person wrote, or the rule in a sentence
	Changes       *changes.Change `json:"changes,omitempty"` // what it did to its workspace, and what became of that
	Held          []string        `json:"held,omitempty"`    // tickets that people are asked by while it runs, about what it wants to send out
	Reached       *Reached        `json:"reached,omitempty"` // what it sent out, or wanted to; nil: it couldn't, or didn't
	Known         bool            `json:"known,omitempty"`   // of a submit: the key was known, nothing new began
}

// Reached is what a call reached beyond its box.
type Reached struct {
	Requests int64    `json:"requests"` // that were let out, connections that nobody looked into included
	Sent     int64    `json:"sent_bytes"`
	Received int64    `json:"received_bytes"`
	Denied   []Denial `json:"denied,omitempty"` // at most MaxDenials
	More     int64    `json:"more,omitempty"`   // denials that found no place in the list
}

// MaxDenials bounds Reached.Denied.
const MaxDenials = 100

// Denial is something that was not let out.
type Denial struct {
	Effect string    `json:"effect,omitempty"` // empty: clawsup-egress refused it before there was a question
	Target string    `json:"target"`           // as policy spells it, or a name
	Reason string    `json:"reason"`           // one line
	Rule   string    `json:"rule,omitempty"`
	Ticket string    `json:"ticket,omitempty"`
	Times  int64     `json:"times"` // how often the same was wanted
	Since  time.Time `json:"since"`
}

// Explanation is why a call was decided as it was.
type Explanation struct {
	Call   Call             `json:"call"`
	Facts  []approval.Fact  `json:"facts"`
	Labels []Label          `json:"labels"`
	Ticket *approval.Ticket `json:"ticket,omitempty"`
}

// Label is a label with where it came from.
type Label struct {
	Label string    `json:"label"`          // untrusted or private
	On    string    `json:"on"`             // "session ID" or "agent NAME"
	Call  string    `json:"call,omitempty"` // the call that brought it
	Why   string    `json:"why"`
	Since time.Time `json:"since"`
}

// OutputPart is bytes that a call wrote.
type OutputPart struct {
	Call   string `json:"call"`
	Stream int    `json:"stream"` // 1 or 2
	Offset int64  `json:"offset"` // of the first byte; -1 of a watch, which may miss some
	Data   []byte `json:"data"`   // base64
}

// TicketFilter says which tickets.
type TicketFilter struct {
	All bool `json:"all,omitempty"` // the answered ones too
}

// TicketRef names a ticket by its id or a beginning of it that no other has.
type TicketRef struct {
	Ticket string `json:"ticket"`
}

// Answered is a ticket after an answer, and for a change the one that took its place.
type Answered struct {
	Ticket approval.Ticket  `json:"ticket"`
	Next   *approval.Ticket `json:"next,omitempty"`
}

// GrantRef names a grant.
type GrantRef struct {
	Grant  string `json:"grant"`
	Reason string `json:"reason,omitempty"`
}

// SessionRef names a session by id, or by agent and name.
type SessionRef struct {
	Session string `json:"session"`
}

// Session is what calls of one conversation share.
type Session struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Agent    string    `json:"agent,omitempty"`
	UID      uint32    `json:"uid"` // of who made it
	Labels   []Label   `json:"labels"`
	Calls    int       `json:"calls"`
	Bytes    int64     `json:"bytes"`     // of workspace and /tmp
	MaxBytes int64     `json:"max_bytes"` // a call is refused while Bytes is more
	Created  time.Time `json:"created"`
	Used     time.Time `json:"used"`
	Expires  time.Time `json:"expires"`
}

// Clear takes a label off a session or an agent.
type Clear struct {
	Name   string `json:"name"`
	Label  string `json:"label"`
	Reason string `json:"reason"`
}

// AgentRef names an agent; empty where there is one alone.
type AgentRef struct {
	Agent string `json:"agent,omitempty"`
}

// Agent is an agent's state.
type Agent struct {
	Name      string        `json:"name"`
	State     string        `json:"state"` // stopped, starting, running, ready, frozen, stopping, waiting (for its next start), failed
	Command   string        `json:"command"`
	User      string        `json:"user"`
	UID       uint32        `json:"uid"`
	Since     time.Time     `json:"since,omitzero"`
	Restarts  int           `json:"restarts"`
	Last      string        `json:"last,omitempty"` // how it ended the last time
	Next      time.Time     `json:"next,omitzero"`  // of its next start
	Ready     bool          `json:"ready"`
	Labels    policy.Labels `json:"labels"`
	Memory    int64         `json:"memory_bytes"`
	Pids      int64         `json:"pids"`
	CPU       time.Duration `json:"cpu_ns"`
	Network   string        `json:"network"`
	Publish   []string      `json:"publish,omitempty"`
	Snapshots []Snapshot    `json:"snapshots,omitempty"`
	Notes     []string      `json:"notes,omitempty"` // layers that are not enforced, and the like
}

// Snapshot is a copy of an agent's state directory.
type Snapshot struct {
	Name  string    `json:"name"`
	Time  time.Time `json:"time"`
	Bytes int64     `json:"bytes"`
	Why   string    `json:"why"` // start, daily, restore
}

// Logs asks for the end of what an agent wrote, or what follows.
type Logs struct {
	Agent string `json:"agent,omitempty"`
	Bytes int64  `json:"bytes,omitempty"` // at most, from the end; 0: 64 KiB
}

// Log is what an agent wrote.
type Log struct {
	Data []byte `json:"data"` // base64
}

// Restore puts a snapshot back. What was there becomes a snapshot itself.
type Restore struct {
	Agent    string `json:"agent,omitempty"`
	Snapshot string `json:"snapshot"`
}

// LockdownOrder stops everything.
type LockdownOrder struct {
	Reason string `json:"reason,omitempty"`
}

// LockdownReport says what was stopped.
type LockdownReport struct {
	Calls   int           `json:"calls"`
	Agents  int           `json:"agents"`
	Tickets int           `json:"tickets"`
	Grants  int           `json:"grants"`
	Took    time.Duration `json:"took_ns"`
	Failed  []string      `json:"failed,omitempty"` // what could not be stopped
}

// Reason is why somebody does something.
type Reason struct {
	Reason string `json:"reason,omitempty"`
}

// Identity is what the daemon thinks of a client.
type Identity struct {
	UID  uint32 `json:"uid"`
	Name string `json:"name"`
	Role string `json:"role"`
}

// Pool is what there is of boxes that wait for calls.
type Pool struct {
	Total     PoolLine   `json:"total"`
	Templates int        `json:"templates"`
	Making    int        `json:"making"` // calls that have their own box made at the moment
	Queued    int        `json:"queued"` // calls that wait for room on the host
	Stopped   bool       `json:"stopped,omitempty"`
	Profiles  []PoolLine `json:"profiles"` // of those that boxes were asked for under
}

// PoolLine is the same for one profile, or all. Counters are since the start.
type PoolLine struct {
	Profile string `json:"profile,omitempty"` // empty: all
	Waiting int    `json:"waiting"`           // boxes
	Wanted  int    `json:"wanted"`            // how many should wait, as calls have come of late
	Memory  int64  `json:"memory_bytes"`      // that waiting boxes count as
	Hits    uint64 `json:"hits"`              // calls that found a box waiting
	Misses  uint64 `json:"misses"`            // calls that had one made
	Made    uint64 `json:"made"`              // boxes
	Died    uint64 `json:"died"`              // boxes that died while they waited
	Evicted uint64 `json:"evicted"`           // boxes given up for others
	Dropped uint64 `json:"dropped"`           // boxes that went unused for other reasons: idle, old, a reload
	Refused uint64 `json:"refused"`           // calls for which there was no room in time
}

// Daemon is the daemon's own state.
type Daemon struct {
	Version    string    `json:"version"`
	Started    time.Time `json:"started"`
	Generation int       `json:"generation"` // grows with every reload
	Loaded     time.Time `json:"loaded"`
	Locked     string    `json:"locked,omitempty"` // the reason of a lockdown; empty: there is none
	LockedAt   time.Time `json:"locked_at,omitzero"`
	Calls      int       `json:"calls"`   // running
	Queue      int       `json:"queue"`   // waiting for their turn
	Tickets    int       `json:"tickets"` // pending
	Grants     int       `json:"grants"`
	Sessions   int       `json:"sessions"`
	Agents     []string  `json:"agents"`
	Receipts   uint64    `json:"receipts"` // sequence number of the last
	Pool       Pool      `json:"pool"`
	Notes      []string  `json:"notes,omitempty"` // what an operator should look at
}

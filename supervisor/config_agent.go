// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"time"

	"github.com/clawsup/clawsup/profiles"
)

// AgentConfig is one long-running program that clawsupd starts and boxes in:
// the section [agent], or each [[agent]]. The field that a limit leaves 0 is
// what Profile, or Calls, says.
type AgentConfig struct {
	Name    string
	Command []string // the program, by an absolute path, and its arguments
	User    string   // a name or a number; never root
	Group   string   // the same; empty: the user's own
	UID     uint32   // of User
	GID     uint32   // of Group

	Dir        string         // working directory, in the box; default StateDir
	StateDir   string         // the one tree of the host that it writes, at the same path in the box
	StateMax   profiles.Bytes // more than this in StateDir, and it is frozen, and not started again; 0: no bound
	Snapshots  int            // of StateDir, how many are kept; 0: none are made
	Read       []string       // further trees that it sees, read-only
	Workspaces []string       // names of those that it sees, read-only, and may name in calls; default all

	Environment map[string]string // what is set, before what is passed
	Pass        []string          // names taken over from clawsupd's own environment where set

	Profile      string   // of its own box
	CallProfiles []string // that it may name for its calls; the first is for those that name none
	Limits       AgentLimits

	Network  AgentNetwork
	Loopback []string // HOST:PORT of services on the host's loopback that it reaches at the same address
	Publish  []string // HOST:PORT on the host's loopback that lead to the same address in the box

	Restart    Restart
	Backoff    profiles.Duration // before the first new start; it doubles each time
	BackoffMax profiles.Duration
	NoRestart  []int // exit statuses after which it stays down
	Autostart  bool  // started with clawsupd

	Ready       AgentReady
	StopSignal  string            // as "SIGTERM"
	StopTimeout profiles.Duration // from StopSignal to the kill of its whole group
	LogMax      profiles.Bytes    // of what it writes to stdout and stderr, the newest

	Approver    string // "none": nobody is asked, what would need a person is denied; "": people are asked
	Concurrency int    // calls at work at once; 0: as CallsConfig says
	QueueMax    int    // calls that wait; 0: as CallsConfig says
	Rate        int    // calls a minute; 0: as CallsConfig says
}

// AgentLimits override those of the agent's profile. 0: as the profile says.
type AgentLimits struct {
	Memory profiles.Bytes
	Pids   int64
	CPU    float64 // cores
}

// AgentReady is how it is known that the agent can be used. With neither, it is
// ready when it is started. At most one is set.
type AgentReady struct {
	HTTP    string            // a URL, as "http://127.0.0.1:18789/readyz", that answers 2xx
	TCP     string            // HOST:PORT that takes a connection
	Every   profiles.Duration // between two tries
	Timeout profiles.Duration // from the start; then it is taken for failed
}

// AgentNetwork is what an agent can reach.
type AgentNetwork string

// The networks of an agent.
const (
	AgentNetworkNone   AgentNetwork = "none"   // a loopback of its own, and what Loopback and Publish name
	AgentNetworkEgress AgentNetwork = "egress" // the same, and what its profile's rules and people let it
	AgentNetworkHost   AgentNetwork = "host"   // the host's, which no layer then stands before
)

// Restart is when an agent that ended is started again.
type Restart string

// The restart policies.
const (
	RestartAlways    Restart = "always"
	RestartOnFailure Restart = "on-failure" // not after exit status 0
	RestartNever     Restart = "never"
)

// ApproverNone is the AgentConfig.Approver of an agent whose calls are headless.
const ApproverNone = "none"

// defaultAgent is an agent of which the file says nothing.
func defaultAgent() AgentConfig {
	return AgentConfig{
		Name:         "agent",
		Snapshots:    7,
		Profile:      "agent",
		CallProfiles: []string{"default"},
		Network:      AgentNetworkNone,
		Restart:      RestartOnFailure,
		Backoff:      profiles.Duration(time.Second),
		BackoffMax:   profiles.Duration(5 * time.Minute),
		NoRestart:    []int{78}, // EX_CONFIG of sysexits.h
		Autostart:    true,
		Ready:        AgentReady{Every: profiles.Duration(time.Second), Timeout: profiles.Duration(2 * time.Minute)},
		StopSignal:   "SIGTERM",
		StopTimeout:  profiles.Duration(30 * time.Second),
		LogMax:       16 << 20,
	}
}

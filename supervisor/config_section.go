// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"os"
	"path/filepath"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/changes"
	"github.com/clawsup/clawsup/supervisor/pool"
)

// WorkspaceConfig is a tree that calls may work on: a [[workspace]].
type WorkspaceConfig struct {
	Name    string
	Path    string
	Private bool // what a call on it gives back makes session and agent private
}

// RolesConfig says who may do what: the section [roles]. Each entry is a user's
// name, "@" and a group's name, or "uid:" and a number. A role has what those
// below it have; uid 0 is an owner without being named.
type RolesConfig struct {
	Owner    []string // everything
	Admin    []string // long grants, lockdown
	Approver []string // answers
	Viewer   []string // looks
}

// CallsConfig bounds the calls of all agents together, or of each: the section [calls].
type CallsConfig struct {
	Concurrency int               // at work at once, of all
	Queue       int               // that wait, of all; the next is refused
	PerSession  int               // at work at once, of one session
	PerSkill    int               // at work at once, of one skill
	Rate        int               // a minute, of one agent
	SkillRate   int               // a minute, of one skill
	Keep        profiles.Duration // how long an ended call can still be asked for
	Deadline    profiles.Duration // how long a call that says nothing waits for a person; at most ApprovalsConfig.Expiry
}

// ApprovalsConfig bounds questions and answers: the section [approvals].
type ApprovalsConfig struct {
	Expiry            profiles.Duration // of a ticket
	Burst             int               // tickets that one agent may make at once
	Every             profiles.Duration // then one more after each of these
	Pending           int               // tickets that wait, of all
	PendingPerSession int               // tickets that wait, of one session
	GrantMax          profiles.Duration // the longest grant of an approver
	GrantMaxAdmin     profiles.Duration // the longest grant of an admin or owner
	Quorum            int               // people that a yes takes, at least, whatever a profile says
}

// AuditConfig is where receipts are: the section [audit].
type AuditConfig struct {
	Dir     string         // the segments; default StateDir/audit
	Anchor  string         // the head, kept apart from the log; default StateDir/audit.head
	Key     string         // the signing key; default AuditKey, or the unit's credential of that name
	Segment profiles.Bytes // the size at which a new one begins
}

// SessionsConfig bounds what sessions keep: the section [sessions].
type SessionsConfig struct {
	Expiry  profiles.Duration // since the last call
	Max     profiles.Bytes    // of one session's workspace and /tmp
	Count   int               // of one agent
	Reserve profiles.Bytes    // what calls in sessions leave free on the file system; 0: nothing
}

// ChangesConfig bounds what is kept of change sets: the section [changes].
type ChangesConfig struct {
	Keep      profiles.Duration // of what nobody decided, and of trash
	Max       profiles.Bytes    // of all of it together: see changes.Store.Expire
	Wait      profiles.Duration // of a commit, for calls that are at work on the workspace
	Protected []string          // paths that always ask, beyond the built-in ones
}

// Bounds are the same for package changes.
func (c *ChangesConfig) Bounds() changes.Bounds {
	return changes.Bounds{Keep: time.Duration(c.Keep), Max: int64(c.Max), Wait: time.Duration(c.Wait), Protected: c.Protected}
}

// PoolConfig bounds the boxes that the daemon keeps waiting: the section [pool].
type PoolConfig struct {
	Boxes      int               // that wait; 0: none, and each call has its own made
	PerProfile int               // of Boxes, that one profile may keep from others
	PerSession int               // the same for one session
	Memory     profiles.Bytes    // of all that wait
	Idle       profiles.Duration // after which boxes that nobody asks for go
	Age        profiles.Duration // after which boxes are made anew: they have copies of files of the host
	Wait       profiles.Duration // how long a call waits where the host has no room
}

// Bounds are the same for package pool.
func (c *PoolConfig) Bounds() pool.Config {
	b := pool.Default()
	b.Boxes, b.ProfileShare, b.SessionShare, b.Memory = c.Boxes, c.PerProfile, c.PerSession, int64(c.Memory)
	b.Idle, b.Age, b.Wait = time.Duration(c.Idle), time.Duration(c.Age), time.Duration(c.Wait)
	b.PerKey = max(b.PerKey, c.Boxes/4) // who wants many wants them for bursts of one kind
	if c.Boxes == 0 {
		b.Templates = 0
	}
	return b
}

// NetworkConfig is how boxes reach what their profiles and people let them: the
// section [network].
type NetworkConfig struct {
	Resolvers []string          // "ADDRESS:PORT"; empty: those of /etc/resolv.conf
	Hosts     map[string]string // names with their addresses, for which no resolver is asked
	Roots     string            // file of the certificates that servers are verified against; see Bundle
	Hold      profiles.Duration // how long one call may be held for people in all
	Rate      int               // requests and connections of one agent or user that are let out in a minute
}

// bundles are where distributions have their certificates: Debian, Fedora,
// openSUSE, Alpine.
var bundles = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
	"/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem",
}

// Bundle is Roots, or the first of the distributions' files that is there.
func (c *NetworkConfig) Bundle() string {
	if c.Roots != "" {
		return c.Roots
	}
	for _, file := range bundles {
		if _, err := os.Stat(file); err == nil {
			return file
		}
	}
	return bundles[0]
}

// AuditKey is the key that receipts are signed with where no other is named. A
// systemd credential called audit.key goes before it.
const AuditKey = "/etc/clawsup/audit.key"

func defaultCalls() CallsConfig {
	return CallsConfig{
		Concurrency: 16, Queue: 256, PerSession: 4, PerSkill: 8, Rate: 600, SkillRate: 600,
		Keep: profiles.Duration(24 * time.Hour), Deadline: profiles.Duration(10 * time.Minute),
	}
}

func defaultApprovals() ApprovalsConfig {
	return ApprovalsConfig{
		Expiry: profiles.Duration(10 * time.Minute),
		Burst:  10, Every: profiles.Duration(30 * time.Second),
		Pending: 64, PendingPerSession: 8,
		GrantMax: profiles.Duration(time.Hour), GrantMaxAdmin: profiles.Duration(30 * 24 * time.Hour),
		Quorum: 1,
	}
}

func defaultAudit(stateDir string) AuditConfig {
	return AuditConfig{
		Dir:     filepath.Join(stateDir, "audit"),
		Anchor:  filepath.Join(stateDir, "audit.head"),
		Key:     AuditKey,
		Segment: 16 << 20,
	}
}

func defaultPool() PoolConfig {
	d := pool.Default()
	return PoolConfig{
		Boxes: d.Boxes, PerProfile: d.ProfileShare, PerSession: d.SessionShare, Memory: profiles.Bytes(d.Memory),
		Idle: profiles.Duration(d.Idle), Age: profiles.Duration(d.Age), Wait: profiles.Duration(d.Wait),
	}
}

func defaultNetwork() NetworkConfig {
	return NetworkConfig{Hold: profiles.Duration(time.Hour), Rate: 6000}
}

func defaultChanges() ChangesConfig {
	return ChangesConfig{Keep: profiles.Duration(7 * 24 * time.Hour), Max: 10 << 30, Wait: profiles.Duration(30 * time.Second)}
}

func defaultSessions() SessionsConfig {
	return SessionsConfig{Expiry: profiles.Duration(7 * 24 * time.Hour), Max: 1 << 30, Count: 256, Reserve: 512 << 20}
}

// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// key is one key of the file, in the table of an S.
type key[S any] struct {
	name string // dotted, as in "limits.memory"
	doc  string
	set  func(*S, any) error
	get  func(*S) any // as it would be written; see kind.plain
	// each takes one entry of a table whose keys are the operator's own; set is nil then.
	each func(s *S, name string, v any) error
}

// row makes a key of a field.
func row[S, T any](name, doc string, k kind[T], at func(*S) *T) key[S] {
	return key[S]{
		name: name, doc: doc,
		set: func(s *S, v any) error {
			parsed, err := k.parse(v)
			if err == nil {
				*at(s) = parsed
			}
			return err
		},
		get: func(s *S) any { return k.plain(*at(s)) },
	}
}

const manyIDs = 1 << 20 // bounds counts that need a bound and no certain one

// configKeys is the table of keys that there are once. Those of [agent] are
// agentKeys, those of [[workspace]] workspaceKeys.
var configKeys = []key[Config]{
	row("state_dir", "what outlives a restart", pathname, func(c *Config) *string { return &c.StateDir }),
	row("run_dir", "what does not", pathname, func(c *Config) *string { return &c.RunDir }),
	row("cgroup_parent", "the group that holds all boxes, from the root of the hierarchy", pathname, func(c *Config) *string { return &c.CgroupParent }),
	row("uid_base", "first host uid of the boxes", number[int](100_000, lastUID), func(c *Config) *int { return &c.UIDBase }),
	row("slots", "boxes at once", number[int](1, 65536), func(c *Config) *int { return &c.Slots }),
	row("skill_paths", "where skills are found by name", list("strings", pathname), func(c *Config) *[]string { return &c.SkillPaths }),
	row("profile_paths", "where profiles are found by name", list("strings", pathname), func(c *Config) *[]string { return &c.ProfilePaths }),
	row("lower", "layers given up where the host lacks them", layers, func(c *Config) *layer.Set { return &c.Lower }),
	row("default_profile", "used where a call names none", profileName, func(c *Config) *string { return &c.DefaultProfile }),
	row("init", "the clawsup-init program", pathname, func(c *Config) *string { return &c.Init }),
	row("inspect", "the clawsup-inspect program", pathname, func(c *Config) *string { return &c.Inspect }),
	row("egress", "the clawsup-egress program", pathname, func(c *Config) *string { return &c.Egress }),
	row("daemon", "whether run and run-skill go through clawsupd", onOff, func(c *Config) *bool { return &c.Daemon }),

	row("roles.owner", "who may do everything", role, func(c *Config) *[]string { return &c.Roles.Owner }),
	row("roles.admin", "who may also give long grants and lock down", role, func(c *Config) *[]string { return &c.Roles.Admin }),
	row("roles.approver", "who may answer", role, func(c *Config) *[]string { return &c.Roles.Approver }),
	row("roles.viewer", "who may look", role, func(c *Config) *[]string { return &c.Roles.Viewer }),

	row("calls.concurrency", "calls at work at once", number[int](1, 65536), func(c *Config) *int { return &c.Calls.Concurrency }),
	row("calls.queue", "calls that wait", number[int](0, 65536), func(c *Config) *int { return &c.Calls.Queue }),
	row("calls.per_session", "calls of a session at once", number[int](1, 65536), func(c *Config) *int { return &c.Calls.PerSession }),
	row("calls.per_skill", "calls of a skill at once", number[int](1, 65536), func(c *Config) *int { return &c.Calls.PerSkill }),
	row("calls.rate", "calls of an agent in a minute", number[int](1, manyIDs), func(c *Config) *int { return &c.Calls.Rate }),
	row("calls.skill_rate", "calls of a skill in a minute", number[int](1, manyIDs), func(c *Config) *int { return &c.Calls.SkillRate }),
	row("calls.keep", "how long an ended call can be asked for", span(0, aYear), func(c *Config) *profiles.Duration { return &c.Calls.Keep }),
	row("calls.deadline", "how long a call that doesn't say waits for people", span(0, aYear), func(c *Config) *profiles.Duration { return &c.Calls.Deadline }),

	row("approvals.expiry", "how long a ticket waits", span(time.Second, aYear), func(c *Config) *profiles.Duration { return &c.Approvals.Expiry }),
	row("approvals.burst", "tickets of an agent at once", number[int](1, manyIDs), func(c *Config) *int { return &c.Approvals.Burst }),
	row("approvals.every", "after which there may be one more", span(time.Millisecond, aYear), func(c *Config) *profiles.Duration { return &c.Approvals.Every }),
	row("approvals.pending", "tickets that wait", number[int](1, 65536), func(c *Config) *int { return &c.Approvals.Pending }),
	row("approvals.pending_per_session", "tickets of a session that wait", number[int](1, 65536), func(c *Config) *int { return &c.Approvals.PendingPerSession }),
	row("approvals.grant_max", "the longest grant of an approver", span(0, aYear), func(c *Config) *profiles.Duration { return &c.Approvals.GrantMax }),
	row("approvals.grant_max_admin", "the longest grant of an admin", span(0, aYear), func(c *Config) *profiles.Duration { return &c.Approvals.GrantMaxAdmin }),
	row("approvals.quorum", "people that every yes takes", number[int](1, 16), func(c *Config) *int { return &c.Approvals.Quorum }),

	row("audit.dir", "the log of receipts", pathname, func(c *Config) *string { return &c.Audit.Dir }),
	row("audit.anchor", "the log's head, kept apart from it", pathname, func(c *Config) *string { return &c.Audit.Anchor }),
	row("audit.key", "what receipts are signed with", pathname, func(c *Config) *string { return &c.Audit.Key }),
	row("audit.segment", "size at which a new file begins", size(1<<20, 1<<40), func(c *Config) *profiles.Bytes { return &c.Audit.Segment }),

	row("sessions.expiry", "how long an unused session is kept", span(time.Minute, 10*aYear), func(c *Config) *profiles.Duration { return &c.Sessions.Expiry }),
	row("sessions.max", "what a session may hold", size(1<<20, anySize), func(c *Config) *profiles.Bytes { return &c.Sessions.Max }),
	row("sessions.count", "sessions of an agent", number[int](1, manyIDs), func(c *Config) *int { return &c.Sessions.Count }),
	row("sessions.reserve", "free space below which calls in sessions end", size(0, anySize), func(c *Config) *profiles.Bytes { return &c.Sessions.Reserve }),

	row("changes.keep", "how long what nobody decided is kept, and trash", span(time.Minute, 10*aYear), func(c *Config) *profiles.Duration { return &c.Changes.Keep }),
	row("changes.max", "all of it together, above which what nobody decided and the oldest trash goes", size(1<<20, anySize), func(c *Config) *profiles.Bytes { return &c.Changes.Max }),
	row("changes.wait", "how long a commit waits for calls on its workspace", span(0, aYear), func(c *Config) *profiles.Duration { return &c.Changes.Wait }),
	row("changes.protected", "paths in workspaces that always ask, beyond the built-in ones", set("strings", pattern), func(c *Config) *[]string { return &c.Changes.Protected }),

	row("pool.boxes", "boxes kept waiting for calls; 0: none", number[int](0, 65536), func(c *Config) *int { return &c.Pool.Boxes }),
	row("pool.per_profile", "of them, what one profile may keep from others", number[int](1, 65536), func(c *Config) *int { return &c.Pool.PerProfile }),
	row("pool.per_session", "the same for one session", number[int](1, 65536), func(c *Config) *int { return &c.Pool.PerSession }),
	row("pool.memory", "memory of all that wait", size(1<<20, anySize), func(c *Config) *profiles.Bytes { return &c.Pool.Memory }),
	row("pool.idle", "after which boxes that nobody asks for go", span(time.Second, aYear), func(c *Config) *profiles.Duration { return &c.Pool.Idle }),
	row("pool.age", "after which boxes are made anew", span(time.Second, aYear), func(c *Config) *profiles.Duration { return &c.Pool.Age }),
	row("pool.wait", "how long a call waits where the host has no room", span(time.Millisecond, aYear), func(c *Config) *profiles.Duration { return &c.Pool.Wait }),

	row("network.resolvers", "DNS servers that are asked for boxes; none: those of /etc/resolv.conf", list("strings", addressPort), func(c *Config) *[]string { return &c.Network.Resolvers }),
	{
		name: "network.hosts", doc: "names with an address of their own, that no DNS server is asked for",
		get: func(c *Config) any {
			if c.Network.Hosts == nil {
				return map[string]string{}
			}
			return c.Network.Hosts
		},
		each: func(c *Config, name string, v any) error {
			a, err := address.parse(v)
			if err == nil {
				err = policy.Subject{Effect: policy.NetConnect, Target: name + ":443"}.Check()
			}
			if err == nil {
				c.Network.Hosts = maps.Clone(c.Network.Hosts)
				if c.Network.Hosts == nil {
					c.Network.Hosts = map[string]string{}
				}
				c.Network.Hosts[name] = a
			}
			return err
		},
	},
	row("network.roots", "certificates that servers are verified against; empty: the host's", optional(pathname), func(c *Config) *string { return &c.Network.Roots }),
	row("network.hold", "how long one call may be held for people, in all", span(time.Second, aYear), func(c *Config) *profiles.Duration { return &c.Network.Hold }),
	row("network.rate", "requests of an agent or a user that are let out in a minute; more wait", number[int](1, manyIDs), func(c *Config) *int { return &c.Network.Rate }),
}

// workspaceKeys are those of [[workspace]].
var workspaceKeys = []key[WorkspaceConfig]{
	row("name", "what agents call it", plainName, func(w *WorkspaceConfig) *string { return &w.Name }),
	row("path", "the directory", pathname, func(w *WorkspaceConfig) *string { return &w.Path }),
	row("private", "whether what is in it is", onOff, func(w *WorkspaceConfig) *bool { return &w.Private }),
}

// agentKeys are those of [agent].
var agentKeys = []key[AgentConfig]{
	row("name", "what clawsup calls it", plainName, func(a *AgentConfig) *string { return &a.Name }),
	row("command", "the program and its arguments", command, func(a *AgentConfig) *[]string { return &a.Command }),
	row("user", "who it runs as", account, func(a *AgentConfig) *string { return &a.User }),
	row("group", "its group; empty: the user's own", optional(account), func(a *AgentConfig) *string { return &a.Group }),
	row("state_dir", "the one tree that it writes", pathname, func(a *AgentConfig) *string { return &a.StateDir }),
	row("state_max", "size above which it is frozen, and not started again", size(0, anySize), func(a *AgentConfig) *profiles.Bytes { return &a.StateMax }),
	row("snapshots", "copies of state_dir that are kept", number[int](0, 1000), func(a *AgentConfig) *int { return &a.Snapshots }),
	row("dir", "working directory", pathname, func(a *AgentConfig) *string { return &a.Dir }),
	row("read", "further trees that it sees", set("strings", pathname), func(a *AgentConfig) *[]string { return &a.Read }),
	row("workspaces", "names of those that it sees", set("strings", plainName), func(a *AgentConfig) *[]string { return &a.Workspaces }),
	{
		name: "environment", doc: "what is set in its environment",
		get: func(a *AgentConfig) any {
			if a.Environment == nil {
				return map[string]string{}
			}
			return a.Environment
		},
		each: func(a *AgentConfig, name string, v any) error {
			value, err := anyText.parse(v)
			if err == nil {
				err = profiles.CheckEnv(name, value)
			}
			if err == nil {
				a.Environment = maps.Clone(a.Environment)
				if a.Environment == nil {
					a.Environment = map[string]string{}
				}
				a.Environment[name] = value
			}
			return err
		},
	},
	row("pass", "variables taken from clawsupd's environment", set("strings", passed), func(a *AgentConfig) *[]string { return &a.Pass }),
	row("profile", "of its own box", profileName, func(a *AgentConfig) *string { return &a.Profile }),
	row("call_profiles", "those of its calls, the default first", set("strings", profileName), func(a *AgentConfig) *[]string { return &a.CallProfiles }),
	row("limits.memory", "instead of the profile's; 0: the profile's", size(0, anySize), func(a *AgentConfig) *profiles.Bytes { return &a.Limits.Memory }),
	row("limits.pids", "instead of the profile's; 0: the profile's", number[int64](0, 1<<22), func(a *AgentConfig) *int64 { return &a.Limits.Pids }),
	row("limits.cpu", "instead of the profile's; 0: the profile's", cores, func(a *AgentConfig) *float64 { return &a.Limits.CPU }),
	row("network", "what it reaches", oneOf(AgentNetworkNone, AgentNetworkEgress, AgentNetworkHost), func(a *AgentConfig) *AgentNetwork { return &a.Network }),
	row("loopback", "services of the host that it reaches", set("strings", loopback), func(a *AgentConfig) *[]string { return &a.Loopback }),
	row("publish", "its ports on the host", set("strings", loopback), func(a *AgentConfig) *[]string { return &a.Publish }),
	row("restart", "when it is started again", oneOf(RestartAlways, RestartOnFailure, RestartNever), func(a *AgentConfig) *Restart { return &a.Restart }),
	row("backoff", "before the first new start", span(time.Millisecond, aYear), func(a *AgentConfig) *profiles.Duration { return &a.Backoff }),
	row("backoff_max", "before a new start at most", span(time.Millisecond, aYear), func(a *AgentConfig) *profiles.Duration { return &a.BackoffMax }),
	row("no_restart", "exit statuses after which it stays down", set("whole numbers", number[int](0, 255)), func(a *AgentConfig) *[]int { return &a.NoRestart }),
	row("autostart", "whether it starts with clawsupd", onOff, func(a *AgentConfig) *bool { return &a.Autostart }),
	row("ready.http", "a URL that answers when it can be used", optional(probeURL), func(a *AgentConfig) *string { return &a.Ready.HTTP }),
	row("ready.tcp", "a port that answers when it can be used", optional(loopback), func(a *AgentConfig) *string { return &a.Ready.TCP }),
	row("ready.every", "between two tries", span(10*time.Millisecond, time.Hour), func(a *AgentConfig) *profiles.Duration { return &a.Ready.Every }),
	row("ready.timeout", "after which it has failed", span(10*time.Millisecond, 24*time.Hour), func(a *AgentConfig) *profiles.Duration { return &a.Ready.Timeout }),
	row("stop_signal", "what asks it to end", oneOf("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"), func(a *AgentConfig) *string { return &a.StopSignal }),
	row("stop_timeout", "then it is killed", span(0, time.Hour), func(a *AgentConfig) *profiles.Duration { return &a.StopTimeout }),
	row("log_max", "of what it writes, how much is kept", size(64<<10, 1<<40), func(a *AgentConfig) *profiles.Bytes { return &a.LogMax }),
	row("approver", "\"none\": nobody is asked", optional(oneOf(ApproverNone)), func(a *AgentConfig) *string { return &a.Approver }),
	row("concurrency", "its calls at once; 0: as [calls] says", number[int](0, 65536), func(a *AgentConfig) *int { return &a.Concurrency }),
	row("queue_max", "its calls that wait; 0: as [calls] says", number[int](0, 65536), func(a *AgentConfig) *int { return &a.QueueMax }),
	row("rate", "its calls in a minute; 0: as [calls] says", number[int](0, manyIDs), func(a *AgentConfig) *int { return &a.Rate }),
}

// keyNames lists the names of a table of keys.
func keyNames[S any](keys []key[S]) []string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	return names
}

// Setting is one effective value of a configuration.
type Setting struct {
	Key    string `json:"key"`    // dotted, as in "agent.openclaw.user"
	Value  any    `json:"value"`  // a string, bool or number, a list of these, or a map of strings
	Origin string `json:"origin"` // FILE:LINE; empty: the default
}

// Literal gives the value as the file would have it.
func (s Setting) Literal() string { return literal(s.Value) }

// Settings gives every effective value, in the order of the tables of keys:
// first what there is once, then workspaces and agents in the file's order.
func (c *Config) Settings() []Setting {
	all := settings(c, "", configKeys, c)
	for i := range c.Workspaces {
		all = append(all, settings(c, "workspace."+c.Workspaces[i].Name+".", workspaceKeys, &c.Workspaces[i])...)
	}
	for i := range c.Agents {
		all = append(all, settings(c, "agent."+c.Agents[i].Name+".", agentKeys, &c.Agents[i])...)
	}
	return all
}

func settings[S any](c *Config, prefix string, keys []key[S], of *S) []Setting {
	var all []Setting
	for _, k := range keys {
		value := k.get(of)
		vars, open := value.(map[string]string)
		if !open || len(vars) == 0 {
			all = append(all, Setting{prefix + k.name, value, c.Origin[prefix+k.name]})
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(vars)) {
			origin := prefix + k.name + "." + name
			all = append(all, Setting{origin, vars[name], c.Origin[origin]})
		}
	}
	return all
}

// literal writes a plain value as TOML does, but for what is not printable.
func literal(v any) string {
	switch v := v.(type) {
	case string:
		return visible.Quote(v)
	case float64:
		s := strconv.FormatFloat(v, 'f', -1, 64)
		if v == math.Trunc(v) {
			s += ".0"
		}
		return s
	case []string:
		return bracketed(v)
	case []int:
		return bracketed(v)
	case map[string]string:
		return "{}" // others are shown by their entries
	}
	return fmt.Sprint(v)
}

func bracketed[T any](list []T) string {
	texts := make([]string, len(list))
	for i, e := range list {
		texts[i] = literal(any(e))
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

// frozen are the keys that what is at work was made with.
var frozen = []string{
	"state_dir", "run_dir", "cgroup_parent", "uid_base", "slots", "init", "inspect", "egress",
	"audit.dir", "audit.anchor", "audit.key", // the log is open
	"network.roots", // clawsup-egress has them
}

// Frozen gives the keys in which next differs from c although they can't change
// while the daemon is at work.
func (c *Config) Frozen(next *Config) []string {
	var changed []string
	for _, k := range configKeys {
		if slices.Contains(frozen, k.name) && k.get(c) != k.get(next) {
			changed = append(changed, k.name)
		}
	}
	return changed
}

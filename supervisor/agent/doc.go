// SPDX-License-Identifier: Apache-2.0

// Package agent keeps one configured agent: a long-running program under a
// user of its own, in a box that stays.
//
//	a, err := agent.New(agent.Options{Config: config, ...})
//	go a.Run(ctx)                 // starts it, if it is to be; daily snapshots
//	err = a.Stop(ctx)             // and Start, Restart, Freeze, Thaw, Restore
//	err = a.Kill(ctx, "lockdown") // at once, whatever is going on
//	err = a.Leave(ctx)            // this process ends; what systemd keeps goes on
//
// # The box
//
// The same runtime as for calls, with what its profile says, but: the program
// is the agent's user on the host; its state directory is writable at its own
// path, HOME is that directory; workspaces and what the section's read names are
// read-only at their own paths; the directory with its call.sock is at
// /run/clawsup; /tmp and /dev/shm are its own. It has no capabilities, can gain
// none, and its network is empty but for what publish and loopback relay, or
// the host's where the configuration says so by name. Its environment is built
// from nothing. What it writes to stdout and stderr is kept in two files that
// bound it.
//
// # How it lives
//
// stopped → starting → running → ready, and back. When it ends, package-level
// function next decides by the restart policy: whether it starts again, and
// after which pause. Stop sends the stop signal, waits for the stop timeout,
// and then kills the group. A frozen agent is killed without being
// thawed first: who froze it had a reason. Nothing here asks the agent for anything:
// how it ended comes from clawsup-init, and the kill is the kernel's.
//
// # Its state directory
//
// It is the one tree of the host that the agent writes, so it is the one tree
// in which root must not trust a name: see package snapshot, which copies it
// before each start and daily, and puts copies back. The directory above it
// belongs to root. When it is missing it is made, mode 0700, for the agent's user. While the
// daily copy is made the agent is frozen, seconds at most; a copy that takes
// longer than a minute is given up.
//
// # After a restart of this process
//
// Options.Keep gives copies of the service's descriptors to somebody who
// outlives this process, systemd for one. The next one hands them back in Options.Adopt, and
// the agent has noticed nothing but that its published ports did not answer
// for a moment. Without Keep an agent ends with this process.
//
// # Limits
//
// Processes of the agent's user outside its box are the agent's, as far as the
// kernel is concerned: give it a user that nobody else uses. Where the kernel's
// Landlock can't tell Unix sockets by their path (before ABI 9), the agent can
// connect to any socket that lies in a tree it sees and that its user may
// write; Status notes it. state_max is looked at before each start and every 30
// seconds: an agent that is over it is frozen, with what it wrote in those
// seconds on the disk. A file system of its own, or a quota for its user, has no
// such gap. The clocks of the restart policy and of daily snapshots are this
// process's.
package agent

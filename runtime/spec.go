// SPDX-License-Identifier: Apache-2.0

// Package runtime makes one sandbox and runs one call in it.
//
// The order is always the same:
//
//	host, err := runtime.Open(config)          // once per process: probe, sweep, parent group
//	kind, err := host.Template(ctx, spec)      // the root; clawsup-template waits in it
//	box, err := kind.Prepare(ctx, spec)        // namespaces, group, identity, walls; it waits
//	result := box.Run(ctx, call, stdio, nil)   // once
//	err = box.Close()                          // nothing stays behind
//
// Prepare does everything that does not depend on the call, so that boxes can
// be made ahead of demand. A box that has run is never used again. Host.Prepare
// is both steps for one box.
//
// A service, such as an agent, has a Berth instead, and Serve in place of Run:
// it goes on when this process ends, as long as somebody keeps its Files, and
// Adopt takes it over in the next.
//
// Who does what: package rootfs builds the file system; package cgroup limits
// and measures; packages seccomp, landlock and layer say what is enforced. The
// half inside is the program clawsup-template for a call, whose boxes are
// cloned, and for a service clawsup-init (package boot), which libcontainer
// starts. Package wire is what the halves say to each other.
//
// Every failure carries the step that made it. How a call ended is a Status;
// a call that ran and failed is no error here.
//
// This package knows nothing of command lines, approvals or skills.
package runtime

import (
	"os"
	"time"

	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/runtime/wire"
)

// Identity of the tool as the box sees it. Uid 0 of the box is clawsup-init.
const (
	ToolUID = wire.ToolUID
	ToolGID = wire.ToolGID
)

// Spec is what a sandbox is prepared from.
type Spec struct {
	Layers layer.Plan
	// Rootfs and Read are as in rootfs.Tree.
	Rootfs string
	Read   []string
	Binds  []rootfs.Bind
	Tmpfs  []rootfs.Tmpfs
	// ProcPids hides everything in /proc but the box's own processes.
	ProcPids bool
	Group    Group
	// Tool is who the tool is on the host, where what it writes must belong to
	// an account; nil: an id that only this box has. Never root, and never an
	// id of another box.
	Tool *Identity
	// Network is the network that the box is in. The plan must say the same.
	Network Network

	// Stamp is what else must be the same for two boxes to be alike: it enters
	// their keys.
	Stamp string

	Filter []byte // compiled seccomp filter; required where the plan enforces seccomp

	CPUTime   time.Duration // user and system, of the whole box; none for a service
	FileSize  int64         // bytes, RLIMIT_FSIZE
	OpenFiles int64         // RLIMIT_NOFILE
	Stack     int64         // bytes, RLIMIT_STACK
}

// Identity is a user and a group of the host.
type Identity struct{ UID, GID int }

// Network says which network namespace a box is in.
type Network int

const (
	NetworkNone   Network = iota // one of its own, with nothing but loopback
	NetworkHost                  // the host's: nothing here keeps the tool from any network; see layer.HostNetwork
	NetworkEgress                // one of its own, for package netns to lead, whose resolver the box has; see layer.LedNetwork
)

// Group is what the cgroup limits. Which of it is enforced is the plan's.
type Group struct {
	Memory    int64   // bytes
	Pids      int64   // processes and threads, clawsup-init included
	CPU       float64 // cores
	DiskRead  int64   // bytes per second
	DiskWrite int64   // bytes per second
}

// Call is what a sandbox is given. A service has no WallTime, Hold,
// StdoutMax and StderrMax.
type Call struct {
	Argv        []string // Argv[0] without a slash is looked up in PATH of Env, in the box
	Env         []string // NAME=value, the whole environment
	Dir         string   // working directory in the box
	Requires    []string // programs that must be in the box
	RequiresAny []string // programs of which one must be

	WallTime time.Duration // from the handing over to the end
	Hold     *Hold         // time that does not count as WallTime; nil: all does

	StdoutMax, StderrMax int64 // bytes

	// Socket is a connected Unix socket that a service gets as its descriptor 3.
	// Through it descriptors come in past every layer: it is for programs of
	// clawsup's own in a box, never for a tool that others chose.
	Socket *os.File
}

// SPDX-License-Identifier: Apache-2.0

package profiles

import "time"

// Profile is what one sandbox may see, use and ask for, with every value
// effective: the loader has resolved the chain of ancestors and applied the
// defaults. A Profile is a value and is never changed after loading.
type Profile struct {
	Name        string `toml:"-"`
	Description string `toml:"description"`
	Extends     string `toml:"extends"`

	Files     Files     `toml:"files"`
	Workspace Workspace `toml:"workspace"`
	Limits    Limits    `toml:"limits"`
	Network   Network   `toml:"network"`
	// Secrets are variables of the box with the names of the secrets that they
	// stand for. The box gets a placeholder, never the value.
	Secrets     map[string]string `toml:"secrets"`
	Environment Environment       `toml:"environment"`
	Seccomp     Seccomp           `toml:"seccomp"`
	Effects     Effects           `toml:"effects"`
}

// Files says what of the host's file system the box sees.
type Files struct {
	// Rootfs is the absolute path of a directory tree that becomes the root,
	// read-only. Empty means the host's own system directories.
	Rootfs string `toml:"rootfs"`
	// Read lists absolute host paths that appear read-only at the same place.
	Read []string `toml:"read"`
	// Proc is how much of /proc the box has: ProcMasked or ProcPids.
	Proc Proc `toml:"proc"`
}

// Proc is how much of /proc the box has.
type Proc string

const (
	ProcMasked Proc = "masked" // own processes, and the host facts programs need (meminfo, cpuinfo, stat)
	ProcPids   Proc = "pids"   // own processes and nothing else
)

// Workspace says how a call sees its workspace, at /workspace in the box.
type Workspace struct {
	Mode WorkspaceMode `toml:"mode"`
}

// WorkspaceMode is how a call sees its workspace.
type WorkspaceMode string

const (
	WorkspaceNone    WorkspaceMode = "none"    // no workspace
	WorkspaceRO      WorkspaceMode = "ro"      // the directory, read-only
	WorkspaceOverlay WorkspaceMode = "overlay" // the directory, with a layer of the call's own over it that takes what it writes
	WorkspaceRW      WorkspaceMode = "rw"      // the directory, written through at once
	WorkspaceScratch WorkspaceMode = "scratch" // an empty directory in memory, thrown away
)

// Limits bound one call. Every one is set: there is no "unlimited".
type Limits struct {
	Memory   Bytes    `toml:"memory"`    // of the whole box, page cache and tmpfs included; swap is always 0
	Pids     int64    `toml:"pids"`      // processes and threads, the box's first included
	CPU      float64  `toml:"cpu"`       // cores; 0.25 is a quarter of one
	CPUTime  Duration `toml:"cpu_time"`  // user and system time of the whole call
	WallTime Duration `toml:"wall_time"` // from start to end

	Stdout Bytes `toml:"stdout"` // bytes of standard output, then the call ends
	Stderr Bytes `toml:"stderr"` // bytes of standard error, then the call ends

	Tmp          Bytes `toml:"tmp"`           // /tmp
	TmpFiles     int64 `toml:"tmp_files"`     // inodes of /tmp
	Shm          Bytes `toml:"shm"`           // /dev/shm
	Scratch      Bytes `toml:"scratch"`       // a scratch workspace
	ScratchFiles int64 `toml:"scratch_files"` // inodes of a scratch workspace

	Layer      Bytes `toml:"layer"`       // what a call may write into an overlay workspace
	LayerFiles int64 `toml:"layer_files"` // inodes of the same

	FileSize  Bytes `toml:"file_size"`  // one file (RLIMIT_FSIZE)
	OpenFiles int64 `toml:"open_files"` // descriptors of one process (RLIMIT_NOFILE)
	Stack     Bytes `toml:"stack"`      // one stack (RLIMIT_STACK)

	DiskRead  Bytes `toml:"disk_read"`  // bytes per second from block devices
	DiskWrite Bytes `toml:"disk_write"` // bytes per second to block devices

	NetConnections int64 `toml:"net_connections"` // connections at one time, held ones included
	NetSent        Bytes `toml:"net_sent"`        // bytes that leave, of the whole call
	NetReceived    Bytes `toml:"net_received"`    // bytes that come in, of the whole call
}

// Environment is built from nothing: Set, then Pass.
type Environment struct {
	Pass []string          `toml:"pass"` // names taken over from the caller where set
	Set  map[string]string `toml:"set"`  // names with their values
}

// Seccomp widens the system call table by named groups.
type Seccomp struct {
	Groups []string `toml:"groups"` // see clawsup profile show --seccomp
}

// Effects are the decisions a profile makes.
type Effects struct {
	Exec Decision `toml:"exec"`
	// FSCreate, FSModify and FSDelete are about what a call did to files of an
	// overlay workspace, when it has ended. What a session made is its own: to
	// change and delete that is FSCreate too.
	FSCreate Decision `toml:"fs_create"`
	FSModify Decision `toml:"fs_modify"`
	FSDelete Decision `toml:"fs_delete"`
	// FSMany is the number of files above which a change set is a question
	// whatever the others say.
	FSMany int64 `toml:"fs_many"`
	// Quorum is how many people a yes takes where one is asked for: 1 to MaxQuorum.
	Quorum int `toml:"quorum"`
}

// MaxQuorum is how many people a yes can take at most.
const MaxQuorum = 3

// Decision is what happens when a call wants an effect.
type Decision string

const (
	Allow Decision = "allow"
	Ask   Decision = "ask"
	Deny  Decision = "deny"
)

// Bytes is a size in bytes, written "256M" in a profile (powers of 1024).
type Bytes int64

// Duration is a span of time, written "30s" in a profile.
type Duration time.Duration

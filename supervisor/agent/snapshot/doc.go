// SPDX-License-Identifier: Apache-2.0

// Package snapshot copies the state directory of an agent and puts copies
// back. It runs as root on a tree that a hostile program wrote, and may still
// be writing.
//
//	shelf, err := snapshot.Open("/var/lib/clawsup/agents/NAME/snapshots")
//	draft, err := shelf.Copy(ctx, "/var/lib/NAME", bounds)   // while the agent is stopped or frozen
//	snap, err := draft.Keep(snapshot.Start, time.Now(), n)   // when it runs again; n are kept
//	err = shelf.Restore(ctx, snap.Name, "/var/lib/NAME", bounds)   // while it is stopped
//
// # What keeps root safe
//
// The hostile tree is only ever read. What is written is a new directory of
// root's own, mode 0700, which nobody else gets into: a copy is made there in
// full, and only then is it renamed into place. So there is no moment at which
// root writes, changes an owner or a mode, or removes, below a name that
// somebody else can exchange.
//
// The tree is walked by descriptors, one name at a time: openat2(2) with
// RESOLVE_BENEATH, NO_SYMLINKS, NO_MAGICLINKS and NO_XDEV, at first with
// O_PATH, which opens no device and wakes nobody who waits at a FIFO; what was
// opened is judged, and that very file is then opened for reading. Names are
// never joined to paths.
//
// # What a copy has
//
// Regular files (shared blocks where the file system can, FICLONE of
// ioctl_ficlone(2), otherwise their data, with holes kept), directories, and
// symbolic links as links; owner, mode and time of the last change. Set-user-id
// and set-group-id bits, extended attributes and so file capabilities and ACLs
// are left out. Hard links become copies of their own. Sockets, FIFOs and
// devices, what is mounted in the tree, what lies deeper than MaxDepth
// directories, and what vanishes while it is looked at are left out and counted.
// Everything else that can't be copied ends the copy with an error.
//
// # Crashes
//
// A copy is synced (syncfs(2)) and then renamed; an unfinished one has a name
// that begins with a dot, and Open and Restore bury those. Restore exchanges
// two directories by one renameat2(2): after a crash there is the one or the other,
// whole.
//
// # Limits
//
// A file that is written to during the copy, which a frozen or stopped agent
// can't, may be copied half. The state directory can't be a mount point itself, since that
// can't be renamed: mount its parent. Its parent belongs to root alone.
package snapshot

// MaxDepth is how many directories deep a copy goes. The walk holds two
// descriptors for each.
const MaxDepth = 256

// Bounds are what a copy can take. What is over them ends it with a *BoundError.
type Bounds struct {
	Entries int   // files, directories and links
	Bytes   int64 // of their data; 0: no bound
}

// MaxEntries is a bound for trees of which nothing is known.
const MaxEntries = 1 << 20

// Count is what a copy holds, and what it left out.
type Count struct {
	Entries int   `json:"entries"`
	Bytes   int64 `json:"bytes"`             // of data; holes don't count
	Special int   `json:"special,omitempty"` // sockets, FIFOs, devices left out
	Mounted int   `json:"mounted,omitempty"` // names left out since something is mounted there
	Deep    int   `json:"deep,omitempty"`    // directories left out since they lie too deep
	Gone    int   `json:"gone,omitempty"`    // names that vanished meanwhile
}

// LeftOut is how many names are not in the copy.
func (c Count) LeftOut() int { return c.Special + c.Mounted + c.Deep + c.Gone }

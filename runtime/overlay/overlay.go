// SPDX-License-Identifier: Apache-2.0

// Package overlay makes the layers that calls write into instead of their
// workspaces, and mounts them.
//
// A layer is a file system of its own: ext4 without a journal, in a sparse image
// file, attached to a loop device. So what a call can write has a bound in bytes
// and in inodes that holds to the last one on every host, whatever its own file
// systems offer, and nothing that a call wrote is found on the host under any
// path. Upper is what was written, as the kernel's overlay file system stores it
// (Documentation/filesystems/overlayfs.rst): deleted is a character device 0/0;
// trusted.overlay.opaque and trusted.overlay.redirect say that a directory is
// new, or was moved. Tools can make neither.
//
// The order of operations: Make, then any number of Mount, one at a time, each
// for one box. When the box is dead, Upper and Used; at the end Discard, or
// Close and later Open. An open layer is mounted, but nowhere, and everything
// the kernel holds of it goes when its process dies: nothing has to be cleaned
// up but image files.
//
// # Bounds
//
// Size.Bytes counts content in whole blocks of 4 KiB, and blocks of directories,
// of extended attributes that don't fit an inode, and of the maps of files in
// many pieces, where those were not within what ext4 reserves for maps. What the
// file system needs for itself comes on top. Size.Files counts inodes: names of
// one file count once, whiteouts together once. A file of the workspace that is
// modified, or whose mode changes, counts with all of its content from then on:
// it is copied.
//
// # Durability
//
// While a layer is open nothing is written to the disk for its own sake: the
// mount is volatile, fsync in it does nothing. It outlives its process, killed
// in whatever way, but not the machine. Close brings it to the disk; when it has
// returned, the layer outlives a crash of the machine too. Open tells one case
// from the other and gives ErrTorn for a layer that was open when the machine
// stopped.
//
// # Limits
//
// An open layer takes a loop device (they are made on demand; the kernel has
// 2^20) and its kernel thread, and a line or two of the kernel's log. Images are
// sparse: the sum of the bounds may be more than the disk has. When the disk is
// full, writes of a call are lost although they seemed to succeed; Upper and
// Close say so, since they alone can know. A layer of a process that was killed
// on a full disk may miss content without anyone knowing. What a call wrote and
// deleted keeps its place in the image. The host's udev sees the loop devices, and
// programs of it read a layer's first blocks, which are the file system's own, and
// the last, which are nobody's.
//
// The workspace must lie on a file system with id-mapped mounts (ext4, xfs and
// vfat since Linux 5.12, btrfs since 5.15, f2fs since 5.18, tmpfs since 6.3), unless its owner and the tool
// are one. Its own mounts aren't followed. Changing it from outside while a
// layer is mounted over it is undefined: what was read may stay as it was. The
// kernel must be 5.19 or later, with ext4, loop and overlay; e2fsprogs must be
// installed. Making user namespaces that map root takes CAP_SETFCAP, all the rest
// CAP_SYS_ADMIN, CAP_CHOWN, CAP_FOWNER, CAP_DAC_OVERRIDE and CAP_MKNOD. A device
// policy of the service must allow /dev/loop-control and the loop block devices.
package overlay

import (
	"fmt"

	"github.com/clawsup/clawsup/runtime/rootfs"
)

// Size bounds what a call may write.
type Size struct {
	Bytes int64 // of content, the file system's own bookkeeping apart
	Files int64 // inodes
}

// The largest Size. Beyond it an empty image takes more than seconds to make.
const (
	maxBytes = 1 << 40
	maxFiles = 1 << 26
)

// check refuses what can't be.
func (s Size) check() error {
	if s.Bytes <= 0 || s.Bytes > maxBytes || s.Files <= 0 || s.Files > maxFiles {
		return fmt.Errorf("a layer of %d bytes and %d files can't be: both are at least 1, at most %d bytes and %d files",
			s.Bytes, s.Files, int64(maxBytes), int64(maxFiles))
	}
	return nil
}

// Maker makes layers. Its methods may be called from several goroutines, and
// images in one directory may be made by several processes.
type Maker struct {
	Stage   string // an existing empty directory of root's, over which threads mount in namespaces of their own
	Program string // any program that can be started: a user namespace is born with a process
	Blanks  string // an existing directory of root's, where an empty image of each size is kept; empty: none is, which takes some 30 ms for each layer

	swaps *swaps // nil: each mount makes its own
}

// New gives a maker that keeps the user namespaces of the latest mappings,
// until it is closed. A Maker that is composed instead makes one for each mount.
func New(stage, program, blanks string) *Maker {
	return &Maker{Stage: stage, Program: program, Blanks: blanks, swaps: &swaps{}}
}

// Close gives up what is kept. Layers go on.
func (m *Maker) Close() error {
	if m.swaps == nil {
		return nil
	}
	return m.swaps.close()
}

// swap gives a user namespace in which two owners are swapped: the caller
// closes it. It is nil when they are one.
func (m *Maker) swap(owner, tool rootfs.Owner) (*userns, error) {
	if owner == tool {
		return nil, nil
	}
	if m.swaps == nil {
		return newUserns(owner, tool, m.Program)
	}
	return m.swaps.get(owner, tool, m.Program)
}

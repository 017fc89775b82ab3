// SPDX-License-Identifier: Apache-2.0

// Package changeset tells what a call did to its workspace.
//
// A call writes into the upper layer of an overlay (package overlay); the
// workspace beneath is not touched. Walk reads the layer against the workspace
// and gives a Set: each path that was created, modified, deleted, moved or
// given another mode, with what it was and what it became.
//
//	set, err := changeset.Walk(ctx, changeset.Layer{Upper: upper, Lower: workspace, Owner: uid, Begin: begin})
//	err = set.Encode(file)                  // one entry a line; Decode reads it
//	set.Count(), set.Digest()               // how much, and of exactly what
//	set.Moves()                             // for people: which new file is a deleted one
//
// # What is a change
//
// Content, mode and user.* attributes. A path that the call opened for
// writing, touched or gave a new owner is in the layer but is no entry where
// all of these are what they were: a modification time alone is no change. The
// workspace's own directory is no entry either.
//
// What a file was is read from the workspace when Walk comes by, not from a
// copy made before. So what changed there since Layer.Begin is told by ctime,
// which only root can set back, and is a Conflict. Of what the call made out
// of a file that is gone from the workspace since, the kernel's note in the
// layer (trusted.overlay.origin) tells.
//
// # What Walk reads of a layer
//
// What the kernel's overlayfs writes with redirect_dir=on, metacopy=off and
// index=off (Documentation/filesystems/overlayfs.rst): character devices 0/0
// for what was removed, trusted.overlay.opaque and trusted.overlay.redirect.
// The call can make none of these, and user.overlay.* means nothing.
//
// Both trees are read from their descriptors, a name at a time, through no
// link and onto no other mount. Names are bytes. Nothing is parsed, content is
// hashed. A swapped directory or a vanished file of the workspace gives a
// Conflict or no entry, never a file of elsewhere.
//
// # Bounds
//
// MaxEntries entries, MaxDepth directories in one another, MaxPath bytes of a
// path, MaxText bytes of all names and attributes together, MaxXattrs bytes of
// attributes of a file: beyond, there is no set, but for attributes, which
// leave a note. Content is as much as there is on the disk. Holes of sparse
// files are hashed as the zeros they stand for, up to MaxHoles bytes in one
// walk: a petabyte without content would take days. A file beyond this is
// Dropped; what it was before has no digest then.
//
// # Limits
//
//   - A hard link is told between created files alone. Between a file that was
//     there and a new name it becomes two files.
//   - Of a moved directory, what lies in it and was not touched is not looked
//     at: a change of it in the workspace is no Conflict, and a relative link
//     that leads out of the workspace from its new place has no Leaves: who
//     judges a Renamed has to look, see LeadsOut.
//   - Attributes of symbolic links, and the labels that the kernel itself gives
//     (security.selinux, security.ima, security.evm), are not looked at.
package changeset

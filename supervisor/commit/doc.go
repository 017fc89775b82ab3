// SPDX-License-Identifier: Apache-2.0

// Package commit puts a change set into a workspace, all or nothing for each
// file, and takes it back.
//
//	report, err := commit.Commit(ctx, commit.Order{Set: set, Source: layer, Root: root, Owner: owner, Dir: dir})
//	report, err = commit.Recover(ctx, dir, open)              // after a crash
//	set, trash, err := commit.Undo(ctx, dir, root, nil)       // a set like any other, for a Dir of its own
//	list, err := commit.Landed(dir)                           // what the session made by it
//
// # The promise
//
// Killed at any instant, or the machine stopped: each file of the workspace is
// the old one or the new one, byte for byte. Recover then gives all of the old
// tree, if the journal had not come to "ready", or all of the new one. Nothing
// that was there before is lost: what was replaced or deleted is in the trash.
// Nothing that changed since the set was made is overwritten; it is a Conflict
// in the report.
//
// # Whose rights
//
// All that touches the workspace is done by one thread with the fsuid and fsgid
// of the workspace's owner, no supplementary groups and no capabilities; it
// ends with the commit. Directories are opened one name at a time, each from
// the descriptor of the one above (openat2(2): beneath, no links, no other
// mount), and held; two names are changed by renameat2(2) between held
// descriptors. So whoever swaps a directory for a link meanwhile gets a
// Conflict, and whoever moves a directory has it moved. Sources are opened by
// root, ahead.
//
// # The order
//
//  1. check compares every entry with the workspace: device, inode and ctime.
//     A directory's ctime moves with every name in it; of one it compares what
//     the entry changes, and of one that goes all that is in it. What depends on
//     an entry that is refused, in conflict or failing is left with it.
//  2. The journal gets the plan, and is fsynced; then its directory.
//  3. New content is made in the directory where it will be, under a name that
//     begins with ".clawsup-"; a new directory with all that is in it under one
//     such name. What was copied is hashed on the way: other bytes than were
//     judged never land. A few files are fsynced each, with their directories;
//     more by syncfs(2).
//  4. The journal gets the inode of everything made, and "ready", and is
//     fsynced. Until here an error, or the end of ctx, takes all back.
//  5. Renamed directories go to hidden names in the root, the innermost first.
//     What was deleted goes to a hidden name beside it, is compared again, and
//     goes to the trash. Then, from the outermost path to the innermost, what is
//     new is renamed to where nothing is, what is modified is exchanged with
//     what was there, which is compared and goes to the trash, and renamed
//     directories arrive. What turns out to be another file goes back. Last come
//     modes and attributes. Every step knows by inode whether it was taken.
//  6. Directories that were written in are fsynced, or the file system is
//     synced. Then the list of what landed and the report, each fsynced and
//     renamed to its name; then the journal gets "done", fsynced.
//
// Where the owner lacks a right in a directory of their own, it is given for as
// long as the commit takes: the journal has the mode, fsynced, before.
//
// # In Dir
//
//   - journal: lines of a CRC-32C in 8 hexadecimal digits, a space and JSON. The
//     first line that is torn is the end; nothing after it was acted upon.
//   - trash: what was replaced or deleted, under the number of its entry, whole
//     trees by one rename. On another file system it is copied, sharing blocks
//     where it can. While the commit runs it is the owner's, afterwards root's.
//   - landed: one line, as the journal's, for each entry that was applied: the
//     entry, with the state before; what the commit left; where the trash has
//     what was there. It is the trash's index.
//   - report: the Report, in JSON.
//
// # Undo
//
// The set of an undo is made from landed. What comes back is, on one file
// system, the file itself, by another name: owner, ACLs, everything. It must
// have the digest still that it had when it was judged, since a process that
// had it open when it was deleted may write to it still. When its commit is
// done the trash has it no more. On another file system, or where the kernel
// forbids the link, it is copied: it is the owner's then, without setuid and
// setgid. Directories and links are made anew, with mode, user.* attributes and
// mtime.
//
// # Limits
//
//   - The mtime of a directory that stays is that of the last name that came or
//     went, as after any rename. Of one that is only given another mode, or that
//     is moved, mtime is not set.
//   - A file's last comparison and its rename are two system calls. Who writes in
//     between finds what they wrote in the trash.
//   - A file that replaces another loses its ACL and attributes beyond user.*;
//     the entry's note says so.
//   - A directory's setgid, which new directories inherit, is kept as inherited.
//   - On another file system than the trash's, devices, FIFOs and sockets can't
//     be deleted by a commit.
//   - An undo that was killed after "ready", and finished by Recover, leaves in
//     the trash what it brought back, under both names until it is emptied.
//   - Between "ready" and "done" moved directories are for a moment at no path,
//     and so is what takes the place of a file that is a directory now.
package commit

// SPDX-License-Identifier: Apache-2.0

// Package changes keeps what calls did to their workspaces until it is decided
// what becomes of it, and after that what it takes to undo it.
//
//	store, err := changes.Open(ctx, changes.Options{Dir: …, Locks: …, Maker: …, Bounds: …})
//	work, err := store.Begin(ctx, start)             // work is the Upper of the workspace's bind
//	change, err := work.End(ctx)                     // when nothing of the call is alive
//	judgement, err := store.Judge(ctx, change.ID, q) // allow, ask or deny, with the reasons
//	change, err = store.Commit(ctx, change.ID, changes.Choice{}, by)
//	change, err = store.TakeBack(ctx, change.ID, nil, by, false)
//
// The work itself is done by others: package overlay makes layers, changeset
// lists what is in one, commit puts a list into the workspace. This package
// says who may do what when, keeps the records, and judges.
//
// # States
//
//	Writing   → Held        End, or Hold and Judge of one that went on over calls
//	Writing   → Discarded   nothing changed: it is gone at once
//	Held      → Asking      Asked; → Held again by Hold
//	Held, Asking → Committed, Discarded
//
// Whoever doesn't decide decides for Held: a crash, a restart, a wait that was
// too long. What is Held too long, or is the oldest of too much, is discarded;
// its record says so for as long again.
//
// # On the disk
//
// Each change set is a directory of root's:
//
//	ID/record.json   see package record
//	ID/lock          held by whoever is at work on it
//	ID/layer.img     the layer, until it is decided
//	ID/set           the entries, once nothing writes any more
//	ID/commit/       journal, trash and report, see package commit
//
// Beside them are .blanks (see overlay.Maker) and .sessions, which has for each
// session a ledger of the files that it made itself, and links to its open
// change sets. Names of the store's own begin with a dot, which no id does.
//
// # Several processes
//
// A store may be open in several. A change set is worked on by who has its
// lock, which the kernel gives back when its holder dies, however that is. So
// Open finds out by the locks alone what was left behind: it finishes commits,
// holds what a killed call wrote, and touches nothing that somebody has. While
// people are asked, who asks has the lock. See the types lock and gates.
//
// # Judging
//
// Each entry is an effect on a path: fs.create, fs.modify or fs.delete. A
// directory that moved is deleted where it was. What the session itself made,
// by inode and digest, is only created; what was there before it isn't its own by
// being changed. A path of the table
// in protected.go, one in conflict, a link out of the workspace, and a name
// that policy can't spell are questions at least, whoever made them.
//
// # Limits
//
//   - Records of calls that are writing are not synced to the disk: after a
//     power loss they may be gone, as is what the call wrote.
//   - Locks of trees go by the directories above a workspace, as they are when
//     a call begins: a workspace that is moved into another while calls are at
//     work is not noticed, nor are two mounts of one tree in places apart.
//   - Protected patterns are compared without case, by simple folding, and
//     without what nobody sees; a name that only looks like a protected one is
//     another name.
//   - What is beside a file (SKILL.md; HEAD, objects and refs) is looked for in
//     the workspace by exactly this name.
package changes

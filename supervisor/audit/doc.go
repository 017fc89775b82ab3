// SPDX-License-Identifier: Apache-2.0

// Package audit is the log of receipts: what was asked, decided and done, in
// files of root's own that can't be changed unnoticed.
//
// # Use
//
//	key, err := audit.LoadKey("/etc/clawsup/audit.key") // made on first use
//	log, err := audit.Open(audit.Options{Dir: "/var/lib/clawsup/audit", Anchor: "/var/lib/clawsup/audit.head", Key: key})
//	seq, err := log.Append(ctx, audit.Receipt{Kind: audit.Decision, Call: id, ...}) // durable when it returns
//
// Begin and Wait split Append in two, so that the disk works while the caller
// does: what was begun is written at once, and so outlives the process, and is
// synced when somebody waits for it or for a later entry, or else some
// milliseconds later. An entry counts from the moment that Wait (or Append) returns nil: it
// is then synced to the disk. An error from either means that nothing may be
// done for which this entry was to be the receipt. Calls from many goroutines
// share one write and one sync.
//
// Read gives the entries back. Verify checks a log, also a copy of one on
// another machine, with nothing but the public key and, if there is one, an
// anchor.
//
// # Form
//
// The folder (0700, root's) holds segments named receipts-N.log, N being the
// sequence number of the segment's first entry in 20 digits. A segment is made
// of lines, a line of one JSON object in printable ASCII (whatever isn't
// becomes \uXXXX, so that a line does nothing to a terminal) with its fields
// in this order and those that are empty left out, but for the first four and
// the last:
//
//	receipt    1, the version of this form
//	key        the public key that signed, 64 hexadecimal digits
//	prev       the hash of the entry before, or 64 zeros in the first
//	seq        1, 2, 3, ...
//	time       wall clock, UTC, nine digits after the second
//	behind     by how many nanoseconds time is behind the latest time before it
//	kind       decision, outcome, administration, agent, generation
//	call plan profile skill requester effect decision rule status
//	exit       exit code
//	usage      wall, user and system (ns), memory, pids, written, output
//	facts      a list of name with value, or with bytes (base64) where the
//	           value is no UTF-8
//	sig        Ed25519 (RFC 8032), 128 hexadecimal digits
//
// What is signed is the line without its sig, that is everything before
// `,"sig"` and a closing brace. The hash in prev is the sha256 of the same
// bytes of the entry before. Since these hold all of an entry and its signature is
// checked by itself, nothing is gained by hashing the signature too, and
// without it the entries of a commit are signed side by side. A line has at
// most 64 KiB; there is one spelling of each entry, and any other is refused.
//
// Order is the sequence number's. A clock that was set back is recorded in
// behind and changes nothing else.
//
// The log itself writes entries of kind administration whose rule begins with
// "audit.", which nobody else can use: audit.segment begins each segment and
// names the one before; audit.repair tells of a torn line that was cut off;
// audit.anchor tells that the anchor was gone.
//
// # The anchor
//
// The anchor is a file outside the log's folder with the number, the hash and
// the place of the last entry, signed. It has two lines of 4096 bytes, filled
// with spaces, for the last two anchors; the newer one counts, and one that
// isn't as it was signed is noticed in either place.
// After each commit the older is overwritten, while the next commit is being
// prepared; nobody is told that an entry of that is durable before the anchor
// is. So the anchor is at most one commit behind, whatever line a crash tears.
// What 'clawsup audit anchor' prints is one such line, without the spaces.
//
// What that proves: a log whose end was cut off, by accident or by somebody
// who could write to the log alone, is shorter than its anchor says. What it
// can't: who is root on the machine can put back an older log with the anchor
// of that time, and has the key to sign what they like. Against that, copy
// the anchor to where this machine can't write, now and then: a log that
// doesn't hold the entry that the copy names was cut off or written anew,
// whatever the keys say. An old copy stays good; it vouches for everything up to its
// entry.
//
// # Crashes and full disks
//
// A kill or a power loss can leave half a line at the end, never one that
// somebody was told is durable. Open moves it to receipts-N.torn (N being the
// last good entry), cuts it off, and writes an entry about it; whichever
// step it is stopped at, the next Open goes on there. Anything else that is
// wrong at the end makes Open refuse with a *Problem: mending it is for a person.
// That includes blocks that a file system gives back unwritten after a power
// loss; ext4 with data=ordered, XFS and btrfs don't.
//
// When a write fails, a full disk for one, each waiting entry gets the
// error, the file is cut back to its last durable line, and the next entry
// tries anew. No number is used up by a failure. After a failure of
// the sync, of the anchor or of cutting back, and then a crash, entries can be in the log whose writers were
// told of an error; the opposite doesn't happen.
//
// # Limits
//
// Verify and Read may look at a log that is being written; they can then see
// half a line at the end (Torn), and entries not synced yet. Read the anchor
// first then: one read later can be ahead of what Verify saw. Old segments,
// but for the one that the anchor names and the one before, can be archived; Verify
// says that they are missing unless it gets them too. A log has one key: a new key
// means a new folder and a new anchor. What a disk or its controller says is
// synced is taken to be. Nothing is encrypted or redacted here: leave secrets out.
package audit

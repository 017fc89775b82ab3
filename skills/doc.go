// SPDX-License-Identifier: Apache-2.0

// Package skills finds a skill folder, takes a sealed copy of it, and says what
// running it means.
//
// A skill is a folder that somebody else wrote: a SKILL.md in the AgentSkills
// format, usually a scripts folder, and whatever those read. This package is
// linked into a root process, so it never looks at what files mean. It counts,
// copies and hashes bytes; the YAML of SKILL.md is read by clawsup-inspect in a
// throwaway box (package frontmatter), whose answer comes back through
// DecodeManifest.
//
// The order of operations:
//
//	dir, err := skills.Find("csv-summary", paths)    // a name or a path, to a folder
//	k, err := store.Add(dir)                         // copy, hash, seal
//	m, err := skills.DecodeManifest(inspectOutput)   // what the boxed reader said
//	err = m.Validate(k.Name)                         // the rules of the format
//	c, err := k.Command(m, args)                     // argv in the box
//
// # The store
//
// What is digested, shown, mounted and run is the copy in the store, never the
// folder it came from. Below Store.Dir, which root alone can write:
//
//	sha256/<hex>/   one sealed skill, named by its digest
//	tmp/            copies under way; what a kill leaves is swept by Store.Sweep
//	lock            held shared (flock(2)) by every Add, exclusively by Sweep
//
// The copy is made and hashed in one pass: the bytes that are written are the
// bytes that are hashed, so a file that changes meanwhile can't make the two
// differ. An entry appears by one rename and is never changed afterwards. Owner
// becomes root, modes become 0644 or 0755 (any execute bit counts), setuid,
// setgid, sticky, times, extended attributes and file capabilities are not
// copied.
//
// The folder is walked from one opened directory with openat2(2), RESOLVE_BENEATH,
// RESOLVE_NO_SYMLINKS, RESOLVE_NO_MAGICLINKS and RESOLVE_NO_XDEV, one name at a
// time. Regular files, directories, and symbolic links that are relative and
// stay inside are taken; everything else is an error that names it.
//
// # The digest
//
// "sha256:" and the lower-case hexadecimal SHA-256 of the canonical manifest. It
// is the line "clawsup-skill 1" and then one line per entry below the folder
// (the folder itself has none), sorted by path as bytes. Every line, the first
// included, ends with a line feed; fields are separated by one NUL byte:
//
//	d NUL path
//	f NUL x NUL size NUL sha256 NUL path
//	l NUL target NUL path
//
// x is "x" for a file with an execute bit, else "-"; size is decimal without
// leading zeros; sha256 is the lower-case hexadecimal hash of the content; path
// is relative, with slashes. No name and no target holds a control character, so
// a line can be read one way only. Times, owners and other mode bits don't count,
// nor does the name of the folder: two folders with the same digest run alike.
//
// # Limits
//
// The Max constants bound everything that a stranger chooses. An explicit path
// given to Find may lead through symbolic links, because an operator typed it;
// one who passes on a reference from an agent must refuse anything but names.
// Find and Add are not one step, but Add refuses any symbolic link on the way to
// the folder that Find returned, so a folder swapped for a link in between is an
// error. Whoever can write the folder can change it until Add has read it; the
// digest that Add returns is what was taken.
package skills

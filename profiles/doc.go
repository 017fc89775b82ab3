// SPDX-License-Identifier: Apache-2.0

// Package profiles reads the TOML files that say what a sandbox may see, use
// and ask for.
//
// # From a name to effective values
//
// [Load] takes a name or a path and returns a [Loaded]: the effective [Profile],
// which file set each value, and a digest. It works in four steps:
//
//  1. Find the file. A name is looked up in the operator's directories, in their
//     order, and then among the built-in profiles. A file in a directory stands
//     in for a built-in of its name only if root owns it. A file is opened once,
//     without following a symbolic link at its end, must be a regular file of at
//     most 256 KiB, and is judged and read through that one descriptor.
//  2. Parse it. An unknown key, a wrong type, a value out of range and a list
//     entry that may not be there are errors with file, line and a remedy.
//  3. Resolve its ancestors. "extends" names one parent; a file without it
//     extends "default". A chain holds at most 8 files and may not return to
//     one it came from. A file called like a built-in that extends its own name
//     means the built-in; the parents of built-ins are built-ins.
//  4. Lay each file over its parent, oldest first. Every key replaces the
//     parent's value, but environment.set, whose names are added to the parent's,
//     and rules about destinations, see below.
//     The result must not contradict itself.
//
// # Who may widen
//
// A profile gets at most what its parent has. Only a file that root owns (uid
// 0, and neither it nor its directory writable by group or others) may widen
// its parent, since who writes it could as well change the configuration. The
// built-in profiles keep to the rule like anybody else; the ones that need
// more than default have no parent and set every key themselves.
//
// What "at most" means is the order of each key, a column of the one table of
// keys in keys.go. Parsing, the check against the parent, [Show], [Schema],
// [Reference] and the digest all come from that table: a key is one row there
// and a field of [Profile]. For environment variables an unprivileged file may
// neither add a name nor change a value, because a changed HOME or PATH is
// another program's configuration rather than less of it.
//
// # Destinations
//
// A file with [[network.rule]] or network.default adds a [NetworkLevel] to those
// of its ancestors. Package policy lets each level decide by itself and takes
// the strictest, so that rules need no order among them and can only take away.
// For the first level of a chain there is nothing that it could be stricter
// than: if root doesn't own its file, a level that asks about everything goes
// before it. How a host, a method and a path are spelled is said here
// ([CheckHost], [CheckMethod], [NormalPath]) for policy too, which speaks of
// destinations in the same words.
//
// # The digest
//
// It is the SHA-256 of the effective values that bound the box, in the order of
// the key table and in one spelling each. Comments, formatting, the order of
// lists, the name, the description and how the values were inherited don't
// change it; any change of what the box may do does.
//
// # Limits of this package
//
// Paths are judged by their text: what they lead to when a box is made is for
// the runtime to resolve without following links. Names of seccomp groups are
// checked for their shape only; whether a group exists is known to the system
// call table. What a caller passes through environment.pass is not known here:
// the runtime judges each name and value with [CheckEnv]. A file that root owns is
// believed wherever it lies: don't name one by path in a tree that a box writes
// as root's, such as a workspace that root owns.
package profiles

//go:generate go test -run ^TestReference$ . -update

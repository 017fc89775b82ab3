// SPDX-License-Identifier: Apache-2.0

// Package summary lays out for people what a call did to its workspace: in the
// commands about change sets, in the question on a terminal, and at the desk.
//
// What can't be brought back by itself comes first: what was deleted, then what
// was modified, renamed, created and changed, and at last what is never committed.
// Within a kind the order is that of the paths. Each entry has a number in this
// order, from 1, by which a person names it. A directory that is deleted or
// created whole is one line with the numbers of all that is in it, so that
// nothing is hidden and the numbers of the lines add up to the whole.
//
//	s := summary.Of(entries)
//	for _, l := range s.Folded() { ... }
//	e := s.Entry(7)
//
// All text is made visible (package visible), and paths are shown so that Path
// reads them again, whatever bytes are in them.
package summary

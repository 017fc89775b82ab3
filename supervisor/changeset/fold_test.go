// SPDX-License-Identifier: Apache-2.0

package changeset

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Line is one line of what the tests look at a set by: an entry, or a directory that was created or
// deleted with all that went the same way in it.
type Line struct {
	Kind    Kind       `json:"kind"`
	Type    Type       `json:"type"` // after, and of what is deleted before
	Path    raw.String `json:"path"`
	From    raw.String `json:"from,omitempty"`   // of Renamed where it was, of Created where the same content was Deleted
	To      raw.String `json:"to,omitempty"`     // of Deleted where the same content was Created
	Link    raw.String `json:"link,omitempty"`   // as the entry's
	Target  raw.String `json:"target,omitempty"` // as the entry's
	Entries int        `json:"entries"`          // that it stands for; those of all lines are those of the set
	Added   int64      `json:"added"`            // bytes, as in Count
	Removed int64      `json:"removed"`          // bytes, as in Count
	Notes   Notes      `json:"notes,omitempty"`  // of any of its entries
}

// alone are notes of entries that are never folded into a directory's line.
const alone = Conflict | Leaves | Privileged

// shown is the order of the kinds in a summary.
var shown = [...]Kind{Deleted, Modified, Renamed, Created, Changed, Dropped}

// Lines folds a set for people: what is deleted first, then what is modified,
// renamed, created, changed and dropped, each in the order of paths. Nothing
// is left out: entries and bytes of the lines add up to those of the set.
func (s *Set) Lines() []Line {
	var byKind [len(kindNames)][]Line
	var tops [len(kindNames)]int // the line of the directory that the kind's entries are folded into, and one
	from := s.Moves()
	to := make(map[int]int, len(from))
	for created, deleted := range from {
		to[deleted] = created
	}
	for i := range s.Entries {
		e := &s.Entries[i]
		if int(e.Kind) >= len(byKind) {
			continue // Walk and Decode give none
		}
		lines, top := &byKind[e.Kind], &tops[e.Kind]
		added, removed := e.bytes()
		if *top > 0 {
			l := &(*lines)[*top-1]
			switch {
			case !inside(string(l.Path), string(e.Path)):
				*top = 0
			case e.Notes&alone == 0:
				l.Entries++
				l.Added += added
				l.Removed += removed
				l.Notes |= e.Notes
				continue
			}
		}
		l := Line{
			Kind: e.Kind, Type: e.After.Type, Path: e.Path, From: e.From, Link: e.Link, Target: e.Target,
			Entries: 1, Added: added, Removed: removed, Notes: e.Notes,
		}
		if e.Kind == Deleted {
			l.Type = e.Before.Type
		}
		if other, ok := from[i]; ok {
			l.From = s.Entries[other].Path
		}
		if other, ok := to[i]; ok {
			l.To = s.Entries[other].Path
		}
		*lines = append(*lines, l)
		if *top == 0 && l.Type == Directory && (e.Kind == Deleted || e.Kind == Created) {
			*top = len(*lines)
		}
	}
	var all []Line
	for _, k := range shown {
		all = append(all, byKind[k]...)
	}
	return all
}

// String is the line without its end, everything that a stranger named made
// visible. It is as long as the names are.
func (l Line) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-8s %s", l.Kind, visible.Text(string(l.Path)))
	if l.Type == Directory {
		b.WriteString("/")
	}
	if l.From != "" {
		b.WriteString(", from " + visible.Text(string(l.From)))
	}
	if l.To != "" {
		b.WriteString(", now " + visible.Text(string(l.To)))
	}
	if l.Link != "" {
		b.WriteString(", the same file as " + visible.Text(string(l.Link)))
	}
	if l.Type == Symlink && l.Target != "" {
		b.WriteString(", a link to " + visible.Text(string(l.Target)))
	}
	if l.Type == Special {
		b.WriteString(", a device, FIFO or socket")
	}
	if l.Entries > 1 {
		b.WriteString(", with " + grouped(int64(l.Entries-1)) + " in it")
	}
	switch {
	case l.Kind == Modified && l.Type == Regular:
		b.WriteString(", " + grouped(l.Removed) + " bytes, now " + grouped(l.Added))
	case l.Added+l.Removed > 0 || l.Type == Regular && (l.Kind == Created && l.Link == "" || l.Kind == Deleted):
		b.WriteString(", " + grouped(l.Added+l.Removed) + " bytes")
	}
	if l.Notes != 0 {
		b.WriteString(" (" + l.Notes.String() + ")")
	}
	return b.String()
}

// grouped gives a number with its thousands set apart.
func grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// SPDX-License-Identifier: Apache-2.0

package summary

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// order is that of the kinds.
var order = []changeset.Kind{changeset.Deleted, changeset.Modified, changeset.Renamed, changeset.Created, changeset.Changed, changeset.Dropped}

// Summary is a change set in the order in which it is shown.
type Summary struct {
	entries []changeset.Entry
	order   []int32            // the places of entries, in that order
	twins   map[int]raw.String // by place: of what was created with the content of a deleted file that one's path, and the other way round
}

// Of makes the summary of a set's entries, which it keeps.
func Of(entries []changeset.Entry) *Summary {
	s := &Summary{entries: entries, order: make([]int32, 0, len(entries))}
	for _, k := range order {
		for i := range entries {
			if entries[i].Kind == k {
				s.order = append(s.order, int32(i))
			}
		}
	}
	for created, deleted := range (&changeset.Set{Entries: entries}).Moves() {
		if s.twins == nil {
			s.twins = map[int]raw.String{}
		}
		s.twins[created], s.twins[deleted] = entries[deleted].Path, entries[created].Path
	}
	return s
}

// Len is how many entries there are.
func (s *Summary) Len() int { return len(s.order) }

// Entry gives the entry with a number, from 1 to Len.
func (s *Summary) Entry(number int) *changeset.Entry { return &s.entries[s.order[number-1]] }

// Line is an entry, or a directory with all that is in it.
type Line struct {
	First, Last int // numbers of the entries
	Kind        changeset.Kind
	Path        raw.String
	What        string   // what there is to say beside the path; may be empty
	Notes       []string // what a person has to know before saying yes
}

// Number is how a person names what a line stands for: 7, or 7-31.
func (l *Line) Number() string {
	if l.First == l.Last {
		return fmt.Sprint(l.First)
	}
	return fmt.Sprintf("%d-%d", l.First, l.Last)
}

// Name is the path as it is shown: a directory's ends in a slash.
func (l *Line) Name() string { return visible.Text(string(l.Path)) + l.slash() }

func (l *Line) slash() string {
	if l.First < l.Last {
		return "/"
	}
	return ""
}

// All gives a line for every entry.
func (s *Summary) All() []Line {
	lines := make([]Line, 0, s.Len())
	for n := 1; n <= s.Len(); n++ {
		lines = append(lines, s.single(n))
	}
	return lines
}

// Folded gives one line for each directory that was deleted or created whole,
// and one for each other entry.
func (s *Summary) Folded() []Line {
	var lines []Line
	for n := 1; n <= s.Len(); {
		last := s.whole(n)
		if last == n {
			lines = append(lines, s.single(n))
		} else {
			lines = append(lines, s.folded(n, last))
		}
		n = last + 1
	}
	return lines
}

// whole gives the number of the last entry that lies in the directory with a
// number, if that was deleted or created; else the number itself.
func (s *Summary) whole(number int) int {
	e := s.Entry(number)
	if e.Kind != changeset.Deleted && e.Kind != changeset.Created || state(e).Type != changeset.Directory {
		return number
	}
	for number < s.Len() {
		next := s.Entry(number + 1)
		if next.Kind != e.Kind || !strings.HasPrefix(string(next.Path), string(e.Path)+"/") {
			break
		}
		number++
	}
	return number
}

// state is what an entry is about: what is there, or what was.
func state(e *changeset.Entry) *changeset.State {
	if e.Kind == changeset.Deleted {
		return &e.Before
	}
	return &e.After
}

// folded is the line of a directory with all that is in it.
func (s *Summary) folded(first, last int) Line {
	e := s.Entry(first)
	l := Line{First: first, Last: last, Kind: e.Kind, Path: e.Path}
	var bytes int64
	files := 0
	var grave []string
	others := map[changeset.Notes]int{}
	for n := first; n <= last; n++ {
		e := s.Entry(n)
		if st := state(e); st.Type != changeset.Directory {
			files++
			if st.Type == changeset.Regular && e.Link == "" {
				bytes += st.Size
			}
		}
		for note := range each(e.Notes) {
			if note&alone != 0 {
				grave = append(grave, fmt.Sprintf("%d %s: %s", n, visible.Text(string(e.Path)), note))
			} else {
				others[note]++
			}
		}
	}
	l.What = fmt.Sprintf("%s, %s in all", count(files, "file"), Bytes(bytes))
	if dirs := last - first + 1 - files; dirs > 1 {
		l.What = fmt.Sprintf("%s and %s", count(dirs-1, "directory"), l.What)
	}
	l.Notes = grave
	if more := len(grave) - maxNamed; more > 0 {
		l.Notes = append(grave[:maxNamed:maxNamed], fmt.Sprintf("and %d more such in it: each has its line where all paths are listed", more))
	}
	for _, note := range slices.Sorted(maps.Keys(others)) {
		l.Notes = append(l.Notes, fmt.Sprintf("%d of them: %s", others[note], note))
	}
	return l
}

// alone are the notes of entries that are named where they lie in a directory
// that is one line, as many as maxNamed.
const alone = changeset.Conflict | changeset.Leaves | changeset.Privileged

const maxNamed = 20

// each gives single notes, the gravest first.
func each(all changeset.Notes) iter.Seq[changeset.Notes] {
	return func(yield func(changeset.Notes) bool) {
		for note := changeset.Notes(1); note != 0; note <<= 1 {
			if all.Has(note) && !yield(note) {
				return
			}
		}
	}
}

// single is the line of one entry.
func (s *Summary) single(number int) Line {
	e := s.Entry(number)
	l := Line{First: number, Last: number, Kind: e.Kind, Path: e.Path, What: what(e), Notes: Notes(e)}
	if twin, ok := s.twins[int(s.order[number-1])]; ok {
		word := "content now in "
		if e.Kind == changeset.Created {
			word = "content from "
		}
		l.What += ", " + word + visible.Text(string(twin))
	}
	return l
}

// what says of an entry what its kind and its path don't.
func what(e *changeset.Entry) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	b, a := &e.Before, &e.After
	if e.From != "" {
		add("was %s", visible.Text(string(e.From)))
	}
	switch e.Kind {
	case changeset.Dropped:
		add("a device, FIFO or socket: never committed")
	case changeset.Deleted, changeset.Created:
		switch st := state(e); {
		case e.Link != "":
			add("another name of %s", visible.Text(string(e.Link)))
		case st.Type == changeset.Directory:
			add("a directory")
		case st.Type == changeset.Symlink && e.Kind == changeset.Deleted:
			add("a link")
		case st.Type != changeset.Symlink:
			add("%s", Bytes(st.Size))
		}
	case changeset.Modified:
		if b.Type != a.Type {
			add("%s, now a %s", b.Type, a.Type)
		}
		if a.Type == changeset.Regular {
			add("%s", sizes(b, a))
		}
	}
	if e.Target != "" {
		add("a link to %s", visible.Text(string(e.Target)))
	}
	if b.Type != changeset.None && a.Type != changeset.None {
		if b.Mode != a.Mode && a.Type != changeset.Symlink {
			add("mode %04o, now %04o", b.Mode, a.Mode)
		}
		if !slices.EqualFunc(b.Xattrs, a.Xattrs, func(x, y changeset.Xattr) bool { return x.Name == y.Name && string(x.Value) == string(y.Value) }) {
			add("other attributes")
		}
	}
	return strings.Join(parts, ", ")
}

// sizes says how large a file was and is.
func sizes(b, a *changeset.State) string {
	if b.Type != changeset.Regular {
		return Bytes(a.Size)
	}
	was, is := Bytes(b.Size), Bytes(a.Size)
	switch d := a.Size - b.Size; {
	case was != is:
		return was + ", now " + is
	case d > 0:
		return fmt.Sprintf("%s, %dB more", is, d)
	case d < 0:
		return fmt.Sprintf("%s, %dB less", is, -d)
	}
	return is + " as before"
}

// Notes gives an entry's notes in words, the gravest first.
func Notes(e *changeset.Entry) []string {
	var list []string
	for note := range each(e.Notes) {
		list = append(list, note.String())
	}
	return list
}

// Total is a count in words, with the sum that the numbers come to.
func Total(c changeset.Count) string {
	n := c.Created + c.Modified + c.Deleted + c.Renamed + c.Changed + c.Dropped
	return fmt.Sprintf("%s: %s; %s new, %s gone", count(n, "path"), c, Bytes(c.Added), Bytes(c.Removed))
}

// count is a number of things.
func count(n int, thing string) string {
	switch {
	case n == 1:
		return "1 " + thing
	case strings.HasSuffix(thing, "y"):
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(thing, "y"))
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// Bytes is a size for people.
func Bytes(n int64) string {
	units := "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%dB", n)
	}
	f, i := float64(n)/1024, 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return fmt.Sprintf("%.1f%c", f, units[i])
}

// SPDX-License-Identifier: Apache-2.0

package audit

import "fmt"

// Fault says what is wrong with a log.
type Fault uint8

const (
	Edited    Fault = iota + 1 // a line that its key didn't sign as it is
	Reordered                  // an entry stands elsewhere than where it was written, or twice
	Missing                    // entries From to To aren't there, though later ones are
	Truncated                  // entries From to To, at the end, aren't there, though the anchor is ahead
	Foreign                    // a line, or the anchor, is signed with another key than the one given
	Forked                     // signed with the right key, but not what the entry after it, or the anchor, knows: an older log was put back and went on
	Torn                       // half a line at the end, as a crash leaves it; Open will see to it
)

var faults = [...]string{
	Edited: "edited", Reordered: "reordered", Missing: "missing", Truncated: "truncated",
	Foreign: "foreign key", Forked: "forked", Torn: "torn",
}

// String is the fault in a word or two.
func (f Fault) String() string {
	if f == 0 || int(f) >= len(faults) {
		return fmt.Sprintf("fault %d", uint8(f))
	}
	return faults[f]
}

// Problem is one thing that is wrong with a log, and where.
type Problem struct {
	Fault    Fault
	File     string // name of the segment, "anchor", or empty
	Line     int    // in the segment, from 1; 0 if it is about no line
	From, To uint64 // sequence numbers of the entries concerned; 0 if unknown
	Detail   string
}

// Error is the problem in a sentence.
func (p *Problem) Error() string {
	s := p.Fault.String()
	switch {
	case p.From != 0 && p.From != p.To:
		s += fmt.Sprintf(": entries %d to %d", p.From, p.To)
	case p.From != 0:
		s += fmt.Sprintf(": entry %d", p.From)
	}
	if p.Line != 0 {
		s += fmt.Sprintf(": %s line %d", p.File, p.Line)
	} else if p.File != "" {
		s += ": " + p.File
	}
	if p.Detail != "" {
		s += ": " + p.Detail
	}
	return s
}

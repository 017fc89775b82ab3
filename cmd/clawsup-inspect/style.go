// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/clawsup/clawsup/supervisor/visible"
)

// maxLine bounds, in bytes, what is shown of one line; around is how much of it
// stands before the place where it differs.
const (
	maxLine = 500
	around  = 100
)

// style is how lines are shown: see package difference.
type style struct {
	returns bool // every line ends in a carriage return, which is not shown
}

// Characters that stand for others, and are escaped where they are themselves.
const (
	tab      = "→"
	space    = "·"
	carriage = "␍"

	tabWidth = 4 // columns
)

// returns says whether all lines of a text end in a carriage return and a line feed.
func returns(text []byte) bool {
	feeds := bytes.Count(text, []byte("\n"))
	return len(text) == 0 || feeds > 0 && text[len(text)-1] == '\n' && bytes.Count(text, []byte("\r\n")) == feeds
}

// line gives a line of a difference as it is shown, and a line of clawsup's
// beneath where not all of it stands for itself. same is how many bytes of it
// are in the other content's line too.
func (s style) line(l string, same int) []string {
	mark, text := l[:1], strings.TrimSuffix(l[1:], "\n")
	if s.returns {
		text = strings.TrimSuffix(text, "\r")
	}
	part, from := window(text, same)
	shown, escaped := s.show(part)
	var notes []string
	if len(part) < len(text) {
		notes = append(notes, fmt.Sprintf("has %d bytes, and these are %d to %d", len(text), from+1, from+len(part)))
	}
	if escaped {
		notes = append(notes, `has escapes, and a \ of its own is \\`)
	}
	lines := []string{mark + shown}
	if notes != nil {
		lines = append(lines, "@the line above "+strings.Join(notes, "; "))
	}
	return lines
}

// window cuts a long line to the part that matters, at whole characters.
func window(text string, same int) (part string, from int) {
	if len(text) <= maxLine {
		return text, 0
	}
	if same > maxLine-around {
		from = min(same-around, len(text)-maxLine)
	}
	for from > 0 && !utf8.RuneStart(text[from]) {
		from--
	}
	end := min(from+maxLine, len(text))
	for end < len(text) && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[from:end], from
}

// show gives a text as it is shown, and whether something in it is an escape.
func (s style) show(text string) (shown string, escaped bool) {
	end := ""
	if rest, cut := strings.CutSuffix(text, "\r"); cut {
		text, end = rest, carriage
	}
	body := strings.TrimRight(text, " "+space)
	blanks := text[len(body):]
	escaped = strings.Contains(blanks, space) || strings.ContainsAny(body, tab+carriage)
	parts := strings.Split(body, "\t")
	for _, part := range parts {
		escaped = escaped || visible.Line(part) != part
	}
	var b strings.Builder
	column := 0
	for i, part := range parts {
		if i > 0 {
			fill := tabWidth - column%tabWidth
			b.WriteString(tab + strings.Repeat(" ", fill-1))
			column += fill
		}
		if escaped {
			part = visible.Line(escapes.Replace(part))
		}
		b.WriteString(part)
		column += utf8.RuneCountInString(part)
	}
	b.WriteString(ends.Replace(blanks))
	return b.String() + end, escaped
}

var (
	escapes = strings.NewReplacer(`\`, `\\`, tab, `\u2192`, carriage, `\u240d`)
	ends    = strings.NewReplacer(" ", space, space, `\u00b7`)
)

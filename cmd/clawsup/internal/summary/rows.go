// SPDX-License-Identifier: Apache-2.0

package summary

import (
	"fmt"
	"strings"

	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Sort is what a row is.
type Sort int

// The sorts.
const (
	Head Sort = iota // of a kind
	Item             // of a line
	Note             // beneath one: what a person has to know
)

// Row is a row of text, of at most the width that was asked for.
type Row struct {
	Sort  Sort
	Kind  changeset.Kind
	Line  int    // the place of the line in the list that it is of; -1 of a Head
	First bool   // of its line
	Text  string // made visible
}

// Rows lays lines out, at least 30 columns wide: under a head for each kind the
// number, the path and what there is to say, behind three columns that are left
// empty. Nothing is cut.
func Rows(lines []Line, width int) []Row {
	width = max(width, 30)
	column := 0
	paths := map[changeset.Kind]int{}
	for i := range lines {
		column = max(column, len(lines[i].Number()))
		paths[lines[i].Kind] += lines[i].Last - lines[i].First + 1
	}
	indent := strings.Repeat(" ", 3+column+2)
	var rows []Row
	for i := range lines {
		l := &lines[i]
		if i == 0 || lines[i-1].Kind != l.Kind {
			rows = append(rows, Row{Head, l.Kind, -1, true, fmt.Sprintf("%s: %s", l.Kind, count(paths[l.Kind], "path"))})
		}
		text := l.Name()
		if l.What != "" {
			text += "  " + l.What
		}
		for k, part := range visible.Wrap(text, width-len(indent)) {
			lead := indent
			if k == 0 {
				lead = fmt.Sprintf("   %*s  ", column, l.Number())
			}
			rows = append(rows, Row{Item, l.Kind, i, k == 0, lead + part})
		}
		for _, n := range l.Notes {
			for k, part := range visible.Wrap(n, width-len(indent)-2) {
				lead := "! "
				if k > 0 {
					lead = "  "
				}
				rows = append(rows, Row{Note, l.Kind, i, false, indent + lead + part})
			}
		}
	}
	return rows
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/clawsup/clawsup/cmd/clawsup/internal/summary"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// table is a list for people, in columns.
type table struct{ tab *tabwriter.Writer }

func newTable(w io.Writer, heads ...string) *table {
	t := &table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	t.row(heads...)
	return t
}

// row adds a line. Everything in it is made visible; an empty cell is a dash.
func (t *table) row(cells ...string) {
	for i, c := range cells {
		if c = visible.Line(c); c == "" {
			c = "-"
		}
		cells[i] = c
	}
	fmt.Fprintln(t.tab, strings.Join(cells, "\t"))
}

func (t *table) flush() error { return t.tab.Flush() }

// maxCell bounds, in characters, what a list shows of a text that can be long.
const maxCell = 100

// clipped shortens what a list shows. 'show' and --json have all of it.
func clipped(text string) string {
	if r := []rune(text); len(r) > maxCell {
		return string(r[:maxCell-3]) + "..."
	}
	return text
}

// stamp is a moment for people; the zero one is none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}

// bytesText is a size for people.
func bytesText(n int64) string { return summary.Bytes(n) }

// sheet is one thing for people, a name and a value a line.
type sheet struct{ w io.Writer }

func (s sheet) add(name, format string, args ...any) {
	value := visible.Line(fmt.Sprintf(format, args...))
	if value != "" {
		fmt.Fprintf(s.w, "%-12s %s\n", name, value)
	}
}

// orEmpty makes an empty list of none, for JSON.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

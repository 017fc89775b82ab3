// SPDX-License-Identifier: Apache-2.0

package summary

import "github.com/clawsup/clawsup/supervisor/visible"

// Fold breaks a line of a difference into rows of at most width columns (at
// least 8). What goes on stands behind a '>', with which no line begins: the
// middle of a line can't pass for another one.
func Fold(line string, width int) []string {
	width = max(width, 8)
	var rows []string
	from, used := 0, 0
	mark := ""
	for i, r := range line {
		if used += visible.Column(r); used > width {
			rows = append(rows, mark+line[from:i])
			from, mark = i, ">"
			used = 1 + visible.Column(r)
		}
	}
	return append(rows, mark+line[from:])
}

// SPDX-License-Identifier: Apache-2.0

package desk

import "github.com/clawsup/clawsup/supervisor/visible"

// Cut shortens one of clawsup's own lines, or a line of the list, to width.
func Cut(text string, width int) string {
	used := 0
	for i, r := range text {
		if used += visible.Column(r); used > width {
			return cutBack(text[:i], width) + "~"
		}
	}
	return text
}

// cutBack makes room for the mark.
func cutBack(text string, width int) string {
	for visible.Columns(text) > width-1 && text != "" {
		r := []rune(text)
		text = string(r[:len(r)-1])
	}
	return text
}

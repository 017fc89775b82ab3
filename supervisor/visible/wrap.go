// SPDX-License-Identifier: Apache-2.0

package visible

// Wrap breaks text into lines of at most width columns (at least 4: a mark and
// a wide character), at spaces where it can. A line that goes on after a space
// begins with "| ", one that goes on in the middle of a word with "+ ".
func Wrap(text string, width int) []string {
	width = max(width, 4)
	var lines []string
	mark := ""
	for {
		end, space, used := len(text), -1, len(mark)
		for i, r := range text {
			if used += Column(r); used > width {
				end = i
				break
			}
			if r == ' ' {
				space = i
			}
		}
		switch {
		case end == len(text):
			return append(lines, mark+text)
		case text[end] == ' ':
			space = end
			fallthrough
		case space > 0:
			lines = append(lines, mark+text[:space])
			text, mark = text[space+1:], "| "
		default:
			lines = append(lines, mark+text[:end])
			text, mark = text[end:], "+ "
		}
	}
}

// Columns is how wide a terminal shows text, at most.
func Columns(text string) int {
	n := 0
	for _, r := range text {
		n += Column(r)
	}
	return n
}

// Column is the width of a character that this package lets through. From
// Hangul on it may be two (East Asian Width, Unicode Standard Annex 11).
func Column(r rune) int {
	if r >= 0x1100 {
		return 2
	}
	return 1
}

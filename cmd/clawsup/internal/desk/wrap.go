// SPDX-License-Identifier: Apache-2.0

package desk

// wrap breaks text into lines of at most width columns, at spaces where it
// can. A line that goes on after a space begins with "| ", one that goes on
// in the middle of a word with "+ ".
func wrap(text string, width int) []string {
	width = max(width, 4) // a mark and a wide character
	var lines []string
	mark := ""
	for {
		end, space, used := len(text), -1, len(mark)
		for i, r := range text {
			if used += column(r); used > width {
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

// Cut shortens one of clawsup's own lines, or a line of the list, to width.
func Cut(text string, width int) string {
	used := 0
	for i, r := range text {
		if used += column(r); used > width {
			return cutBack(text[:i], width) + "~"
		}
	}
	return text
}

// cutBack makes room for the mark.
func cutBack(text string, width int) string {
	for columns(text) > width-1 && text != "" {
		r := []rune(text)
		text = string(r[:len(r)-1])
	}
	return text
}

// columns is how wide a terminal shows text, at most.
func columns(text string) int {
	n := 0
	for _, r := range text {
		n += column(r)
	}
	return n
}

// column is the width of a character that visible lets through. From Hangul
// on it may be two (East Asian Width, Unicode Standard Annex 11).
func column(r rune) int {
	if r >= 0x1100 {
		return 2
	}
	return 1
}

// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/clawsup/clawsup/supervisor/visible"
)

// Widths of the printed columns; all together 88.
const (
	markWidth = 8
	nameWidth = 18
	textWidth = 60
)

// colours are those of a level's mark, as SGR parameters.
var colours = [...]string{Good: "32", Noted: "36", Unknown: "33", Lowered: "33;1", Broken: "31;1"}

// Write prints the findings for people under their headings, with hints on
// lines of their own, and a summary. Lines have 88 columns at most.
func Write(w io.Writer, found []Finding, colour bool) error {
	var b bytes.Buffer
	var group Group
	for _, f := range found {
		if f.Group != group {
			if group != "" {
				b.WriteByte('\n')
			}
			group = f.Group
			fmt.Fprintf(&b, "%s\n", group)
		}
		mark := fmt.Sprintf("%-*s", markWidth, f.Level)
		if colour {
			mark = "\x1b[" + colours[f.Level] + "m" + mark + "\x1b[m"
		}
		name := f.Name
		for _, line := range wrap(visible.Line(f.Text)) {
			fmt.Fprintf(&b, "  %s%-*s%s\n", mark, nameWidth, name, line)
			mark, name = strings.Repeat(" ", markWidth), ""
		}
		arrow := "-> "
		for _, line := range wrap(visible.Line(f.Hint)) {
			fmt.Fprintf(&b, "  %*s%s%s\n", markWidth+nameWidth, "", arrow, line)
			arrow = "   "
		}
	}
	fmt.Fprintf(&b, "\n%s\n", Summary(found))
	_, err := w.Write(b.Bytes())
	return err
}

// wrap breaks text at spaces into lines of textWidth where it can.
func wrap(text string) []string {
	var lines []string
	for word := range strings.FieldsSeq(text) {
		last := len(lines) - 1
		if last >= 0 && len(lines[last])+1+len(word) <= textWidth {
			lines[last] += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	return lines
}

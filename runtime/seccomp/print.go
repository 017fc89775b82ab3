// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// Widths of the printed columns; with the spaces between them 100.
const (
	callWidth   = 23
	answerWidth = 15
	whyWidth    = 100 - callWidth - answerWidth - 2
)

// WriteTable prints the policy that Compile makes of groups for people: call,
// answer, condition and reason by group, then what happens to all other calls.
// Lines have 100 columns at most. Unknown groups are an error as in Compile.
func WriteTable(w io.Writer, groups []string) error {
	set, err := groupSet(groups)
	if err != nil {
		return err
	}
	rows := effective(set)
	docs := make(map[Group]string)
	for _, g := range Groups() {
		docs[g.Name] = g.Doc
	}
	var b bytes.Buffer
	for _, g := range set {
		for _, line := range wrap(fmt.Sprintf("group %s: %s", g, docs[g]), 100) {
			fmt.Fprintln(&b, line)
		}
		fmt.Fprintln(&b)
		printRow(&b, "CALL", "ANSWER", "WHEN: WHY")
		for _, r := range rows {
			if r.Group != g {
				continue
			}
			text := r.Why
			if len(r.When) > 0 {
				text = r.condition() + ": " + text
			}
			printRow(&b, r.Call, r.Answer.String(), text)
		}
		fmt.Fprintln(&b)
	}
	fmt.Fprintf(&b, "Every other call, and every other argument of the calls above: %s.\n", Refuse)
	fmt.Fprintf(&b, "Calls newer than this table (number above %d): %s.\n", newest, Absent)
	fmt.Fprintln(&b, "Calls of another architecture (int 0x80, x32): the process is killed (SIGSYS).")
	_, err = w.Write(b.Bytes())
	return err
}

// printRow prints one row, on as many lines as its text needs.
func printRow(w io.Writer, call, answer, text string) {
	for _, line := range wrap(text, whyWidth) {
		fmt.Fprintf(w, "%-*s %-*s %s\n", callWidth, call, answerWidth, answer, line)
		call, answer = "", ""
	}
}

// wrap breaks text at spaces into lines of width columns at most.
func wrap(text string, width int) []string {
	var lines []string
	for word := range strings.FieldsSeq(text) {
		last := len(lines) - 1
		if last >= 0 && len(lines[last])+1+len(word) <= width {
			lines[last] += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	return lines
}

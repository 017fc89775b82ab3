// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/gabriel-vasile/mimetype"
	unified "github.com/rogpeppe/go-internal/diff"

	"github.com/clawsup/clawsup/supervisor/difference"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// diff compares the two contents that come in and prints how they differ.
func diff(stdin io.Reader, stdout io.Writer) error {
	before, after, err := difference.Receive(bufio.NewReader(stdin))
	if err != nil {
		return err
	}
	a := compare(before, after)
	out, err := a.Encode()
	if err != nil {
		return err
	}
	_, err = stdout.Write(out)
	return err
}

// compare says how one content differs from the other.
func compare(before, after difference.Content) difference.Answer {
	a := difference.Answer{Lines: []string{}}
	for _, c := range []struct {
		when string
		difference.Content
	}{{"before", before}, {"after", after}} {
		if c.Cut() {
			a.Add(fmt.Sprintf("@of the content %s, the first %d of %d bytes are compared", c.when, len(c.Bytes), c.Size))
			a.Cut = true
		}
	}
	same := bytes.Equal(before.Bytes, after.Bytes)
	switch {
	case same && a.Cut:
		a.Add("@as far as that goes they are the same")
	case same && before.There && after.There:
		a.Add("@the content is the same")
	case same:
		a.Add("@it is empty")
	case before.Text() && after.Text():
		compareText(&a, before, after)
	default:
		compareData(&a, before, after)
	}
	return a
}

// compareData says what contents are that can't be shown.
func compareData(a *difference.Answer, before, after difference.Content) {
	for _, c := range []struct {
		mark string
		difference.Content
	}{{"-", before}, {"+", after}} {
		if c.There {
			a.Add(fmt.Sprintf("%s%s, %d bytes", c.mark, kind(&c.Content), c.Size))
		}
	}
	if before.There && after.There {
		a.Add(fmt.Sprintf("@they are the same up to byte %d", common(before.Bytes, after.Bytes)))
	}
}

// kind is what a content seems to be, by its first bytes.
func kind(c *difference.Content) string {
	if len(c.Bytes) == 0 {
		return "nothing"
	}
	name, _, _ := strings.Cut(mimetype.Detect(c.Bytes).String(), ";")
	switch {
	case name == "application/octet-stream":
		name = "data of no known kind"
	case c.Text():
		name += ", text"
	}
	return visible.Line(name)
}

// common is how many bytes both begin with.
func common[T string | []byte](x, y T) int {
	n := min(len(x), len(y))
	for i := range n {
		if x[i] != y[i] {
			return i
		}
	}
	return n
}

// noLineFeed is how package diff says that the last line has none.
const noLineFeed = "\\ No newline at end of file\n"

// compareText gives the unified difference of two texts, with three lines around
// each change. The time it takes grows with n log n of their lines.
func compareText(a *difference.Answer, before, after difference.Content) {
	s := style{returns: returns(before.Bytes) && returns(after.Bytes)}
	if s.returns {
		a.Add(`@all lines end in a carriage return and a line feed`)
	}
	out := unified.Diff("", whole(before), "", whole(after))
	for range 3 { // its head: names, which root has
		_, out, _ = bytes.Cut(out, []byte("\n"))
	}
	lines := strings.SplitAfter(string(out), "\n")
	lines = lines[:len(lines)-1]
	added, removed := 0, 0
	for _, l := range lines {
		switch l[0] {
		case '+':
			added++
		case '-':
			removed++
		}
	}
	a.Add(fmt.Sprintf("@lines: %d added, %d removed", added, removed))
	twins := pair(lines)
	for i, l := range lines {
		var shown []string
		switch {
		case l == noLineFeed:
			shown = []string{"@the line above has no line feed at its end"}
		case l[0] == '@':
			shown = []string{strings.TrimSuffix(l, "\n")}
		default:
			shown = s.line(l, twins[i])
		}
		for _, l := range shown {
			if !a.Add(l) {
				a.Close(fmt.Sprintf("@%d lines more are not shown", len(lines)-i))
				return
			}
		}
		a.Cut = a.Cut || len(l) > maxLine
	}
}

// whole leaves out the last line of a content that was cut off in it.
func whole(c difference.Content) []byte {
	if end := bytes.LastIndexByte(c.Bytes, '\n'); c.Cut() && end >= 0 {
		return c.Bytes[:end+1]
	}
	return c.Bytes
}

// pair gives, by the number of a removed or added line, how many bytes it has in
// common with the line of the other sort that took its place, or whose place it
// took. Runs of removed lines stand right before runs of added ones.
func pair(lines []string) map[int]int {
	twins := map[int]int{}
	for i := 0; i < len(lines); i++ {
		var removed, added []int
		for ; i < len(lines) && (lines[i][0] == '-' || lines[i] == noLineFeed); i++ {
			if lines[i][0] == '-' {
				removed = append(removed, i)
			}
		}
		for ; i < len(lines) && lines[i][0] == '+'; i++ {
			added = append(added, i)
		}
		for k := range min(len(removed), len(added)) {
			x, y := lines[removed[k]], lines[added[k]]
			if len(x) > maxLine || len(y) > maxLine {
				n := common(x[1:], y[1:])
				twins[removed[k]], twins[added[k]] = n, n
			}
		}
		if len(removed)+len(added) > 0 {
			i-- // where neither run goes on may begin the next
		}
	}
	return twins
}

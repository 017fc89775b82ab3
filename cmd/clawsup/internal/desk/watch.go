// SPDX-License-Identifier: Apache-2.0

package desk

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Of a watched call, so many lines are kept at least, and at most twice as many,
// each of so many bytes. What is longer goes on in another line.
const (
	maxOutput = 2000
	maxLine   = 4 << 10
)

// watch is the output of a call that somebody follows.
type watch struct {
	call    api.Call
	cancel  context.CancelFunc
	streams [2]stream
	lines   []string // with the mark of their stream
	missed  int      // lines that are not kept any more
	back    int      // lines between the end and what is shown
	over    string   // how it ended
}

// stream is one of the two that a call writes.
type stream struct {
	writer *visible.Writer
	buffer bytes.Buffer
	open   bool // its last line goes on
	at     int  // which that is, the lines missed included
}

// marks begin the lines of stdout and stderr.
var marks = [2]string{"  ", "! "}

func newWatch(call api.Call, cancel context.CancelFunc) *watch {
	w := &watch{call: call, cancel: cancel}
	for i := range w.streams {
		w.streams[i].writer = visible.NewWriter(&w.streams[i].buffer)
	}
	return w
}

// write takes what the call wrote to stream 1 or 2.
func (w *watch) write(n int, data []byte) {
	if n < 1 || n > len(w.streams) {
		return
	}
	s := &w.streams[n-1]
	_, _ = s.writer.Write(data) // a buffer takes everything
	text := strings.ReplaceAll(ansi.Strip(s.buffer.String()), "\r\n", "\n")
	s.buffer.Reset()
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r", "\n"), "\t", "    ")
	for part := range strings.Lines(text) {
		line, ends := strings.CutSuffix(part, "\n")
		for len(line) > maxLine {
			end := maxLine
			for !utf8.RuneStart(line[end]) {
				end--
			}
			w.add(s, marks[n-1], line[:end], false)
			line = line[end:]
		}
		w.add(s, marks[n-1], line, ends)
	}
}

// add appends to the line that a stream is at, or begins one.
func (w *watch) add(s *stream, mark, text string, ends bool) {
	if s.open && s.at >= w.missed && len(w.lines[s.at-w.missed])+len(text) <= maxLine {
		w.lines[s.at-w.missed] += text
	} else {
		w.lines = append(w.lines, mark+text)
		s.at = w.missed + len(w.lines) - 1
	}
	s.open = !ends
	if extra := len(w.lines) - maxOutput; extra > maxOutput { // not line by line: that would copy all each time
		w.lines = append([]string(nil), w.lines[extra:]...)
		w.missed += extra
	}
}

func (w *watch) ended(msg watchEnded) {
	switch r := msg.call.Result; {
	case msg.err != nil:
		w.over = "it can't be watched any more: " + visible.Line(msg.err.Error())
	case r == nil:
		w.over = "it is over: " + visible.Line(msg.call.Reason)
	case r.ExitCode >= 0:
		w.over = fmt.Sprintf("it is over: %s with status %d", r.Status, r.ExitCode)
	default:
		w.over = fmt.Sprintf("it is over: %s, %s", r.Status, visible.Line(r.Message))
	}
}

// rows gives the last lines, wrapped, that fit.
func (w *watch) rows(width, height int) []string {
	var all []string
	from := max(0, len(w.lines)-height-w.back) // a line takes a row at least
	for _, l := range w.lines[from:] {
		mark, text := l[:2], l[2:]
		for _, part := range strings.Split(ansi.Hardwrap(text, max(1, width-2), true), "\n") {
			all = append(all, mark+part)
		}
	}
	w.back = max(0, min(w.back, len(all)-height))
	end := len(all) - w.back
	return all[max(0, end-height):end]
}

// SPDX-License-Identifier: Apache-2.0

package visible

import (
	"bytes"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxSequence bounds, in bytes, a colour sequence that is let through.
const maxSequence = 64

// Writer passes text on to a terminal. Line feeds, tabs, carriage returns and
// colour sequences (SGR of ECMA-48, without its concealed text) pass; every
// other character that does not print is shown as an escape. What was written
// is passed on at once, but for the beginning of a character or sequence
// whose end is still to come. One goroutine at a time may use it.
type Writer struct {
	to      io.Writer
	held    []byte // the beginning of a character or sequence
	colours bool   // a colour was set and not reset
}

// NewWriter makes a Writer in front of to.
func NewWriter(to io.Writer) *Writer { return &Writer{to: to} }

// Write passes p on. It returns len(p) unless the writer behind it fails.
func (w *Writer) Write(p []byte) (int, error) {
	in := append(w.held, p...)
	var out bytes.Buffer
	for len(in) > 0 {
		n := w.next(&out, in, false)
		if n == 0 {
			break
		}
		in = in[n:]
	}
	w.held = bytes.Clone(in)
	if _, err := w.to.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close shows what was held back and sets the colours to normal. It does not
// close the writer behind it.
func (w *Writer) Close() error {
	var out bytes.Buffer
	for len(w.held) > 0 {
		w.held = w.held[w.next(&out, w.held, true):]
	}
	if w.colours {
		out.WriteString("\x1b[m")
	}
	_, err := w.to.Write(out.Bytes())
	return err
}

// next writes the first character or sequence of in and returns its length; 0
// if its end has not come. At the end of all, it is never 0.
func (w *Writer) next(out *bytes.Buffer, in []byte, end bool) int {
	if in[0] == '\x1b' {
		n, whole := sequence(in)
		switch {
		case !whole && !end:
			return 0
		case whole && n > 0:
			w.colours = !isReset(in[:n])
			out.Write(in[:n])
			return n
		}
		out.WriteString(`\x1b`)
		return 1
	}
	if !end && !utf8.FullRune(in) {
		return 0
	}
	r, n := utf8.DecodeRune(in)
	switch {
	case r == '\n', r == '\t', r == '\r':
	case r == utf8.RuneError && n == 1, !strconv.IsPrint(r) && !unicode.Is(unicode.Zs, r):
		out.WriteString(code(string(in[:n])))
		return n
	}
	out.Write(in[:n])
	return n
}

// sequence looks at in, which begins with ESC. whole says that enough of it is
// there to tell; n is then the length of a colour sequence, 0 for anything else.
func sequence(in []byte) (n int, whole bool) {
	if len(in) < 2 {
		return 0, false
	}
	if in[1] != '[' {
		return 0, true
	}
	for i, c := range in[2:] {
		switch {
		case i+3 > maxSequence:
			return 0, true
		case c >= '0' && c <= '9', c == ';', c == ':':
		case c == 'm' && !conceals(string(in[2:2+i])):
			return i + 3, true
		default:
			return 0, true
		}
	}
	return 0, len(in) >= maxSequence
}

// conceals reports whether the parameters of an SGR sequence hide text.
// Those of an extended colour (38, 48, 58) are numbers of a colour.
func conceals(params string) bool {
	list := strings.Split(params, ";")
	for i := 0; i < len(list); i++ {
		switch strings.TrimLeft(list[i], "0") {
		case "8":
			return true
		case "38", "48", "58":
			if i+1 == len(list) {
				return false
			}
			switch strings.TrimLeft(list[i+1], "0") {
			case "5":
				i += 2
			case "2":
				i += 4
			}
		}
	}
	return false
}

func isReset(seq []byte) bool { return strings.Trim(string(seq), "\x1b[0;m") == "" }

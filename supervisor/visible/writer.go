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
// harmless colour sequences (SGR of ECMA-48: see renditions) pass; every other
// character that does not print is shown as an escape. What was written
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
		case c >= '0' && c <= '9', c == ';':
		case c == 'm' && harmless(string(in[2:2+i])):
			return i + 3, true
		default:
			return 0, true
		}
	}
	return 0, len(in) >= maxSequence
}

// renditions are the SGR parameters that pass: with none of them, and no mix
// of them, text disappears. Missing are concealed and faint text, backgrounds
// and inverse, which can be the colour of the text, colours by number, which
// can be that of the screen, and black and white, which are that of most
// screens. A person's own palette can still make one of these colours vanish.
var renditions = map[string]bool{
	"1": true, "22": true, // bold, not bold
	"3": true, "23": true, "4": true, "24": true, // italic, underlined
	"31": true, "32": true, "33": true, "34": true, "35": true, "36": true, "39": true,
	"90": true, "91": true, "92": true, "93": true, "94": true, "95": true, "96": true,
}

// harmless reports whether the parameters of an SGR sequence hide nothing.
func harmless(params string) bool {
	for p := range strings.SplitSeq(params, ";") {
		if number := strings.TrimLeft(p, "0"); number != "" && !renditions[number] { // "", "0" and "00" are normal
			return false
		}
	}
	return true
}

func isReset(seq []byte) bool { return strings.Trim(string(seq), "\x1b[0;m") == "" }

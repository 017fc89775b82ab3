// SPDX-License-Identifier: Apache-2.0

package difference

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/clawsup/clawsup/supervisor/visible"
)

// Bounds of an answer.
const (
	MaxAnswer = 512 << 10 // bytes, as JSON
	MaxText   = 128 << 10 // bytes of all lines: written as JSON at its worst, they fit a frame
	MaxLines  = 2000
)

// Answer is the JSON object that clawsup-inspect prints.
type Answer struct {
	Lines []string `json:"lines"` // see the package's comment
	Cut   bool     `json:"cut,omitempty"`

	size int // bytes of the lines
}

// Add appends a line, unless there is no room left for it and for a last word
// about that. Then the answer is Cut.
func (a *Answer) Add(line string) bool {
	if len(a.Lines) >= MaxLines-1 || a.size+len(line) > MaxText-reserve {
		a.Cut = true
		return false
	}
	a.size += len(line)
	a.Lines = append(a.Lines, line)
	return true
}

// Close appends the last word, for which Add leaves the room.
func (a *Answer) Close(line string) { a.Lines = append(a.Lines, line) }

// reserve is for the last word, in bytes.
const reserve = 200

// Encode gives the answer as JSON with a line feed.
func (a *Answer) Encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(a); err != nil {
		return nil, err
	}
	if b.Len() > MaxAnswer {
		return nil, fmt.Errorf("the answer has %d bytes, at most %d are read", b.Len(), MaxAnswer)
	}
	return b.Bytes(), nil
}

// DecodeAnswer reads what clawsup-inspect printed. The program had read hostile
// bytes and may not be itself any more, so: one object, no unknown or missing
// field, all bounds kept, every line of a kind and visible.
func DecodeAnswer(out []byte) (Answer, error) {
	if len(out) > MaxAnswer {
		return Answer{}, fmt.Errorf("clawsup-inspect printed %d bytes, at most %d are read", len(out), MaxAnswer)
	}
	d := json.NewDecoder(bytes.NewReader(out))
	d.DisallowUnknownFields()
	var a Answer
	if err := d.Decode(&a); err != nil {
		return Answer{}, fmt.Errorf("clawsup-inspect printed something else than a difference: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Answer{}, errors.New("clawsup-inspect printed more than one difference")
	}
	switch {
	case a.Lines == nil:
		return Answer{}, errors.New("clawsup-inspect printed no lines")
	case len(a.Lines) > MaxLines:
		return Answer{}, fmt.Errorf("clawsup-inspect printed %d lines, at most %d are read", len(a.Lines), MaxLines)
	}
	size := 0
	for i, l := range a.Lines {
		if l == "" || !strings.ContainsRune(" -+@", rune(l[0])) {
			return Answer{}, fmt.Errorf("clawsup-inspect printed a line %d that is of no kind", i+1)
		}
		a.Lines[i] = l[:1] + visible.Line(l[1:])
		if size += len(a.Lines[i]); size > MaxText {
			return Answer{}, fmt.Errorf("clawsup-inspect printed lines of more than %d bytes", MaxText)
		}
	}
	return a, nil
}

// valid says whether text could be shown at all, as UTF-8 without NUL.
func valid(b []byte) bool { return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 }

// Text says whether a content is text: UTF-8 without NUL, up to a character
// that was cut off at the end of what was sent.
func (c *Content) Text() bool {
	b := c.Bytes
	if c.Cut() {
		for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
			if utf8.RuneStart(b[len(b)-n]) && !utf8.FullRune(b[len(b)-n:]) {
				b = b[:len(b)-n]
				break
			}
		}
	}
	return valid(b)
}

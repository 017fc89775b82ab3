// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"bytes"
	"io"
	"net/http"
	"slices"
)

// MinMasked is the length in bytes of the shortest value that is masked: what is
// shorter stands in every text by chance.
const MinMasked = minForm

// Mask overwrites values in answers. It is safe for concurrent use. nil, and one
// of no values, masks nothing.
type Mask struct {
	values *automaton
	names  [][]byte // values in lower case, for names of headers
}

// NewMask makes a mask of values. It takes some 200 bytes of memory for each of theirs.
func NewMask(values [][]byte) *Mask {
	m := &Mask{}
	var long [][]byte
	for _, v := range values {
		if len(v) >= MinMasked {
			long = append(long, v)
			m.names = append(m.names, lower(v))
		}
	}
	m.values = newAutomaton(long, false)
	return m
}

// Reader gives body with values overwritten. It holds back only bytes that a
// value may begin with, so an event goes on as soon as it came. Closing it closes body.
func (m *Mask) Reader(body io.ReadCloser) io.ReadCloser {
	if m == nil || m.values == nil {
		return body
	}
	over := covered{}
	h := &holding{from: body, scan: newScan(m.values)}
	h.match = func(piece []byte, _, from, to int) error {
		over.cover(piece, h.base, from, to)
		return nil
	}
	return h
}

// Header overwrites values in the values of a header or a trailer, in place. A
// field with one in its name, where case says nothing, is left out.
func (m *Mask) Header(header http.Header) {
	if m == nil || m.values == nil {
		return
	}
	for name, values := range header {
		if m.inName(name) {
			delete(header, name)
			continue
		}
		for i, text := range values {
			values[i] = m.Text(text)
		}
	}
}

func (m *Mask) inName(name string) bool {
	folded := lower([]byte(name))
	return slices.ContainsFunc(m.names, func(v []byte) bool { return bytes.Contains(folded, v) })
}

// Text overwrites values in a text.
func (m *Mask) Text(text string) string {
	if m == nil || m.values == nil {
		return text
	}
	var b []byte
	over := covered{}
	m.values.find(text, func(_, from, to int) {
		if b == nil {
			b = []byte(text)
		}
		over.cover(b, 0, from, to)
	})
	if b == nil {
		return text
	}
	return string(b)
}

// covered is the last stretch that was overwritten, so that needles which
// overlap are not overwritten again and again.
type covered struct{ from, to int64 }

func (c *covered) cover(b []byte, base int64, from, to int) {
	start, end := base+int64(from), base+int64(to)
	if start >= c.from && start <= c.to {
		start = c.to
	} else {
		c.from = start
	}
	for i := start; i < end; i++ {
		b[i-base] = '*'
	}
	c.to = max(c.to, end)
}

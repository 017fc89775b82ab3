// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"bytes"
	"unicode/utf8"
)

// scan looks for an automaton's needles in a text that comes in pieces.
// Offsets are of the whole text.
type scan struct {
	*automaton
	at      int32 // node of the text as it is
	offset  int64 // of the next byte
	percent lane
	json    lane
}

// lane is a text with its escapes undone. As long as that is the same as the
// text as it is, since nothing that began holds an escape, it is asleep.
type lane struct {
	awake   bool
	at      int32
	starts  []int64 // offsets of the symbols of the node's piece, and of some before
	escaped int64   // where the last escape ended
	pending [6]byte // of an escape that has not ended
	length  int
}

func newScan(a *automaton) *scan { return &scan{automaton: a} }

// feed reads b from index from on, and calls match with indexes in b for every
// place where a needle ends. b begins at offset base, which is that of hold or before it.
func (s *scan) feed(b []byte, base int64, from int, match func(needle, from, to int)) {
	percent, escape := -1, -1 // the next ones, once looked for
	report := func(needle int32, start, end int64) { match(int(needle), int(start-base), int(end-base)) }
	for i := from; i < len(b); {
		until := i
		if s.idle() {
			percent, escape = ahead(b, '%', i, percent), ahead(b, '\\', i, escape)
			special := min(percent, escape)
			i = s.leap(b, i, special)
			if i >= special-s.reach { // nothing before it, or nearly
				until = min(special+1, len(b))
			}
		}
		// The bytes between are read one by one, and at least one is.
		for first := true; i < len(b) && (first || i < until || !s.idle()); first = false {
			if s.idle() {
				if n := s.dull(b[i:]); n > 0 {
					i += n
					continue
				}
			}
			s.offset = base + int64(i)
			s.read(b[i], report)
			i++
		}
	}
	s.offset = base + int64(len(b))
}

// idle reports whether nothing has begun.
func (s *scan) idle() bool { return s.at == 0 && !s.percent.awake && !s.json.awake }

// dull is how many bytes at the beginning of b nothing begins with, whichever
// way they are read; 0 where that is not seen at once.
func (s *scan) dull(b []byte) int {
	if s.begins(b[0]) {
		return 0
	}
	switch {
	case b[0] == '\\':
		if len(b) > 1 && short[b[1]] != 0 && !s.begins(b[1]) && !s.begins(short[b[1]]) {
			return 2
		}
		return 0
	case b[0] == '%':
		if len(b) < 3 {
			return 0
		}
		high, low := hex(b[1]), hex(b[2])
		if high < 0 {
			return 1
		}
		if low >= 0 && !s.begins(b[1]) && !s.begins(b[2]) && !s.begins(byte(high<<4|low)) {
			return 3
		}
		return 0
	}
	return 1
}

func (s *scan) begins(c byte) bool { return s.root[s.symbol(c)] != 0 }

// ahead is the index of c from i on, len(b) if there is none; known is an
// earlier answer.
func ahead(b []byte, c byte, i, known int) int {
	if known >= i {
		return known
	}
	if n := bytes.IndexByte(b[i:], c); n >= 0 {
		return i + n
	}
	return len(b)
}

// leap gives the first index from i on where a needle may begin whose first
// bytes stand there as they are, up to end; or one near end before which
// none begins.
func (s *scan) leap(b []byte, i, end int) int {
	b, last := b[:end], s.reach-2
	if s.fold {
		for i+last+1 < len(b) {
			skip := s.skip[block(foldByte(b[i+last]), foldByte(b[i+last+1]))]
			if skip == 0 {
				return i
			}
			i += int(skip)
		}
		return min(i, end)
	}
	for j := i + last; j+1 < len(b); {
		skip := s.skip[block(b[j], b[j+1])]
		if skip == 0 {
			return j - last
		}
		j += int(skip)
		i = j - last
	}
	return min(i, end)
}

func foldByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// read takes the byte at s.offset.
func (s *scan) read(c byte, match func(needle int32, start, end int64)) {
	if c == '%' && !s.percent.awake {
		s.wake(&s.percent)
	}
	if c == '\\' && !s.json.awake {
		s.wake(&s.json)
	}
	s.at = s.step(s.at, s.symbol(c))
	end := s.offset + 1
	if n := &s.nodes[s.at]; n.needle >= 0 {
		match(n.needle, end-int64(n.length), end)
	}
	if s.percent.awake {
		s.readPercent(c, match)
		s.sleep(&s.percent)
	}
	if s.json.awake {
		s.readJSON(c, match)
		s.sleep(&s.json)
	}
}

func (s *scan) symbol(c byte) byte {
	if s.fold {
		return foldByte(c)
	}
	return c
}

func (s *scan) wake(l *lane) {
	l.awake, l.at, l.length, l.starts = true, s.at, 0, l.starts[:0]
	for i := int64(s.nodes[s.at].depth); i > 0; i-- {
		l.starts = append(l.starts, s.offset-i)
	}
}

// sleep ends a lane whose piece is again the same as that of the text as it is.
func (s *scan) sleep(l *lane) {
	if l.length == 0 && l.at == s.at && l.escaped <= s.offset+1-int64(s.nodes[s.at].depth) {
		l.awake = false
	}
}

// put moves a lane on by one symbol, which stands at [start, end).
func (s *scan) put(l *lane, c byte, start, end int64, match func(needle int32, start, end int64)) {
	l.at = s.step(l.at, s.symbol(c))
	if end-start > 1 {
		l.escaped = end
	}
	n := &s.nodes[l.at]
	// What is before the piece goes, but not every time.
	if depth := int(n.depth); len(l.starts) >= 2*depth+64 {
		l.starts = l.starts[:copy(l.starts, l.starts[len(l.starts)-depth:])]
	}
	l.starts = append(l.starts, start)
	if n.needle >= 0 {
		match(n.needle, l.starts[len(l.starts)-int(n.length)], end)
	}
}

// putPending moves a lane on by what looked like an escape and is none.
func (s *scan) putPending(l *lane, match func(needle int32, start, end int64)) {
	n := l.length
	l.length = 0
	for i, c := range l.pending[:n] {
		start := s.offset - int64(n-i)
		s.put(l, c, start, start+1, match)
	}
}

func (s *scan) readPercent(c byte, match func(needle int32, start, end int64)) {
	l := &s.percent
	if l.length > 0 && hex(c) < 0 {
		s.putPending(l, match)
	}
	switch {
	case l.length == 2:
		l.length = 0
		s.put(l, byte(hex(l.pending[1])<<4|hex(c)), s.offset-2, s.offset+1, match)
	case l.length > 0 || c == '%':
		l.pending[l.length] = c
		l.length++
	default:
		s.put(l, c, s.offset, s.offset+1, match)
	}
}

// short are the escapes of RFC 8259, section 7, of one letter.
var short = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

func (s *scan) readJSON(c byte, match func(needle int32, start, end int64)) {
	l := &s.json
	if l.length > 1 && hex(c) < 0 || l.length == 1 && c != 'u' && short[c] == 0 {
		s.putPending(l, match)
	}
	switch {
	case l.length == 1 && c != 'u':
		l.length = 0
		s.put(l, short[c], s.offset-1, s.offset+1, match)
	case l.length == 5:
		l.length = 0
		r := hex(c)
		for i, digit := range l.pending[2:5] {
			r |= hex(digit) << (12 - 4*i)
		}
		var symbols [utf8.UTFMax]byte
		for _, symbol := range symbols[:utf8.EncodeRune(symbols[:], r)] {
			s.put(l, symbol, s.offset-5, s.offset+1, match)
		}
	case l.length > 0 || c == '\\':
		l.pending[l.length] = c
		l.length++
	default:
		s.put(l, c, s.offset, s.offset+1, match)
	}
}

// hex is the value of a digit, -1 of anything else.
func hex(c byte) rune {
	switch {
	case '0' <= c && c <= '9':
		return rune(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return rune(c|0x20-'a') + 10
	}
	return -1
}

// hold is the offset of the first byte that may begin a needle which has not
// ended; after all that was read if there is none.
func (s *scan) hold() int64 {
	hold := s.offset - int64(s.nodes[s.at].depth)
	for _, l := range []*lane{&s.percent, &s.json} {
		if !l.awake {
			continue
		}
		hold = min(hold, s.offset-int64(l.length))
		if depth := int(s.nodes[l.at].depth); depth > 0 {
			hold = min(hold, l.starts[len(l.starts)-depth])
		}
	}
	return hold
}

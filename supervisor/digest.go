// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
)

// seal hashes named lists of strings so that different lists never hash
// alike: the name and every element carry their length in front, as
// "5:hello,", and the number of elements comes before them.
type seal struct{ text []byte }

func newSeal() *seal {
	s := &seal{make([]byte, 0, 2048)}
	s.add("clawsup-plan", "1")
	return s
}

func (s *seal) add(name string, values ...string) {
	s.list(name, len(values))
	for _, v := range values {
		s.string(v)
	}
}

func (s *seal) numbers(name string, values ...int64) {
	s.list(name, len(values))
	for _, v := range values {
		var digits [20]byte
		s.bytes(strconv.AppendInt(digits[:0], v, 10))
	}
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// list begins one of so many elements.
func (s *seal) list(name string, n int) {
	s.string(name)
	var digits [20]byte
	s.bytes(strconv.AppendInt(digits[:0], int64(n), 10))
}

func (s *seal) string(v string) {
	s.length(len(v))
	s.text = append(append(s.text, v...), ',')
}

func (s *seal) bytes(v []byte) {
	s.length(len(v))
	s.text = append(append(s.text, v...), ',')
}

func (s *seal) length(n int) { s.text = append(strconv.AppendInt(s.text, int64(n), 10), ':') }

// sum is "sha256:" and 64 hexadecimal digits.
func (s *seal) sum() string {
	sum := sha256.Sum256(s.text)
	return "sha256:" + hex.EncodeToString(sum[:])
}

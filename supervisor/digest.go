// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"strconv"
)

// seal hashes named lists of strings so that different lists never hash
// alike: the name and every element carry their length in front, as
// "5:hello,", and the number of elements comes before them.
type seal struct{ h hash.Hash }

func newSeal() *seal {
	s := &seal{sha256.New()}
	s.add("clawsup-plan", "1")
	return s
}

func (s *seal) add(name string, values ...string) {
	s.string(name)
	s.string(strconv.Itoa(len(values)))
	for _, v := range values {
		s.string(v)
	}
}

func (s *seal) numbers(name string, values ...int64) {
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = strconv.FormatInt(v, 10)
	}
	s.add(name, list...)
}

func (s *seal) string(v string) { fmt.Fprintf(s.h, "%d:%s,", len(v), v) }

// sum is "sha256:" and 64 hexadecimal digits.
func (s *seal) sum() string { return "sha256:" + hex.EncodeToString(s.h.Sum(nil)) }

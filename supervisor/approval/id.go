// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"crypto/rand"
	"strings"
)

// alphabet is Crockford's base 32: no letter is taken for a digit or another.
const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"

const (
	idLength    = 8 // 40 bits; see newID for what if one is there already
	grantPrefix = "g-"
)

// newID makes an id that isn't taken.
func newID(prefix string, taken func(string) bool) string {
	for {
		var b [idLength]byte
		rand.Read(b[:]) // never fails, see crypto/rand
		for i := range b {
			b[i] = alphabet[b[i]%32]
		}
		if id := prefix + string(b[:]); !taken(id) {
			return id
		}
	}
}

// isID reports whether s is an id as newID makes it.
func isID(prefix, s string) bool {
	id, ok := strings.CutPrefix(s, prefix)
	return ok && len(id) == idLength && strings.Trim(id, alphabet) == ""
}

// typed gives the id, or its beginning, that somebody typed.
func typed(s string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	grant := strings.HasPrefix(s, grantPrefix)
	s = strings.NewReplacer("o", "0", "i", "1", "l", "1").Replace(strings.TrimPrefix(s, grantPrefix))
	if grant {
		return grantPrefix + s
	}
	return s
}

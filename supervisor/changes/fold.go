// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// fold gives a name as one that folds case, or leaves out what nobody sees,
// would take it: ".GIT", ".ſsh" with a long s, ".g<U+200C>it". Bytes that are
// no UTF-8 stay.
func fold(name string) string {
	if plain(name) {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); {
		r, n := utf8.DecodeRuneInString(name[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteByte(name[i])
		case !hidden(r):
			b.WriteRune(smallest(r))
		}
		i += n
	}
	return b.String()
}

// plain says whether a name is of ASCII without capitals, as most are.
func plain(name string) bool {
	for i := range len(name) {
		if c := name[i]; c >= utf8.RuneSelf || 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return true
}

// hidden says whether a character is left out by file systems that compare
// names as people read them: those of format, and selectors of variants.
func hidden(r rune) bool {
	return unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Variation_Selector, r) || r == '\u034f'
}

// smallest gives one of all characters that differ in case alone: a small
// letter of ASCII, or else the first in Unicode.
func smallest(r rune) rune {
	if r < utf8.RuneSelf {
		return unicode.ToLower(r)
	}
	first := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		if 'a' <= f && f <= 'z' {
			return f
		}
		first = min(first, f)
	}
	return first
}

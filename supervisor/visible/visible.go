// SPDX-License-Identifier: Apache-2.0

// Package visible shows text that a stranger chose, so that what a person
// sees is what is there.
//
// Two uses differ in what they must stop:
//
//   - Quote and Text are for questions and messages, where one character
//     taken for another changes the answer. Control, bidirectional, zero-width
//     and blank characters, bytes that are no UTF-8, characters that pass for
//     ASCII, letters of scripts mixed within a word, and runs of spaces, which
//     could draw columns, become escapes.
//   - Writer is for a tool's output on a person's terminal, where a sequence
//     that the terminal obeys could rewrite the screen. Text and colours pass;
//     everything else that is not printed becomes an escape.
//
// Escapes are those of Go strings: \x1b, \u202e, \U000e0041.
//
// Limit: which letters look alike depends on the font. The table of
// look-alikes covers what the common monospaced fonts draw alike.
package visible

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Quote gives s in double quotes with everything deceptive escaped. It is
// never ambiguous: two strings have the same quotation only if they are equal.
func Quote(s string) string { return `"` + escape(s, true) + `"` }

// Text gives s as it is where every character of it is plain and shows, and else
// quoted.
func Text(s string) string {
	if s != "" && escape(s, true) == s && strings.Trim(s, " ") == s { // nobody sees a space at an end
		return s
	}
	return Quote(s)
}

// Line gives s for the middle of a message: deceptive characters and line
// feeds escaped, quotes left alone.
func Line(s string) string { return escape(s, false) }

// plain reports whether nothing of s is to be escaped, as far as a glance
// tells: printed ASCII, and for quotes without what is escaped there.
func plain(s string, quotes bool) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < ' ' || c > '~' || quotes && (c == '"' || c == '\\' || c == ' ' && i > 0 && s[i-1] == ' ') {
			return false
		}
	}
	return true
}

func escape(s string, quotes bool) string {
	if plain(s, quotes) {
		return s
	}
	return escapeAll(s, quotes)
}

func escapeAll(s string, quotes bool) string {
	var b strings.Builder
	for len(s) > 0 {
		if n := blanks(s); quotes && n > 1 {
			b.WriteString(strings.Repeat(`\x20`, n))
			s = s[n:]
			continue
		}
		n, disguised := word(s)
		for _, part := range runes(s[:n]) {
			switch r, size := utf8.DecodeRuneInString(part); {
			case quotes && (r == '"' || r == '\\'):
				b.WriteByte('\\')
				b.WriteString(part)
			case r == utf8.RuneError && size == 1, !strconv.IsPrint(r), lookalike(r), disguised && r >= utf8.RuneSelf:
				b.WriteString(code(part))
			default:
				b.WriteString(part)
			}
		}
		s = s[n:]
	}
	return b.String()
}

// blanks is how many spaces s begins with.
func blanks(s string) int { return len(s) - len(strings.TrimLeft(s, " ")) }

// runes splits s into characters and stray bytes.
func runes(s string) []string {
	var parts []string
	for len(s) > 0 {
		_, n := utf8.DecodeRuneInString(s)
		parts = append(parts, s[:n])
		s = s[n:]
	}
	return parts
}

// code is the escape of one character or stray byte.
func code(part string) string {
	q := strconv.QuoteToASCII(part)
	q = q[1 : len(q)-1]
	if q == part { // a quote or a plain character that is escaped for its looks
		return part
	}
	return q
}

// word gives the length of the word that s begins with, or of one other
// character, and whether the word is disguised: it mixes scripts, or each of
// its letters passes for a Latin one.
func word(s string) (n int, disguised bool) {
	var scripts [numScripts]bool
	double, letters := true, 0
	for i, r := range s {
		if !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r) {
			break
		}
		n = i + utf8.RuneLen(r)
		if !unicode.IsLetter(r) {
			continue
		}
		letters++
		scripts[scriptOf(r)] = true
		double = double && strings.ContainsRune(doubles, r)
	}
	if n == 0 {
		_, n = utf8.DecodeRuneInString(s)
		return n, false
	}
	kinds := 0
	for sc, here := range scripts {
		if here && script(sc) != otherScript {
			kinds++
		}
	}
	return n, kinds > 1 || letters > 0 && double
}

// script is what a letter belongs to, as far as scripts can be confused.
type script int

const (
	otherScript script = iota // shapes of its own: Han, Arabic, Devanagari, ...
	latin
	cyrillic
	greek
	kindred // other alphabets with letters of Latin shape
	numScripts
)

func scriptOf(r rune) script {
	switch {
	case r < utf8.RuneSelf, unicode.Is(unicode.Latin, r):
		return latin
	case unicode.Is(unicode.Cyrillic, r):
		return cyrillic
	case unicode.Is(unicode.Greek, r):
		return greek
	case unicode.In(r, unicode.Armenian, unicode.Cherokee, unicode.Coptic, unicode.Lisu, unicode.Deseret,
		unicode.Georgian, unicode.Glagolitic, unicode.Tifinagh, unicode.Vai, unicode.Canadian_Aboriginal):
		return kindred
	}
	return otherScript
}

// doubles are the Cyrillic, Greek and Armenian letters that pass for a Latin
// one. A word of nothing else is taken for a Latin word.
const doubles = "авеԁӏкмнорсѕтуһхіјԛԝьАВЕԌЅІЈКМНОРСТУХԚԜҮ" +
	"αγικνορτυχωΑΒΕΖΗΙΚΜΝΟΡΤΥΧϲϳ" +
	"օսոհցքւՕՍԼ"

// ranges are characters that can be printed and deceive all the same, in any
// company.
var ranges = []struct {
	from, to rune
	why      string
}{
	{0x0131, 0x0131, "dotless i"},
	{0x017f, 0x017f, "long s"},
	{0x01c0, 0x01c3, "clicks that pass for | and !"},
	{0x0237, 0x0237, "dotless j"},
	{0x0250, 0x02ff, "phonetic and modifier letters that pass for letters, colons and quotes"},
	{0x0300, 0x036f, "combining marks: they change or hide the character before"},
	{0x037e, 0x037e, "Greek question mark that passes for a semicolon"},
	{0x115f, 0x1160, "Hangul fillers, which are blank"},
	{0x17b4, 0x17b5, "Khmer vowels, which are blank"},
	{0x180b, 0x180f, "Mongolian selectors, which are blank"},
	{0x1ab0, 0x1aff, "combining marks"},
	{0x1d00, 0x1dff, "phonetic letters and combining marks"},
	{0x2010, 0x201f, "hyphens, dashes, quotes"},
	{0x2024, 0x2027, "dots"},
	{0x2032, 0x203a, "primes and angle quotes"},
	{0x2043, 0x2044, "hyphen bullet, fraction slash"},
	{0x204e, 0x205e, "low asterisk, tilde, dots"},
	{0x2070, 0x209f, "superscripts and subscripts"},
	{0x20d0, 0x20ff, "combining marks"},
	{0x2100, 0x218f, "letterlike symbols and Roman numerals"},
	{0x2212, 0x2219, "minus, slash, backslash, asterisk, dot"},
	{0x2223, 0x2223, "bar"},
	{0x2236, 0x223c, "colon and tilde"},
	{0x2460, 0x24ff, "enclosed letters"},
	{0x2571, 0x2573, "diagonals that pass for slashes"},
	{0x27cb, 0x27cd, "diagonals that pass for slashes"},
	{0x2800, 0x2800, "the blank Braille pattern"},
	{0x29f5, 0x29f9, "slashes and backslashes"},
	{0x3033, 0x3035, "Japanese strokes that pass for slashes"},
	{0x3164, 0x3164, "the Hangul filler, which is blank"},
	{0xa720, 0xa7ff, "modifier letters, colons and equals signs"},
	{0xab30, 0xab6f, "phonetic letters"},
	{0xfb00, 0xfb06, "ligatures"},
	{0xfe00, 0xfe0f, "variation selectors, which are blank"},
	{0xfe10, 0xfe6f, "small and vertical forms of ASCII, combining marks"},
	{0xff00, 0xffef, "wide and narrow forms"},
	{0x1d400, 0x1d7ff, "mathematical letters"},
	{0x1f100, 0x1f1ff, "enclosed letters"},
	{0xe0100, 0xe01ef, "variation selectors, which are blank"},
}

// lookalike reports whether r deceives in any company.
func lookalike(r rune) bool {
	for _, g := range ranges {
		if r >= g.from && r <= g.to {
			return true
		}
	}
	return false
}

// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"strconv"
	"strings"
)

// visible returns s for a message: as it is if every character of it shows, and
// quoted, with the rest escaped, if not.
func visible(s string) string {
	if escape(s) == s {
		return s
	}
	return strconv.Quote(s)
}

// escape makes control, bidirectional and zero-width characters and bytes that
// are no UTF-8 visible within a text that may hold quotes of its own.
func escape(s string) string {
	var b strings.Builder
	for i, r := range s {
		if r == '\uFFFD' && !strings.HasPrefix(s[i:], "\uFFFD") {
			q := strconv.Quote(s[i : i+1])
			b.WriteString(q[1 : len(q)-1])
			continue
		}
		if strconv.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		q := strconv.QuoteRune(r)
		b.WriteString(q[1 : len(q)-1])
	}
	return b.String()
}

// printable reports whether every character of s shows, and s is UTF-8.
func printable(s string) bool { return escape(s) == s }

// clip bounds what a message repeats of its input.
func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}

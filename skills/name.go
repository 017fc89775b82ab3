// SPDX-License-Identifier: Apache-2.0

package skills

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxName is the longest name of a skill, in bytes (AgentSkills format).
const MaxName = 64

// checkName says whether name is a skill's name: 1 to 64 lower-case letters,
// digits and hyphens, with no hyphen at either end and no two in a row.
func checkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the name is empty; a skill's name has 1 to %d lower-case letters, digits and hyphens", MaxName)
	case len(name) > MaxName:
		return fmt.Errorf("%s is not a skill's name: it has %d bytes, at most %d are allowed", quote(name), len(name), MaxName)
	}
	for _, r := range name {
		if r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') {
			return fmt.Errorf("%s is not a skill's name: %q is not a lower-case letter, digit or hyphen", quote(name), r)
		}
	}
	if name[0] == '-' || name[len(name)-1] == '-' || strings.Contains(name, "--") {
		return fmt.Errorf("%s is not a skill's name: hyphens stand alone and between other characters", quote(name))
	}
	return nil
}

// quote shows a foreign string whole enough to be recognised and with nothing
// in it that a terminal would act on.
func quote(s string) string {
	const most = 200
	if len(s) > most {
		return fmt.Sprintf("%+q... (%d bytes)", s[:most], len(s))
	}
	return fmt.Sprintf("%q", s)
}

// unprintable returns the first character of s that must not be shown as it is:
// control characters, and format characters such as bidirectional overrides
// and zero-width ones. What is in allowed passes. Bytes that are not UTF-8 count
// as U+FFFD.
func unprintable(s, allowed string) (rune, bool) {
	for i, r := range s {
		if strings.ContainsRune(allowed, r) && r != utf8.RuneError {
			continue
		}
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			return r, true
		}
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return r, true
			}
		}
	}
	return 0, false
}

// SPDX-License-Identifier: Apache-2.0

package spell

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	known := []string{"run", "run-skill", "profile", "doctor", "version", "help"}
	for _, c := range []struct{ word, want string }{
		{"runskill", "run-skill"},
		{"run_skill", "run-skill"},
		{"profiles", "profile"},
		{"docter", "doctor"},
		{"rn", "run"},
		{"versoin", "version"},
		{"", ""},
		{"zzzzzz", ""},
		{strings.Repeat("run", 100), ""},
	} {
		got, ok := Nearest(c.word, known)
		if got != c.want || ok != (c.want != "") {
			t.Errorf("Nearest(%q) = %q, %v; want %q", c.word, got, ok, c.want)
		}
	}
}

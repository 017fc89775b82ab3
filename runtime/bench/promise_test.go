// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"
	"testing"
)

func TestJudge(t *testing.T) {
	p := promise{"a", "b", 0.5, "a takes %.1f of b"}
	times := func(a ...int) (rounds []round) {
		for _, ms := range a {
			rounds = append(rounds, made(1, map[string]int{"a": ms, "b": 100}))
		}
		return rounds
	}
	for _, c := range []struct {
		name            string
		rounds          []round
		measured, holds bool
	}{
		{"below", times(40, 41, 42, 43, 44), true, true},
		{"at the bound", times(50, 50, 50, 50, 50), true, true},
		{"above, within the noise", times(45, 48, 52, 60, 80), true, true},
		{"above", times(45, 52, 53, 54, 55), true, false},
		{"nothing measured", nil, false, false},
		{"one is missing", []round{made(1, map[string]int{"a": 1})}, false, false},
	} {
		v := p.judge(c.rounds)
		if v.Measured != c.measured || v.Holds != c.holds {
			t.Errorf("%s: measured %v, holds %v, want %v, %v", c.name, v.Measured, v.Holds, c.measured, c.holds)
		}
		if err := (&report{Verdicts: []verdict{v}}).judge(); (err == nil) != c.holds {
			t.Errorf("%s: judge says %v", c.name, err)
		}
	}
}

// The bounds that are enforced are those that people read.
func TestSpecificationSaysThePromises(t *testing.T) {
	text, err := os.ReadFile("../../docs/SPECIFICATION.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range promises {
		if !strings.Contains(string(text), "| "+p.sentence()+" |") {
			t.Errorf("no line of docs/SPECIFICATION.md promises: %s", p.sentence())
		}
	}
}

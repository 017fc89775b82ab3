// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"
	"testing"
)

func TestJudge(t *testing.T) {
	p := promise{who: "a", than: "b", bound: 0.5, enforced: true, text: "a takes %.1f of b"}
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
		v := p.judge(c.rounds, nil)
		if v.Measured != c.measured || v.Holds != c.holds {
			t.Errorf("%s: measured %v, holds %v, want %v, %v", c.name, v.Measured, v.Holds, c.measured, c.holds)
		}
		if err := (&report{Verdicts: []verdict{v}}).judge(); (err == nil) != c.holds {
			t.Errorf("%s: judge says %v", c.name, err)
		}
		v.Enforced = false
		if err := (&report{Verdicts: []verdict{v}}).judge(); err != nil {
			t.Errorf("%s: an aim is judged: %v", c.name, err)
		}
	}
}

func TestJudgeRates(t *testing.T) {
	p := promise{who: "a", than: "b", callers: 2, bound: 0.5}
	made := func(rates ...float64) (rounds []map[rateKey]tally) {
		for _, r := range rates {
			rounds = append(rounds, map[rateKey]tally{{"a", 2}: {rate: r}, {"b", 2}: {rate: 100}})
		}
		return rounds
	}
	for _, c := range []struct {
		name            string
		rounds          []map[rateKey]tally
		measured, holds bool
	}{
		{"twice as many", made(200, 200, 200), true, true},
		{"fewer, within the noise", made(250, 190, 150), true, true},
		{"fewer", made(190, 190, 150), true, false},
		{"other callers", []map[rateKey]tally{{{"a", 1}: {rate: 1}, {"b", 1}: {rate: 1}}}, false, false},
		{"nothing measured", nil, false, false},
	} {
		if v := p.judge(nil, c.rounds); v.Measured != c.measured || v.Holds != c.holds {
			t.Errorf("%s: measured %v, holds %v, want %v, %v", c.name, v.Measured, v.Holds, c.measured, c.holds)
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
		if p.enforced && !strings.Contains(string(text), "| "+p.sentence()+" |") {
			t.Errorf("no line of docs/SPECIFICATION.md promises: %s", p.sentence())
		}
	}
}

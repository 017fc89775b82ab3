// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A document keeps its own words, and has the tables of the last run alone.
func TestInto(t *testing.T) {
	document := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(document, []byte("before\n"+tablesBegin("x/run.json")+"old\n"+tablesEnd+"between\n"+tablesBegin("more.json")+"kept\n"+tablesEnd+"after\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := &report{Time: time.Unix(0, 0).UTC(), Kernel: "6.1", CPUs: 2, Cgroup: "v2", Absent: []string{"crun: not installed"},
		Races: []race{{Name: "true", Rounds: 3, Figures: []figures{{Name: "spawn", P50: time.Millisecond, Ratio: ratio{1, 1, 1}, Gives: "nothing"}}}}}
	r.tell("memory", "daemon", 12.34, "MB", "at rest")
	for range 2 {
		if err := r.into(document, "out/run.json"); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"before\n" + tablesBegin("run.json"), tablesEnd + "between\n", "kept\n" + tablesEnd + "after\n", "Linux 6.1, 2 CPUs, cgroup v2.",
		"### True\n", "| spawn | 1.00 | 0.00 | 1 | 1 to 1 | 0.00 | 0.00 | nothing |", "### Memory\n", "| daemon | 12.3 | MB | at rest |", "| crun | not installed |",
	} {
		if strings.Count(string(text), want) != 1 {
			t.Errorf("%q is there %d times in:\n%s", want, strings.Count(string(text), want), text)
		}
	}
	if strings.Contains(string(text), "old") {
		t.Errorf("old tables are left:\n%s", text)
	}
	if err := os.WriteFile(document, []byte("no place\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.into(document, "out/run.json"); err == nil {
		t.Error("a document without a place got tables")
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestExampleSkills runs each example skill in its box, on real input.
func TestExampleSkills(t *testing.T) {
	b := newBench(t, "")
	for _, name := range []string{"csv-summary", "git-changelog", "doc-convert"} {
		b.example(name)
	}
	copied := func(dir, file string) {
		t.Helper()
		text, err := os.ReadFile("../../skills/examples/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		skill   string
		program string
		fill    func(dir string)
		args    []string // after SKILL
		want    []string
	}{
		{"csv-summary", "python3", func(dir string) { copied(dir, "csv-summary/testdata/orders.csv") },
			[]string{"--", "summary", "/workspace/orders.csv"}, []string{"mean", "median"}},
		{"git-changelog", "git", func(dir string) {
			script := `git init -q -b main . && git config user.name n && git config user.email e@x
				git commit -q --allow-empty -m 'start' && git tag v1
				git commit -q --allow-empty -m 'feat(api): answer in JSON' && git commit -q --allow-empty -m 'fix: no crash on empty input'`
			c := exec.Command("sh", "-ec", script)
			c.Dir = dir
			if out, err := c.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}, nil, []string{"answer in JSON", "no crash on empty input"}},
		{"doc-convert", "pandoc", func(dir string) { copied(dir, "doc-convert/testdata/minutes.md") },
			[]string{"--", "convert", "--to", "html", "/workspace/minutes.md"}, []string{"<h1", "</table>"}},
	}
	for _, test := range tests {
		t.Run(test.skill, func(t *testing.T) {
			if !inBox(test.program) {
				t.Skipf("this machine has no %s below /usr", test.program)
			}
			dir, err := os.MkdirTemp(b.dir, "work-")
			if err != nil {
				t.Fatal(err)
			}
			test.fill(dir)
			// A user's files, private ones: what the box shows must be the owner's view.
			if out, err := exec.Command("chown", "-R", "4242:4242", dir).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			got := b.run("", append([]string{"run-skill", "--workspace", dir, test.skill}, test.args...)...)
			if got.status != 0 {
				t.Errorf("status %d: %s%s", got.status, got.out, got.err)
			}
			for _, want := range test.want {
				if !strings.Contains(got.out, want) {
					t.Errorf("no %q in %s%s", want, got.out, got.err)
				}
			}
		})
	}
}

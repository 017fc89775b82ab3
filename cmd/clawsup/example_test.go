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

// TestManifestIsKept: one reading of one copy of a skill is enough, and a
// damaged or outdated answer is none.
func TestManifestIsKept(t *testing.T) {
	b := newBench(t, "")
	b.example("csv-summary")
	kept := func() []string {
		files, err := filepath.Glob(b.dir + "/state/manifests/*")
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	run := func(want int) {
		t.Helper()
		if got := b.run("a,b\n1,2\n", "run-skill", "csv-summary", "--", "summary", "-"); got.status != 0 || got.err != "" {
			t.Fatalf("%+v", got)
		}
		if files := kept(); len(files) != want {
			t.Fatalf("kept: %v, want %d", files, want)
		}
	}
	run(1)
	first := kept()[0]
	if err := os.WriteFile(first, []byte(`{"manifest":{"name":"other","description":"forged"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	run(1)
	if text, err := os.ReadFile(first); err != nil || strings.Contains(string(text), "forged") {
		t.Errorf("%s %v", text, err)
	}
	// Another SKILL.md is another skill.
	file := b.dir + "/skills/csv-summary/SKILL.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(text, "more\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	run(2)
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), "bins: [python3]", "bins: [no-such-program]", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := b.run("", "run-skill", "csv-summary"); got.status != 127 || !strings.Contains(got.err, "no-such-program") {
		t.Errorf("%+v", got)
	}
}

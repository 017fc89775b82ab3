// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/supervisor/changes"
)

// letters makes a workspace with a few files.
func (b *bench) letters() string {
	b.t.Helper()
	w := filepath.Join(b.dir, "letters")
	if err := os.MkdirAll(w+"/old", 0o755); err != nil {
		b.t.Fatal(err)
	}
	for name, text := range map[string]string{"a.txt": "one\ntwo\n", "b.txt": "b\n", "old/1": "1\n", "old/2": "2\n"} {
		b.write("letters/"+name, text)
	}
	return w
}

// tree is what is in a directory: paths with their contents.
func (b *bench) tree(dir string) string {
	b.t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var text []byte
			text, err = os.ReadFile(name)
			all = append(all, strings.TrimPrefix(name, dir+"/")+"="+strings.ReplaceAll(string(text), "\n", "/"))
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return strings.Join(all, " ")
}

const lettersBefore = "a.txt=one/two/ b.txt=b/ old/1=1/ old/2=2/"

// TestChangesOfThisHost: without a daemon the commands work on the store, from
// a call that nobody was there to decide about to its undoing.
func TestChangesOfThisHost(t *testing.T) {
	b := newBench(t, "")
	w := b.letters()
	tidy := []string{"--profile", "build", "--workspace", w, "--", "sh", "-c", `rm -r old b.txt; sed -i s/two/TWO/ a.txt; mkdir d; printf '\033[2J\n' >"d/$(printf '\377')"`}
	got := b.run("", append([]string{"run"}, tidy...)...)
	if got.status != exitRefused || !strings.Contains(got.err, "4 deleted, 1 modified, 2 created: nothing of it is in the workspace") || b.tree(w) != lettersBefore {
		t.Fatalf("%+v %s", got, b.tree(w))
	}
	var list []changes.Change
	if got := b.run("", "changes", "list", "--json"); json.Unmarshal([]byte(got.out), &list) != nil || len(list) != 1 || list[0].State != changes.Held {
		t.Fatalf("%+v", got)
	}
	id := list[0].ID
	got = b.run("", "changes", "show", id)
	for _, text := range []string{"  1  b.txt  2B\n", "2-4  old/  2 files, 4B in all\n", "  5  a.txt  8B as before\n", "6-7  d/  1 file, 5B in all\n", "7 paths: 4 deleted, 1 modified, 2 created; "} {
		if !strings.Contains(got.out, text) {
			t.Errorf("no %q in %s%s", text, got.out, got.err)
		}
	}
	got = b.run("", "changes", "diff", id, "a.txt", `"d/\xff"`)
	for _, text := range []string{" one\n-two\n+TWO\n", `@created "d/\xff"`, `+\x1b[2J`} {
		if !strings.Contains(got.out, text) {
			t.Errorf("no %q in %s%s", text, got.out, got.err)
		}
	}
	if got := b.run("", "changes", "commit", "--refuse", "old/2", "--refuse", w+"/b.txt", id); got.status != 0 || b.tree(w) != "a.txt=one/TWO/ b.txt=b/ d/\xff=\x1b[2J/ old/2=2/" {
		t.Fatalf("%+v %q", got, b.tree(w))
	}
	if got := b.run("", "changes", "show", id); !strings.Contains(got.out, "! 2 of them refused") {
		t.Errorf("%+v", got)
	}
	if got := b.run("", "trash", "list", id); got.status != 0 || !strings.Contains(got.out, "a.txt") || !strings.Contains(got.out, "old/1") || strings.Contains(got.out, "old/2") {
		t.Errorf("%+v", got)
	}
	after := b.tree(w)
	if got := b.run("", "undo", "--dry-run", id); got.status != 0 || !strings.Contains(got.out, "modified: 1 path") || b.tree(w) != after {
		t.Errorf("%+v %q", got, b.tree(w))
	}
	if got := b.run("", "undo", id); got.status != 0 || b.tree(w) != lettersBefore {
		t.Errorf("%+v %q", got, b.tree(w))
	}
	if got := b.run("", "changes", "commit", id); got.status != exitFault || !strings.Contains(got.err, "decided") {
		t.Errorf("%+v", got)
	}
	if got := b.run("", "trash", "empty", "--all"); got.status != 0 || !strings.HasPrefix(got.out, "emptied: ") {
		t.Errorf("%+v", got)
	}
	if got := b.run("", "trash", "list"); got.out != "the trash is empty\n" {
		t.Errorf("%+v", got)
	}

	got = b.run("", append([]string{"run", "--dry-run"}, tidy...)...)
	if got.status != 0 || !strings.Contains(got.err, "2-4  old/  2 files") || !strings.Contains(got.err, "7 paths: ") || b.tree(w) != lettersBefore {
		t.Errorf("%+v %q", got, b.tree(w))
	}
	got = b.run("", append([]string{"run"}, tidy...)...)
	if got := b.run("", "changes", "list", "--undecided", "--json"); json.Unmarshal([]byte(got.out), &list) != nil || len(list) != 1 {
		t.Fatalf("%+v", got)
	}
	if got := b.run("", "changes", "discard", "--reason", "no", list[0].ID); got.status != 0 || b.tree(w) != lettersBefore {
		t.Errorf("%+v %q", got, b.tree(w))
	}
	if got := b.nobody("changes", "list"); got.status != exitUsage || !strings.Contains(got.err, "are for root alone") {
		t.Errorf("%+v", got)
	}
}

// TestChangesAskedHere: a call on a terminal asks on it, and refuses one path.
func TestChangesAskedHere(t *testing.T) {
	b := newBench(t, "")
	w := b.letters()
	screen, tty := terminal(t)
	c := b.on(tty, "run", "--profile", "build", "--workspace", w, "--", "sh", "-c", "rm -r old b.txt; sed -i s/two/TWO/ a.txt")
	seen := until(t, screen, changesPrompt)
	for i, line := range []string{"diff 5\n", "refuse 1\n", "yes\n"} {
		if i > 0 {
			seen += until(t, screen, changesPrompt)
		}
		if _, err := io.WriteString(screen, line); err != nil {
			t.Fatal(err)
		}
	}
	seen += rest(screen)
	b.wait(c)
	for _, text := range []string{"deletes", "-two", "+TWO", "That is 1 of 5", "committed"} {
		if !strings.Contains(seen, text) {
			t.Errorf("no %q in %s", text, seen)
		}
	}
	if got := b.tree(w); got != "a.txt=one/TWO/ b.txt=b/" {
		t.Errorf("%q", got)
	}
	if got := b.run("", "changes", "list", "--json"); !strings.Contains(got.out, `"state": "committed"`) {
		t.Errorf("%+v", got)
	}
}

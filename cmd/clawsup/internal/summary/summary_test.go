// SPDX-License-Identifier: Apache-2.0

package summary

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/visible"
)

func file(size int64, mode uint32) changeset.State {
	return changeset.State{Type: changeset.Regular, Size: size, Mode: mode}
}

var dir = changeset.State{Type: changeset.Directory, Mode: 0o755}

// set has something of everything, in the order of a set.
func set() []changeset.Entry {
	return []changeset.Entry{
		{Kind: changeset.Created, Path: "a\x1b[2J", After: file(10, 0o644)},
		{Kind: changeset.Changed, Path: "bin", Before: dir, After: changeset.State{Type: changeset.Directory, Mode: 0o700}},
		{Kind: changeset.Modified, Path: "bin/run", Before: file(2048, 0o644), After: file(300, 0o755), Notes: changeset.Conflict | changeset.HardLinked},
		{Kind: changeset.Created, Path: "l", Target: "/etc/passwd", After: changeset.State{Type: changeset.Symlink, Mode: 0o777, Size: 11}, Notes: changeset.Leaves},
		{Kind: changeset.Created, Path: "new", After: dir},
		{Kind: changeset.Created, Path: "new/a", After: file(1, 0o644)},
		{Kind: changeset.Dropped, Path: "new/fifo", After: changeset.State{Type: changeset.Special}},
		{Kind: changeset.Created, Path: "new/sub", After: dir},
		{Kind: changeset.Created, Path: "new/sub/b", After: file(1, 0o644), Notes: changeset.Privileged},
		{Kind: changeset.Created, Path: "new.txt", Link: "new/a", After: file(1, 0o644)},
		{Kind: changeset.Deleted, Path: "old", Before: dir},
		{Kind: changeset.Deleted, Path: "old/x", Before: file(1<<20, 0o644)},
		{Kind: changeset.Deleted, Path: "old/y", Before: file(1<<20, 0o644), Notes: changeset.Conflict},
		{Kind: changeset.Deleted, Path: "old2", Before: file(5, 0o644)},
		{Kind: changeset.Renamed, Path: "to", From: "from", Before: dir, After: dir},
	}
}

func TestFolded(t *testing.T) {
	var got []string
	for _, r := range Rows(Of(set()).Folded(), 100) {
		got = append(got, r.Text)
	}
	want := []string{
		"deleted: 4 paths",
		"    1-3  old/  2 files, 2.0M in all",
		"         ! 3 old/y: CONFLICT: changed in the workspace meanwhile",
		"      4  old2  5B",
		"modified: 1 path",
		"      5  bin/run  2.0K, now 300B, mode 0644, now 0755",
		"         ! CONFLICT: changed in the workspace meanwhile",
		"         ! has further names, which keep what it was",
		"renamed: 1 path",
		"      6  to  was from",
		"created: 7 paths",
		`      7  "a\x1b[2J"  10B`,
		"      8  l  a link to /etc/passwd",
		"         ! leads out of the workspace",
		"   9-12  new/  1 directory and 2 files, 2B in all",
		"         ! 12 new/sub/b: setuid, setgid or capabilities are not kept",
		"     13  new.txt  another name of new/a",
		"changed: 1 path",
		"     14  bin  mode 0755, now 0700",
		"dropped: 1 path",
		"     15  new/fifo  a device, FIFO or socket: never committed",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestAllIsThere: whatever the set, each entry is in one line, with its number,
// and everything that has a note says it.
func TestAllIsThere(t *testing.T) {
	entries := set()
	s := Of(entries)
	for name, lines := range map[string][]Line{"folded": s.Folded(), "all": s.All()} {
		next, deletions := 1, true
		for _, l := range lines {
			if l.First != next || l.Last < l.First {
				t.Errorf("%s: %+v does not begin at %d", name, l, next)
			}
			next = l.Last + 1
			if l.Kind == changeset.Deleted && !deletions {
				t.Errorf("%s: %+v comes after another kind", name, l)
			}
			deletions = l.Kind == changeset.Deleted
			for n := l.First; n <= l.Last; n++ {
				if e := s.Entry(n); e.Kind != l.Kind || len(Notes(e)) > 0 && len(l.Notes) == 0 {
					t.Errorf("%s: %+v is not in %+v", name, e, l)
				}
			}
		}
		if next != len(entries)+1 {
			t.Errorf("%s: %d entries, want %d", name, next-1, len(entries))
		}
	}
}

// TestRowsFit: at every width everything of every line is there.
func TestRowsFit(t *testing.T) {
	long := []changeset.Entry{{Kind: changeset.Deleted, Path: raw.String(strings.Repeat("long/", 100) + "\u202e"), Before: file(1, 0), Notes: changeset.Conflict}}
	for width := 30; width < 130; width += 7 {
		text := ""
		for _, r := range Rows(Of(long).All(), width) {
			if visible.Columns(r.Text) > width {
				t.Errorf("width %d: %q", width, r.Text)
			}
			text += strings.TrimLeft(r.Text, " +|!")
		}
		if !strings.Contains(text, strings.Repeat("long/", 100)+`\u202e"`) {
			t.Errorf("width %d: %s", width, text)
		}
	}
}

// TestFoldedNames: of a directory that is one line, what is grave is named, as
// many as a person can take in; the rest is counted.
func TestFoldedNames(t *testing.T) {
	entries := []changeset.Entry{{Kind: changeset.Created, Path: "d", After: dir}}
	for i := range 30 {
		entries = append(entries, changeset.Entry{Kind: changeset.Created, Path: raw.String(fmt.Sprintf("d/%02d", i)), After: file(1, 0), Notes: changeset.Privileged | changeset.Attributes})
	}
	l := Of(entries).Folded()[0]
	if n := len(l.Notes); n != 22 || l.Notes[19] != "21 d/19: setuid, setgid or capabilities are not kept" ||
		l.Notes[20] != "and 10 more such in it: each has its line where all paths are listed" || l.Notes[21] != "30 of them: some attributes are not kept" {
		t.Errorf("%q", l.Notes)
	}
}

// TestMoved: a file that was deleted in one place and created in another says so.
func TestMoved(t *testing.T) {
	state := changeset.State{Type: changeset.Regular, Size: 3, Digest: "sha256:1"}
	lines := Of([]changeset.Entry{{Kind: changeset.Created, Path: "a/x", After: state}, {Kind: changeset.Deleted, Path: "x", Before: state}}).All()
	if lines[0].What != "3B, content now in a/x" || lines[1].What != "3B, content from x" {
		t.Errorf("%+v", lines)
	}
}

func TestTotal(t *testing.T) {
	c := changeset.Count{Created: 3, Modified: 1, Deleted: 2, Dropped: 1, Conflicts: 1, Added: 1 << 10, Removed: 1 << 20}
	if got, want := Total(c), "7 paths: 2 deleted, 1 modified, 3 created, 1 dropped; 1 in conflict; 1.0K new, 1.0M gone"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestPath(t *testing.T) {
	entries := []changeset.Entry{
		{Kind: changeset.Created, Path: "a"}, {Kind: changeset.Created, Path: `"a"`}, {Kind: changeset.Created, Path: "d/e\xff\n"},
		{Kind: changeset.Created, Path: `"\x1b"`}, {Kind: changeset.Created, Path: "\x1b"}, {Kind: changeset.Created, Path: "-x y"},
	}
	for typed, want := range map[string]string{
		"a": "a", "./a": "a", "/w/a": "a", "a/": "a", `./"a"`: `"a"`, `"\"a\""`: `"a"`,
		"d": "d", "d/": "d", "d/e\xff\n": "d/e\xff\n", `"d/e\xff\n"`: "d/e\xff\n", "\x1b": "\x1b", `"\"\\x1b\""`: `"\x1b"`, "-x y": "-x y", `"-x y"`: "-x y",
		`"a"`: "", `"\x1b"`: "", "": "", "b": "", "/a": "", "../w/a": "", ".": "", "/w": "", `"`: "", `""`: "", "d/e": "",
	} {
		got, err := Path("/w", entries, typed)
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", typed, got, err, want)
		}
	}
	for _, e := range entries { // as shown
		if got, err := Path("/w", entries, visible.Text(string(e.Path))); e.Path != "\x1b" && (err != nil || got != e.Path) {
			t.Errorf("%q: %q, %v", e.Path, got, err)
		}
	}
}

func TestNumbers(t *testing.T) {
	s := Of(set())
	for text, want := range map[string]string{
		"1-3":       `["old"]`,
		"2":         `["old/x"]`,
		"3, 1 ,4":   `["old" "old/y" "old2"]`,
		"9-12,5":    `["bin/run" "new"]`,
		"15":        `["new/fifo"]`,
		"1-15":      `["old" "old2" "bin/run" "to" "a\x1b[2J" "l" "new" "new.txt" "bin" "new/fifo"]`,
		"":          "",
		"0":         "",
		"16":        "",
		"3-2":       "",
		"1-16":      "",
		"1,,2":      "",
		"1-":        "",
		"x":         "",
		"1-2-3":     "",
		"-1":        "",
		"1e3":       "",
		"999999999": "",
	} {
		paths, err := s.Numbers(text)
		got := ""
		if err == nil {
			got = fmt.Sprintf("%q", paths)
		}
		if got != want {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
}

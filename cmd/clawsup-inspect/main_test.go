// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/skills"
)

func TestSkill(t *testing.T) {
	write := func(content string) func(string) error {
		return func(p string) error { return os.WriteFile(p, []byte(content), 0o644) }
	}
	for name, tt := range map[string]struct {
		make func(path string) error
		name string // of the manifest, "" when it is refused
		line int
		want string // in the message
	}{
		"good":        {write("---\nname: demo\ndescription: A <b>demo</b>.\n---\n"), "demo", 0, ""},
		"hostile":     {write("---\nname: demo\na: &a [*a]\n---\n"), "", 3, "anchor"},
		"missing":     {func(string) error { return nil }, "", 0, "no such file"},
		"a folder":    {func(p string) error { return os.Mkdir(p, 0o755) }, "", 0, "not a regular file"},
		"a link":      {func(p string) error { return os.Symlink("/etc/passwd", p) }, "", 0, "symbolic links"},
		"a FIFO":      {func(p string) error { return unix.Mkfifo(p, 0o644) }, "", 0, "not a regular file"},
		"50 MB":       {func(p string) error { return errors.Join(write("")(p), os.Truncate(p, 50_000_000)) }, "", 0, "longer than 1048576"},
		"much to say": {write("---\nname: demo\ndescription: |\n" + strings.Repeat("  "+strings.Repeat(`\`, 12000)+"\n", 5) + "---\n"), "demo", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := tt.make(filepath.Join(dir, "SKILL.md")); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			status := run([]string{"skill", dir}, nil, &stdout, &stderr)
			if stdout.Len() > skills.MaxManifest || stderr.Len() > 0 || !strings.HasSuffix(stdout.String(), "}\n") {
				t.Fatalf("printed %d bytes and %q", stdout.Len(), stderr.String())
			}
			m, err := skills.DecodeManifest(stdout.Bytes())
			if tt.name != "" {
				if err != nil || m.Name != tt.name || status != 0 {
					t.Fatalf("status %d: %+v, %v", status, m, err)
				}
				return
			}
			var ie *skills.InspectError
			if !errors.As(err, &ie) || status != 1 || !strings.Contains(ie.Message, tt.want) || ie.Line != tt.line {
				t.Fatalf("status %d: %v; want %q on line %d", status, err, tt.want, tt.line)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		args   []string
		status int
	}{
		{[]string{"--help"}, 0}, {[]string{"-h"}, 0}, {nil, 2}, {[]string{"skill"}, 2}, {[]string{"skill", "a", "b"}, 2}, {[]string{"diff", "a"}, 2},
	} {
		var stdout, stderr bytes.Buffer
		if got := run(tt.args, nil, &stdout, &stderr); got != tt.status {
			t.Errorf("%q: status %d, want %d", tt.args, got, tt.status)
		}
		if out := stdout.String() + stderr.String(); out != usage {
			t.Errorf("%q: printed %q", tt.args, out)
		}
	}
}

// What the largest acceptable answer looks like, escaped as JSON, stays in the
// bound or is refused: never cut.
func TestBound(t *testing.T) {
	dir := t.TempDir()
	block := "---\nname: demo\ndescription: |\n" + strings.Repeat("  "+strings.Repeat("\u2028", 1000)+"\n", 20) + "---\n"
	if err := os.WriteFile(filepath.Join(dir, "SKILL.md"), []byte(block), 0o644); err != nil {
		t.Fatal(err)
	}
	out, _ := inspect(dir)
	if len(out) > skills.MaxManifest || !json.Valid(out) {
		t.Errorf("%d bytes, valid: %v", len(out), json.Valid(out))
	}
}

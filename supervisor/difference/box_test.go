// SPDX-License-Identifier: Apache-2.0

package difference_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/clawsup/clawsup/runtime"
	built "github.com/clawsup/clawsup/runtime/programs"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/difference"
)

func TestMain(m *testing.M) {
	runtime.Reexec()
	logrus.SetOutput(io.Discard)
	os.Exit(m.Run())
}

// open makes a supervisor of its own. liar: with that for a clawsup-inspect.
func open(t *testing.T, liar bool) *supervisor.Supervisor {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	programs, err := built.Directory("clawsup-init", "clawsup-template", "clawsup-inspect")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(programs) })
	if liar {
		build := exec.Command("go", "build", "-o", programs+"/clawsup-inspect", "./testdata/liar")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); errors.Is(err, exec.ErrNotFound) {
			t.Skip("needs the Go toolchain")
		} else if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	group := fmt.Sprintf("/clawsup-difference-%d-%s.slice", os.Getpid(), filepath.Base(programs))
	text := fmt.Sprintf("state_dir = %q\nrun_dir = %q\ncgroup_parent = %q\nslots = 8\ninit = %q\ninspect = %q\n",
		programs+"/state", programs+"/run", group, programs+"/clawsup-init", programs+"/clawsup-inspect")
	if err := os.WriteFile(programs+"/clawsup.toml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := supervisor.LoadConfig(programs + "/clawsup.toml")
	if err != nil {
		t.Fatal(err)
	}
	s, err := supervisor.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// file makes one that is open, nil for "none".
func file(t *testing.T, text string) *os.File {
	t.Helper()
	if text == "none" {
		return nil
	}
	f, err := os.CreateTemp(t.TempDir(), "")
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// modified is a modified file with a name that is made to deceive.
var modified = changeset.Entry{
	Kind: changeset.Modified, Path: "dir/\x1b[2Jx\n",
	Before: changeset.State{Type: changeset.Regular, Mode: 0o644, Size: 2, Xattrs: []changeset.Xattr{{Name: "user.a"}, {Name: "user.b", Value: []byte("1")}}},
	After:  changeset.State{Type: changeset.Regular, Mode: 0o755, Size: 3, Modified: 1e9, Xattrs: []changeset.Xattr{{Name: "user.b", Value: []byte("2")}, {Name: "user.c"}}},
}

var modifiedLines = []string{
	`@modified "dir/\x1b[2Jx\n"`,
	"@before: file, mode 0644, 2 bytes, of 1970-01-01T00:00:00Z",
	"@after: file, mode 0755, 3 bytes, of 1970-01-01T00:00:01Z",
	`@other value of attribute "user.b"`, `@new attribute "user.c"`, `@attribute gone: "user.a"`,
}

func TestDifference(t *testing.T) {
	s := open(t, false)
	for name, tt := range map[string]struct {
		before, after string
		want          []string
	}{
		"text":    {"a\n", "b\n\x1b", []string{"@lines: 2 added, 1 removed", "@@ -1,1 +1,2 @@", "-a", "+b", `+\x1b`, `@the line above has escapes, and a \ of its own is \\`, "@the line above has no line feed at its end"}},
		"created": {"none", "a\n", []string{"@lines: 1 added, 0 removed", "@@ -0,0 +1,1 @@", "+a"}},
		"data":    {"\x7fELF\x02\x01\x01\x00", "none", []string{"-application/x-elf, 8 bytes"}},
		"neither": {"none", "none", nil},
	} {
		t.Run(name, func(t *testing.T) {
			lines, cut, err := s.Difference(t.Context(), file(t, tt.before), file(t, tt.after), &modified)
			if err != nil || cut || !slices.Equal(lines, append(slices.Clone(modifiedLines), tt.want...)) {
				t.Errorf("cut %v, %v\n%s", cut, err, strings.Join(lines, "\n"))
			}
		})
	}
	t.Run("a link", func(t *testing.T) {
		lines, _, err := s.Difference(t.Context(), nil, nil, &changeset.Entry{Kind: changeset.Created, Path: "l", Target: "/etc\u202e",
			After: changeset.State{Type: changeset.Symlink, Mode: 0o777, Size: 7}})
		if want := []string{`@created "l"`, "@after: link, mode 0777, of 1970-01-01T00:00:00Z", `@it leads to "/etc\u202e"`}; err != nil || !slices.Equal(lines, want) {
			t.Errorf("%v %q", err, lines)
		}
	})
	t.Run("a directory", func(t *testing.T) {
		d, err := os.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if lines, _, err := s.Difference(t.Context(), d, nil, &modified); err == nil {
			t.Errorf("%q", lines)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if lines, _, err := s.Difference(ctx, file(t, "a"), file(t, "b"), &modified); !errors.Is(err, context.Canceled) {
			t.Errorf("%q, %v", lines, err)
		}
	})
}

// TestDifferenceOfMuch: contents that are made to cost much are compared within
// the box's memory and time.
func TestDifferenceOfMuch(t *testing.T) {
	s := open(t, false)
	many := func(n int, line func(int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(line(i))
		}
		return b.String()
	}
	for name, tt := range map[string][2]string{
		"line feeds":   {strings.Repeat("\n", difference.MaxContent), strings.Repeat("\n", difference.MaxContent-1) + "x"},
		"two lines":    {many(1<<19, func(i int) string { return string("ab"[i*i%7%2]) + "\n" }), many(1<<19, func(i int) string { return string("ab"[i*i%5%2]) + "\n" })},
		"turned round": {many(150_000, func(i int) string { return fmt.Sprintf("%x\n", i) }), many(150_000, func(i int) string { return fmt.Sprintf("%x\n", 150_000-i) })},
		"1 GiB":        {"sparse", "text"},
	} {
		t.Run(name, func(t *testing.T) {
			before, after := file(t, tt[0]), file(t, tt[1])
			if tt[0] == "sparse" {
				if err := before.Truncate(1 << 30); err != nil {
					t.Fatal(err)
				}
			}
			lines, _, err := s.Difference(t.Context(), before, after, &modified)
			if err != nil || len(lines) < len(modifiedLines)+2 || slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "can't be shown") }) {
				t.Errorf("%v: %.300q", err, lines)
			}
		})
	}
}

// TestDifferenceOfALiar: a clawsup-inspect that was taken over can't hide what
// root says, nor reach the terminal.
func TestDifferenceOfALiar(t *testing.T) {
	s := open(t, true)
	for order, want := range map[string]string{
		`say {"lines":["@all is well"]}`:     "@all is well",
		`say {"lines":["+\u001b[2J\u202e"]}`: `+\x1b[2J\u202e`,
		`say {"lines":["x"]}`:                "@the contents can't be shown: clawsup-inspect printed a line 1 that is of no kind",
		`say {"lines":[]}{"lines":[]}`:       "@the contents can't be shown: clawsup-inspect printed more than one difference",
		`say `:                               "@the contents can't be shown: clawsup-inspect printed something else than a difference: EOF",
		"fail \x1b[2J":                       "@the contents can't be shown: clawsup-inspect ended with status 1; it said \"\\x1b[2J\"",
		"flood":                              "@the contents can't be shown: clawsup-inspect ended output-limit",
		"hang":                               "@the contents can't be shown: clawsup-inspect ended timed-out",
		"fail " + strings.Repeat("x", 1<<20-1024): "@the contents can't be shown: clawsup-inspect ended ",
	} {
		t.Run(order[:min(len(order), 30)], func(t *testing.T) {
			lines, cut, err := s.Difference(t.Context(), file(t, strings.Repeat("b", 1<<20)), file(t, order), &modified)
			if err != nil || len(lines) != len(modifiedLines)+1 || !slices.Equal(lines[:len(modifiedLines)], modifiedLines) ||
				!strings.HasPrefix(lines[len(modifiedLines)], want) || cut != strings.Contains(want, "can't be shown") {
				t.Errorf("cut %v, %v: %.600q", cut, err, lines)
			}
		})
	}
}

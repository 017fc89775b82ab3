// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// asking are the ingredients of a plan about a file of the workspace that a
// person is asked about.
func asking(t *testing.T, text string) (in Ingredients, tool string) {
	t.Helper()
	dir := t.TempDir()
	tool = filepath.Join(dir, "tool")
	if err := os.WriteFile(tool, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	in = ingredients(t)
	in.Profile = profileOf(t, "[effects]\nexec = \"ask\"")
	w, err := openWorkspace(dir, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	in.Workspace = &w
	in.Request.Args = []string{"./tool", "x"}
	in.Vault = vault{filepath.Join(t.TempDir(), "sealed")}
	return in, tool
}

func (v vault) count(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir(v.dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return len(entries)
}

func TestSealed(t *testing.T) {
	const text = "#!/bin/sh\necho good\n"
	in, tool := asking(t, text)
	p := makePlan(t, in)
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text)))
	if p.Sealed == nil || p.Sealed.Digest != digest || p.Call.Argv[0] != "/exec/tool" || p.Executable.Path != "/exec/tool" {
		t.Fatalf("%+v, %+v", p.Sealed, p.Call.Argv)
	}
	question := string(p.question())
	for _, want := range []string{"\"/exec/tool\" \"x\"", "runs from a sealed copy of /workspace/tool\n    " + digest + "\n", "not sealed"} {
		if !strings.Contains(question, want) {
			t.Errorf("%q is not in\n%s", want, question)
		}
	}
	if again := makePlan(t, in); again.Digest != p.Digest {
		t.Error("made twice, two digests")
	} else if err := again.Close(); err != nil {
		t.Error(err)
	}
	// The file is another one now, and what was agreed to is not.
	if err := os.WriteFile(tool, []byte("#!/bin/sh\necho EVIL\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := p.Verify(); err != nil {
		t.Error(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(p.Sealed.file, &st); err != nil || st.Uid != 0 || st.Mode != unix.S_IFREG|0o755 {
		t.Errorf("the copy: %+v, %v", st, err)
	}
	if got, err := os.ReadFile(p.Sealed.file); err != nil || string(got) != text {
		t.Errorf("%q, %v", got, err)
	}
	changed := makePlan(t, in)
	if changed.Digest == p.Digest {
		t.Error("other bytes, the same digest")
	}
	// What lives is not swept; what is left of the dead is.
	if err := os.Mkdir(filepath.Join(in.Vault.dir, "dead"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(in.Vault.dir, "new-1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := in.Vault.sweep(); err != nil {
		t.Fatal(err)
	}
	if n := in.Vault.count(t); n != 2 {
		t.Errorf("%d copies, want 2", n)
	}
	for range 2 {
		for _, p := range []*Plan{p, changed} {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if n := in.Vault.count(t); n != 0 {
		t.Errorf("%d copies are left", n)
	}
}

// TestSealedOrNot: what root alone can change is run as it is, at the place
// where it was found; what others can change is copied.
func TestSealedOrNot(t *testing.T) {
	in, tool := asking(t, "\x7fELF")
	work := filepath.Dir(tool)
	here, err := os.MkdirTemp("/opt", "clawsup-test-") // a profile can't show anything of /tmp
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(here) })
	away := filepath.Join(here, "away")
	chmod := func(path string, mode os.FileMode) func() error { return func() error { return os.Chmod(path, mode) } }
	if err := cmpOr(os.Chmod(here, 0o755), os.Mkdir(away, 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(away, "tool"), []byte("\x7fELF"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/bin/true", filepath.Join(work, "link")); err != nil {
		t.Fatal(err)
	}
	in.Profile = profileOf(t, fmt.Sprintf("[effects]\nexec = \"ask\"\n[files]\nread = [%q]", away))
	for _, c := range []struct {
		name, argv0 string
		do          func() error
		want        string
	}{
		{"by name", "true", chmod(away, 0o755), "/usr/bin/true"},
		{"by path", "/bin/true", chmod(away, 0o755), "/bin/true"},
		{"link in the workspace", "./link", chmod(away, 0o755), "/exec/link"},
		{"through the workspace", "/workspace/../bin/true", chmod(away, 0o755), "/exec/true"},
		{"root's", away + "/tool", chmod(away, 0o755), away + "/tool"},
		{"sticky", away + "/tool", chmod(away, 0o777|os.ModeSticky), away + "/tool"},
		{"open directory", away + "/tool", chmod(away, 0o777), "/exec/tool"},
		{"group's directory", away + "/tool", chmod(away, 0o775), "/exec/tool"},
		{"somebody's directory", away + "/tool", func() error { return os.Chown(away, 1234, 0) }, "/exec/tool"},
		{"open file", away + "/tool", func() error {
			return cmpOr(os.Chown(away, 0, 0), os.Chmod(away, 0o755), os.Chmod(away+"/tool", 0o757))
		}, "/exec/tool"},
		{"somebody's file", away + "/tool", func() error {
			return cmpOr(os.Chmod(away+"/tool", 0o755), os.Chown(away+"/tool", 1234, 0))
		}, "/exec/tool"},
	} {
		if err := c.do(); err != nil {
			t.Fatal(err)
		}
		in.Request.Args = []string{c.argv0}
		p := makePlan(t, in)
		if p.Call.Argv[0] != c.want || (p.Sealed != nil) != strings.HasPrefix(c.want, execDir+"/") {
			t.Errorf("%s: %q, %+v; want %s", c.name, p.Call.Argv, p.Sealed, c.want)
		}
		if err := p.Verify(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	in.Profile = profileOf(t, "")
	in.Request.Args = []string{"./tool"}
	if p := makePlan(t, in); p.Sealed != nil || p.Call.Argv[0] != "./tool" {
		t.Errorf("nobody is asked, and it is sealed: %+v", p.Call.Argv)
	}
}

func cmpOr(errs ...error) error {
	i := slices.IndexFunc(errs, func(err error) bool { return err != nil })
	if i < 0 {
		return nil
	}
	return errs[i]
}

func TestSealedRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(tool string) error
		says string
	}{
		{"too large", func(f string) error { return os.Truncate(f, maxSealed+1) }, "up to 67108864 bytes"},
		{"interpreter in the workspace", func(f string) error { return os.WriteFile(f, []byte("#! /workspace/sh -e\n"), 0o755) }, `"/workspace/sh"`},
		{"interpreter from where it runs", func(f string) error { return os.WriteFile(f, []byte("#!sh\n"), 0o755) }, `"sh"`},
		{"interpreter to come", func(f string) error { return os.WriteFile(f, []byte("#!/usr/bin/no-such\x1b\n"), 0o755) }, `/usr/bin/no-such\x1b`},
		{"missing", os.Remove, "no such program in the box"},
		{"a FIFO", func(f string) error { return cmpOr(os.Remove(f), unix.Mkfifo(f, 0o755)) }, "no such program in the box"},
	} {
		in, tool := asking(t, "#!/bin/sh\n")
		if err := c.do(tool); err != nil {
			t.Fatal(err)
		}
		if p, err := MakePlan(in); err == nil || !strings.Contains(err.Error(), c.says) || p != nil {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
		if n := in.Vault.count(t); n != 0 {
			t.Errorf("%s: %d copies are left", c.name, n)
		}
	}
	// Between finding it and opening it.
	in, tool := asking(t, "#!/bin/sh\n")
	x := viewOf(&makePlan(t, func() Ingredients { in := in; in.Profile = profileOf(t, ""); return in }()).Spec).find("/workspace/tool", "/", nil)
	for what, change := range map[string]func() error{
		"another file": func() error { return cmpOr(os.Rename(tool, tool+"2"), os.WriteFile(tool, nil, 0o755)) },
		"a link":       func() error { return cmpOr(os.Remove(tool), os.Symlink("/bin/sh", tool)) },
		"a FIFO":       func() error { return cmpOr(os.Remove(tool), unix.Mkfifo(tool, 0o755)) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if _, err := in.Vault.seal(x); err == nil {
			t.Errorf("%s was sealed", what)
		}
	}
}

// TestCopiesAreShared: what is asked many times is copied once, as long as one
// plan has it, and a hole takes no room.
func TestCopiesAreShared(t *testing.T) {
	in, tool := asking(t, "\x7fELF")
	const size = 60 << 20
	if err := os.Truncate(tool, size); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(tool, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte("the end"), size-7)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	var plans [4]*Plan
	var all sync.WaitGroup
	for i := range plans {
		all.Go(func() {
			var err error
			if plans[i], err = MakePlan(in); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	for i, p := range plans {
		if n := in.Vault.count(t); n != 1 || p.Sealed.file != plans[0].Sealed.file {
			t.Errorf("%d copies of one file, %s", n, p.Sealed.file)
		}
		var st unix.Stat_t
		if err := unix.Stat(p.Sealed.file, &st); err != nil || st.Size != size || st.Blocks*512 > 1<<20 || st.Nlink != 1 {
			t.Errorf("%+v, %v", st, err)
		}
		if err := cmpOr(p.Verify(), in.Vault.sweep(), p.Verify(), p.Close()); err != nil {
			t.Errorf("plan %d: %v", i, err)
		}
	}
	if n := in.Vault.count(t); n != 0 {
		t.Errorf("%d copies are left", n)
	}
	text, err := os.ReadFile(tool)
	if err != nil {
		t.Fatal(err)
	}
	p := makePlan(t, in)
	if got, err := os.ReadFile(p.Sealed.file); err != nil || !bytes.Equal(got, text) || p.Sealed.Digest != digestOf(string(text)) {
		t.Errorf("other bytes: %d of them, %v", len(got), err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func FuzzInterpreter(f *testing.F) {
	f.Add([]byte("#!/bin/sh -e\n"))
	f.Add([]byte("#! \t/usr/bin/env python3"))
	f.Fuzz(func(t *testing.T, begin []byte) {
		if got := interpreter(begin); strings.ContainsAny(got, "\n \t\x00") || got != "" && !strings.HasPrefix(string(begin), "#!") {
			t.Errorf("%q has the interpreter %q", begin, got)
		}
	})
}

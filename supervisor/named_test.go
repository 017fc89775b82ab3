// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWhichArgumentIsAScript(t *testing.T) {
	for command, want := range map[string]int{
		"python3 x.py":               1,
		"python3.11 -u x.py out":     2,
		"/usr/bin/sh x.sh":           1,
		"sh -c x":                    0, // a command's text, whatever files there are
		"sh -ec x":                   0,
		"sh -o errexit x":            0,
		"sh -s x":                    0,
		"sh - x":                     0,
		"sh --":                      0,
		"python3 -m x":               0,
		"python3 -W ignore x":        0,
		"perl -ne x":                 0,
		"node --eval x":              0,
		"node x":                     1,
		"sh -- x.sh":                 2,
		"env -i A=1 python3 x.py":    4,
		"timeout 9 perl -w x.pl":     4,
		"timeout 9 make x":           0,
		"rm sh x":                    0,
		"grep python x":              0,
		"./tool x":                   0,
		"node":                       0,
		"sh -e":                      0,
		"env sh":                     0,
		"nohup":                      0,
		"awk 1 data":                 0,
		"env -u A B=sh ls x":         0,
		"/workspace/py3.12 x":        0,
		"lua5.4 x.lua":               1,
		"busybox ash /workspace/x y": 2,
	} {
		p := &Plan{}
		p.Call.Argv = strings.Fields(command)
		if got := p.script(); got != want {
			t.Errorf("%s: argument %d, want %d", command, got, want)
		}
	}
	p := &Plan{Executable: Executable{Path: "/usr/bin/python3.11"}}
	p.Call.Argv = []string{"/usr/bin/py", "x.py"}
	if got := p.script(); got != 1 {
		t.Errorf("by another name: %d", got)
	}
}

// naming are the ingredients of a plan whose command names files.
func naming(t *testing.T, args ...string) (in Ingredients, dir string) {
	t.Helper()
	in, tool := asking(t, "echo good\n")
	in.Request.Args = args
	return in, filepath.Dir(tool)
}

func digestOf(text string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text))) }

func TestScriptIsSealed(t *testing.T) {
	in, dir := naming(t, "sh", "-e", "./tool", "tool", "no-such", "/etc/passwd", "--x=tool", "/workspace/./link")
	if err := os.Symlink("tool", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	p := makePlan(t, in)
	if s := p.Interpreted; s == nil || s.Digest != digestOf("echo good\n") || s.From != "/workspace/tool" || p.Call.Argv[2] != "/script/tool" {
		t.Fatalf("%+v %q", p.Interpreted, p.Call.Argv)
	}
	if len(p.Named) != 2 || p.Named[0] != (Named{3, "/workspace/tool", digestOf("echo good\n")}) || p.Named[1] != (Named{7, "/workspace/tool", digestOf("echo good\n")}) {
		t.Errorf("%+v", p.Named)
	}
	question := string(p.question())
	for _, want := range []string{"runs from a sealed copy of /workspace/tool\n    " + digestOf("echo good\n"), "/workspace/tool, argument 3: compared at the start"} {
		if !strings.Contains(question, want) {
			t.Errorf("%q is not in\n%s", want, question)
		}
	}
	if err := p.Verify(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tool"), []byte("echo EVIL\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(p.Interpreted.file); err != nil || string(got) != "echo good\n" {
		t.Errorf("%q, %v", got, err)
	}
	changed := makePlan(t, in)
	if changed.Digest == p.Digest {
		t.Error("other bytes, the same digest")
	}
	for _, p := range []*Plan{p, changed} {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := in.Vault.count(t); n != 0 {
		t.Errorf("%d copies are left", n)
	}
	in.Profile = profileOf(t, "")
	if p := makePlan(t, in); p.Interpreted != nil || p.Named != nil || p.Call.Argv[2] != "./tool" {
		t.Errorf("nobody is asked: %+v", p)
	}
}

// TestScriptToCome: what isn't there yet could be anything by then.
func TestScriptToCome(t *testing.T) {
	for name, c := range map[string]struct {
		argv []string
		do   func(dir string) error
		ok   bool
	}{
		"missing":         {[]string{"sh", "x"}, func(string) error { return nil }, false},
		"a dangling link": {[]string{"sh", "x"}, func(dir string) error { return os.Symlink("y", dir+"/x") }, false},
		"a FIFO":          {[]string{"sh", "x"}, func(dir string) error { return unix.Mkfifo(dir+"/x", 0o644) }, false},
		"a directory":     {[]string{"python3", "."}, func(string) error { return nil }, false},
		"missing, root's": {[]string{"sh", "/usr/bin/no-such"}, func(string) error { return nil }, true},
		"a device":        {[]string{"sh", "/dev/stdin"}, func(string) error { return nil }, true},
		"a text":          {[]string{"sh", "-c", "ls"}, func(dir string) error { return os.WriteFile(dir+"/ls", []byte("evil"), 0o755) }, true},
	} {
		in, dir := naming(t, c.argv...)
		if err := c.do(dir); err != nil {
			t.Fatal(err)
		}
		p, err := MakePlan(in)
		switch {
		case c.ok != (err == nil):
			t.Errorf("%s: %v", name, err)
		case err == nil && (p.Interpreted != nil || p.Call.Argv[len(c.argv)-1] != c.argv[len(c.argv)-1]):
			t.Errorf("%s: %q", name, p.Call.Argv)
		}
		if n := in.Vault.count(t); n != 0 {
			t.Errorf("%s: %d copies are left", name, n)
		}
	}
}

func TestNamedFilesAreCompared(t *testing.T) {
	for name, change := range map[string]func(file string) error{
		"edited":            func(f string) error { return os.WriteFile(f, []byte("echo EVIL\n"), 0o755) },
		"longer":            func(f string) error { return os.Truncate(f, 1<<20) },
		"gone":              os.Remove,
		"a link to another": func(f string) error { return cmpOr(os.Remove(f), os.Symlink("/etc/passwd", f)) },
		"a FIFO":            func(f string) error { return cmpOr(os.Remove(f), unix.Mkfifo(f, 0o644)) },
		"through a hard link": func(f string) error {
			return cmpOr(os.Link(f, f+".link"), os.WriteFile(f+".link", []byte("echo EVIL\n"), 0o755))
		},
	} {
		in, dir := naming(t, "cat", "tool")
		p := makePlan(t, in)
		if len(p.Named) != 1 || p.Interpreted != nil {
			t.Fatalf("%+v", p.Named)
		}
		if err := change(filepath.Join(dir, "tool")); err != nil {
			t.Fatal(err)
		}
		if err := p.Verify(); err == nil || !strings.Contains(err.Error(), "/workspace/tool, argument 1") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The same bytes in another file are the same.
	in, dir := naming(t, "cat", "tool")
	p := makePlan(t, in)
	if err := cmpOr(os.Remove(dir+"/tool"), os.WriteFile(dir+"/tool", []byte("echo good\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := p.Verify(); err != nil {
		t.Error(err)
	}
}

func TestNamedFilesAreBounded(t *testing.T) {
	args := []string{"cat", "huge", strings.Repeat("x/", maxPath)}
	for i := range maxNamed + 2 {
		args = append(args, fmt.Sprint("f", i))
	}
	in, dir := naming(t, args...)
	for _, a := range args[3:] {
		if err := os.WriteFile(filepath.Join(dir, a), []byte(a), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmpOr(os.WriteFile(dir+"/huge", nil, 0o644), os.Truncate(dir+"/huge", maxNamedBytes+1)); err != nil {
		t.Fatal(err)
	}
	p := makePlan(t, in)
	read := 0
	for _, n := range p.Named {
		if n.Digest != "" {
			read++
		}
	}
	if len(p.Named) != maxNamed+3 || read != maxNamed-1 || !strings.Contains(string(p.question()), "NOT CHECKED  4 files") {
		t.Errorf("%d files, %d read\n%s", len(p.Named), read, p.question())
	}
	if err := p.Verify(); err != nil {
		t.Error(err)
	}
}

// TestVaultIsBounded: many questions about large scripts don't fill the disk.
func TestVaultIsBounded(t *testing.T) {
	in, dir := naming(t, "sh", "tool")
	if err := os.Truncate(filepath.Join(dir, "tool"), maxSealed); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(in.Vault.dir, "other") // of another plan
	if err := cmpOr(os.MkdirAll(in.Vault.dir, 0o700), os.WriteFile(other, nil, 0o600), os.Truncate(other, maxVault-maxSealed)); err != nil {
		t.Fatal(err)
	}
	p := makePlan(t, in)
	if err := makePlan(t, in).Close(); err != nil { // takes no room of its own
		t.Error(err)
	}
	in.Request.Args = []string{"sh", "another"}
	if err := os.WriteFile(filepath.Join(dir, "another"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if p, err := MakePlan(in); err == nil || !strings.Contains(err.Error(), "too much waits for people") || p != nil {
		t.Errorf("%v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := makePlan(t, in).Close(); err != nil {
		t.Error(err)
	}
	if n := in.Vault.count(t); n != 1 {
		t.Errorf("%d files are left, want the other's", n)
	}
}

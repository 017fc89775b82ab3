// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestDoctor(t *testing.T) {
	b := newBench(t, "")
	got := b.run("", "doctor")
	if got.status > 1 || !strings.Contains(got.out, "ran /bin/true in") || strings.ContainsRune(got.out, '\x1b') || got.err != "" {
		t.Errorf("%+v", got)
	}
	var report struct {
		Status   int
		Summary  string
		Findings []struct{ Group, Name, Level, Text, Hint string }
	}
	if err := json.Unmarshal([]byte(b.run("", "doctor", "--json").out), &report); err != nil {
		t.Fatal(err)
	}
	if report.Status != got.status || len(report.Findings) < 30 || !strings.Contains(got.out, report.Summary) {
		t.Errorf("%+v", report)
	}

	if got := newBench(t, "lower = [\"landlock\"]\n").run("", "doctor"); got.status != 1 || !strings.Contains(got.out, "given up in the configuration") {
		t.Errorf("a layer is lowered: %+v", got)
	}
	if got := newBench(t, "init = \"/no/such/init\"\n").run("", "doctor"); got.status != 2 || !strings.Contains(got.out, "No sandbox can be made") {
		t.Errorf("there is no init: %+v", got)
	}
	if got := newBench(t, "uid_base = 4294967290\n").run("", "doctor"); got.status != 2 || !strings.Contains(got.err, "beyond the last uid") {
		t.Errorf("a configuration that can't be: %+v", got)
	}
	screen, tty := terminal(t)
	cmd := b.on(tty, "doctor")
	if seen := rest(screen); !strings.Contains(seen, "\x1b[32mok") {
		t.Errorf("no colour on a terminal: %.200q", seen)
	}
	_ = cmd.Wait()
}

// TestLoweredIsSaid: what the operator gave up is in every result.
func TestLoweredIsSaid(t *testing.T) {
	b := newBench(t, "lower = [\"landlock\", \"cgroup.io\"]\n")
	got := b.run("", "run", "--json", "--", "true")
	for _, want := range []string{`{"layer":"landlock","state":"lowered"`, `{"layer":"cgroup.io","state":"lowered"`} {
		if !strings.Contains(got.out, want) {
			t.Errorf("%s is missing in %+v", want, got)
		}
	}
}

func TestProfileCommands(t *testing.T) {
	b := newBench(t, "")
	good := b.write("profiles/mine.toml", "description = \"my own\"\n[limits]\nmemory = \"64M\"\n")
	broken := b.write("broken.toml", "[limits]\nmemroy = \"64M\"\n")
	group := b.write("group.toml", "[seccomp]\ngroups = [\"loopbak\"]\n")
	for _, c := range []struct {
		args   []string
		status int
		out    string
		err    string
	}{
		{[]string{"profile", "list"}, 0, "mine      my own\n", ""},
		{[]string{"profile", "list"}, 0, "strict    no workspace", ""},
		{[]string{"profile", "show", "mine"}, 0, `memory = "64M"`, ""},
		{[]string{"profile", "show", "mine"}, 0, "# " + good, ""},
		{[]string{"profile", "show", "default", "--seccomp"}, 0, "io_uring_setup", ""},
		{[]string{"profile", "check", good}, 0, "is good: profile mine, sha256:", ""},
		{[]string{"profile", "check", broken}, 1, "", broken + ":2: "},
		{[]string{"profile", "check", broken}, 1, "", "memory"},
		{[]string{"profile", "check", group}, 1, "", "loopback"},
		{[]string{"profile", "check", "default"}, 1, "", "default"},
		{[]string{"profile", "show", "nope"}, 1, "", "no profile"},
		{[]string{"profile", "schema"}, 0, `"additionalProperties": false`, ""},
	} {
		got := b.run("", c.args...)
		if got.status != c.status || !strings.Contains(got.out, c.out) || !strings.Contains(got.err, c.err) || c.err == "" && got.err != "" {
			t.Errorf("%v: %+v; want %d, %q, %q", c.args, got, c.status, c.out, c.err)
		}
	}
	var shown struct {
		Name, Digest, Source string
		Values               map[string]any
		Origin               map[string]string
	}
	if err := json.Unmarshal([]byte(b.run("", "profile", "show", "--json", "mine").out), &shown); err != nil {
		t.Fatal(err)
	}
	limits, _ := shown.Values["limits"].(map[string]any)
	if shown.Name != "mine" || limits["memory"] != "64M" || shown.Origin["limits.memory"] != good || len(shown.Digest) != 71 {
		t.Errorf("%+v", shown)
	}
	b.write("profiles/bad.toml", "x = 1\n")
	if got := b.run("", "profile", "list"); got.status != 1 || !strings.Contains(got.out, "CAN'T BE USED") {
		t.Errorf("a broken profile in the list: %+v", got)
	}
}

// TestConfigurationIsRoots: a file that somebody else could have written is
// not read, by any command.
func TestConfigurationIsRoots(t *testing.T) {
	b := newBench(t, "")
	if err := os.Chmod(b.config, 0o666); err != nil {
		t.Fatal(err)
	}
	for args, status := range map[string]int{"run -- true": 125, "profile list": 1, "doctor": 2} {
		if got := b.run("", strings.Fields(args)...); got.status != status || !strings.Contains(got.err, "must belong to root") {
			t.Errorf("%s: %+v", args, got)
		}
	}
}

func TestVersionWithoutStamp(t *testing.T) {
	if os.Getenv("CLAWSUP_VM") != "" {
		t.Skip("the guest has no Go toolchain")
	}
	file := filepath.Join(t.TempDir(), "clawsup")
	if out, err := exec.Command("go", "build", "-o", file, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command(file, "version").Output()
	if err != nil || !strings.HasPrefix(string(out), "clawsup ") || strings.Contains(string(out), "clawsup ,") {
		t.Errorf("%q, %v", out, err)
	}
}

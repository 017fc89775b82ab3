// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// hostile copies a hostile skill to where skills are found by name.
func (b *bench) hostile(names ...string) {
	b.t.Helper()
	for _, name := range names {
		if err := os.CopyFS(filepath.Join(b.dir, "skills", name), os.DirFS("../../testdata/skills/"+name)); err != nil {
			b.t.Fatal(err)
		}
	}
}

// somebodys is a workspace that is not root's, with a file of its owner's.
func (b *bench) somebodys() (dir string, untouched func()) {
	b.t.Helper()
	dir = filepath.Join(b.dir, "work")
	file := b.write("work/canary", "alive")
	for _, p := range []string{dir, file} {
		if err := os.Chown(p, 4242, 4242); err != nil {
			b.t.Fatal(err)
		}
	}
	return dir, func() {
		b.t.Helper()
		text, err := os.ReadFile(file)
		if err != nil || string(text) != "alive" {
			b.t.Errorf("the canary is %q, %v", text, err)
		}
	}
}

// TestHostileSkillsAreHeld runs those that steal and escape in every built-in
// profile, with a canary in the workspace and one in the host's /tmp.
func TestHostileSkillsAreHeld(t *testing.T) {
	b := newBench(t, "")
	b.hostile("thief", "escapee")
	dir, untouched := b.somebodys()
	tmp, err := os.CreateTemp("", "clawsup-canary-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(tmp.Name())
	// strict asks first, and its /tmp is too small for nothing here.
	// Nor may a slow machine make its few seconds the wall that holds.
	b.profile("strict-allowed", "extends = \"strict\"\n[limits]\ncpu = 1.0\ncpu_time = \"1m\"\nwall_time = \"1m\"\n[effects]\nexec = \"allow\"\n")
	names := []string{"default", "build", "strict-allowed", "readonly", "python", "node"}
	if testing.Short() {
		names = names[:3]
	}
	for _, profile := range names {
		for _, skill := range []string{"thief", "escapee"} {
			t.Run(profile+"/"+skill, func(t *testing.T) {
				args := []string{"run-skill", "--profile", profile}
				if profile != "strict-allowed" {
					args = append(args, "--workspace", dir)
				}
				args = append(args, skill)
				if profile != "readonly" && profile != "strict-allowed" && skill == "escapee" {
					// What it writes there goes to a layer, and is nobody's before a person says so.
					args = append(args, "--", "escapee.py", "--except", "write-workspace")
				}
				got := b.run("", args...)
				lines := strings.Split(strings.TrimSpace(got.out), "\n")
				if got.status != 0 || len(lines) < 20 {
					t.Errorf("status %d, %d attempts, %s", got.status, len(lines), got.err)
				}
				for _, line := range lines {
					if !strings.Contains(line, "\tblocked\t") {
						t.Error(line)
					}
				}
				untouched()
				if _, err := os.Stat(tmp.Name()); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestGluttonIsBounded: taking all of something ends with the limit's name,
// or with an error in the box, and never with all of it taken.
func TestGluttonIsBounded(t *testing.T) {
	b := newBench(t, "")
	b.hostile("glutton")
	for what, want := range map[string]string{
		"memory": "out-of-memory", "forks": "pids-limit", "threads": "pids-limit",
		"shared-memory": "", "disk": "", "sparse": "", "inodes": "", "names": "", "descriptors": "",
		"output": "output-limit", "line": "output-limit",
		"cpu": "timed-out", "sleep": "timed-out",
	} {
		t.Run(what, func(t *testing.T) {
			switch what {
			case "threads", "sparse", "names", "line", "cpu":
				if testing.Short() {
					t.Skip("another amount of the same is tried")
				}
			}
			timeout := "50s" // for a slow machine
			if want == "timed-out" {
				timeout = "4s"
			}
			got := b.run("", "run-skill", "--json", "--timeout", timeout, "glutton", "--", "glutton.py", what)
			var result struct {
				Status   string `json:"status"`
				ExitCode int    `json:"exit_code"`
			}
			if err := json.Unmarshal([]byte(got.out), &result); err != nil {
				t.Fatalf("%v: %+v", err, got)
			}
			if want == "" { // an error inside, seen by the program
				if result.Status != "exited" || result.ExitCode != 0 || !strings.Contains(got.err, what+"\tblocked\t") {
					t.Errorf("%+v %.300q", result, got.err)
				}
			} else if result.Status != want {
				t.Errorf("%+v, want %s; %.300q", result, want, got.err)
			}
			if strings.Contains(got.err, "LEAKED") {
				t.Errorf("%.300q", got.err)
			}
		})
	}
}

// TestSurvivorsDoNot: processes that detach themselves in every way end with
// the call. That none is left is what the bench looks for when the test ends.
func TestSurvivorsDoNot(t *testing.T) {
	b := newBench(t, "")
	b.hostile("glutton")
	if got := b.run("", "run-skill", "glutton", "--", "glutton.py", "survivors"); got.status != 3 || !strings.Contains(got.out+got.err, "survivors\tLEAKED\tgot 3") {
		t.Errorf("they were not made: %+v", got)
	}
}

// TestLiarChangesNothing: forged results are output like any other.
func TestLiarChangesNothing(t *testing.T) {
	b := newBench(t, "")
	b.hostile("liar")
	got := b.run("", "run-skill", "--json", "liar")
	var result struct {
		Status   string `json:"status"`
		ExitCode int    `json:"exit_code"`
	}
	if err := json.Unmarshal([]byte(got.out), &result); err != nil {
		t.Fatalf("%v: %q", err, got.out)
	}
	if result.Status != "exited" || result.ExitCode != 7 || got.status != 7 {
		t.Errorf("%+v, status %d", result, got.status)
	}
}

// TestSearchPathsAndHooks: nothing of the caller's
// environment and nothing that lies in the workspace decides what runs.
func TestSearchPathsAndHooks(t *testing.T) {
	b := newBench(t, "")
	dir, untouched := b.somebodys()
	canary := filepath.Join(b.dir, "canary")
	hook := "#!/bin/sh\necho hooked\n"
	for name, text := range map[string]string{
		"python3": hook, "id": hook, "sitecustomize.py": "print('hooked')", "usercustomize.py": "print('hooked')",
		".env": "HOOKED=1", ".bashrc": "echo hooked", ".profile": "echo hooked", ".gitconfig": "[alias]\n\tstatus = !echo hooked\n",
		".npmrc": "node-options=--require ./hook.js", "preload.so": "not a library",
	} {
		file := b.write("work/"+name, text)
		if err := os.Chmod(file, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	hostileEnv := []string{
		"LD_PRELOAD=/workspace/preload.so", "LD_LIBRARY_PATH=/workspace", "LD_AUDIT=/workspace/preload.so",
		"BASH_ENV=/workspace/.bashrc", "ENV=/workspace/.bashrc", "SHELLOPTS=xtrace", "PS4=$(touch " + canary + ")",
		"GIT_SSH_COMMAND=touch " + canary, "GIT_CONFIG_GLOBAL=/workspace/.gitconfig", "NODE_OPTIONS=--require /workspace/hook.js",
		"PYTHONPATH=/workspace", "PYTHONSTARTUP=/workspace/sitecustomize.py", "PERL5OPT=-I/workspace", "RUBYOPT=-r/workspace/x",
		"GCONV_PATH=/workspace", "GLIBC_TUNABLES=glibc.malloc.check=3", "PATH=.:/workspace:/usr/bin:/bin", "SECRET=hooked",
		"IFS=x", "CDPATH=/workspace", "PROMPT_COMMAND=echo hooked", "BASH_FUNC_id%%=() { echo hooked; }",
	}
	for _, command := range []string{
		"env", "id", "python3 -c 'print(1)'", "sh -c 'echo plain'", "bash -c 'echo plain; id'", "perl -e 'print 1'",
		"git config --global --list; git -C /tmp init -q x && git -C /tmp/x status",
	} {
		c := b.command("run", "--workspace", dir, "--", "sh", "-c", command)
		c.Env = append(os.Environ(), hostileEnv...)
		got := b.finish(c)
		if strings.Contains(got.out+got.err, "hooked") || strings.Contains(got.out, "/workspace") && strings.HasPrefix(command, "env") && !strings.Contains(got.out, "PWD=/workspace") {
			t.Errorf("%s: %+v", command, got)
		}
		for _, name := range []string{"LD_", "BASH_ENV", "SECRET", "NODE_OPTIONS", "PYTHONPATH", "GIT_"} {
			if command == "env" && strings.Contains(got.out, name) {
				t.Errorf("%s is in the box: %s", name, got.out)
			}
		}
	}
	if _, err := os.Stat(canary); err == nil {
		t.Error("a hook ran on the host")
	}
	untouched()
}

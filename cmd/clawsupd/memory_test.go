// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// field gives a number of /proc/PID/status, in kB where it has that unit.
func field(t *testing.T, pid int, name string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+)`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("no %s in\n%s", name, text)
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestMemoryIsKept: the daemon can't be looked into and its memory is locked, and
// nothing of that reaches what it starts.
func TestMemoryIsKept(t *testing.T) {
	s := newSite(t, "")
	// What can't be dumped belongs to root:root in /proc, whatever group it has
	// (proc(5)): this one has another.
	const group = 64231
	wrapped := filepath.Join(s.dir, "clawsupd")
	s.write("clawsupd", fmt.Sprintf("#!/bin/sh\nexec setpriv --regid %d --clear-groups %s/clawsupd \"$@\"\n", group, programs))
	if err := os.Chmod(wrapped, 0o755); err != nil {
		t.Fatal(err)
	}
	d := s.launch(wrapped)
	d.await("ready: ")
	pid := d.c.Process.Pid
	if got := field(t, pid, "Gid"); got != group {
		t.Fatalf("it runs with group %d", got)
	}
	var st unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/status", pid), &st); err != nil || st.Gid != 0 {
		t.Errorf("its files in /proc belong to group %d: %v", st.Gid, err)
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		t.Fatal(err)
	}
	// The limit is gone where this process could take it off; under one that
	// stays nothing is locked: see lockMemory.
	unlimited := regexp.MustCompile(`(?m)^Max locked memory +unlimited +unlimited `).Match(limits)
	locked, used := field(t, pid, "VmLck"), field(t, pid, "RssAnon")
	switch caps, err := capability.NewPid2(0); {
	case err != nil || caps.Load() != nil:
		t.Fatal(err)
	case caps.Get(capability.EFFECTIVE, capability.CAP_SYS_RESOURCE) && !unlimited:
		t.Errorf("what it may lock is bounded:\n%s", limits)
	case unlimited && locked < used: // all that has no file behind it is never less than what is in use
		t.Errorf("%d kB are locked of %d kB in use", locked, used)
	case !unlimited && locked > 0:
		t.Errorf("%d kB are locked under a limit, at which a mapping ends the daemon", locked)
	case !unlimited:
		admin, err := s.dial("admin")
		if err != nil {
			t.Fatal(err)
		}
		defer admin.Close()
		status, err := try[api.Daemon](admin, api.Status, api.Nothing{})
		if err != nil || !strings.Contains(strings.Join(status.Notes, "\n"), "that can't be raised") {
			t.Errorf("it does not say that its memory isn't locked: %q, %v", status.Notes, err)
		}
	}
	calls, err := s.dial("call")
	if err != nil {
		t.Fatal(err)
	}
	defer calls.Close()
	const script = `grep -Eq '^VmLck:\s+0 kB' /proc/self/status || exit 3
		grep -Eq '^Max locked memory +65536 +65536 ' /proc/self/limits || exit 4
		grep -Eq '^Max core file size +[01] +[01] ' /proc/self/limits || exit 5`
	made, err := try[api.Call](calls, api.CallSubmit, api.Submit{Args: raw.Of([]string{"sh", "-c", script}), Profile: "build"})
	if err != nil {
		t.Fatal(err)
	}
	ended, err := try[api.Call](calls, api.CallWait, api.CallRef{Call: made.ID})
	if err != nil || ended.Result == nil || ended.Result.Status != runtime.Exited || ended.Result.ExitCode != 0 {
		t.Errorf("%+v, %v", ended.Result, err)
	}
}

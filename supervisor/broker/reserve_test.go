// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/api"
)

// TestSessionCannotFillTheDisk has a call write in its session until the disk
// under the log is nearly full.
func TestSessionCannotFillTheDisk(t *testing.T) {
	h := newHost(t, "[sessions]\nreserve = \"32M\"\n")
	state := filepath.Join(h.dir, "state")
	if err := os.Mkdir(state, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", state, "tmpfs", 0, "size=64m"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		h.stop()
		if err := unix.Unmount(state, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	h.start()
	s := shell("head -c 40000000 /dev/zero >/workspace/f; sleep 1000")
	s.Session, s.Wait = "one", true
	bystander := shell("sleep 1000")
	waiting := ask[api.Call](t, h.dial("call"), api.CallSubmit, bystander)
	v := ask[api.Call](t, h.dial("call"), api.CallSubmit, s)
	if v.Result.Status != runtime.Stopped || !strings.Contains(v.Result.Message, "less than the reserve") {
		t.Fatalf("%+v", v.Result)
	}
	if notes := ask[api.Daemon](t, h.dial("approval"), api.Status, api.Nothing{}).Notes; !strings.Contains(strings.Join(notes, "\n"), "less than the reserve") {
		t.Errorf("nobody is told: %q", notes)
	}
	next := shell("true")
	next.Session, next.Wait = "two", true
	if v := ask[api.Call](t, h.dial("call"), api.CallSubmit, next); v.Result.Status != runtime.Denied || !strings.Contains(v.Reason, "less than the reserve") {
		t.Errorf("another began: %+v", v)
	}
	// Calls without a session write nothing there, and go on.
	if v := ask[api.Call](t, h.dial("call"), api.CallShow, api.CallRef{Call: waiting.ID}); v.State == api.Ended {
		t.Errorf("a bystander was stopped: %+v", v)
	}
	h.says(shell("true"))
	list := ask[[]api.Session](t, h.dial("approval"), api.SessionList, api.Nothing{})
	if len(list) != 1 {
		t.Fatalf("%+v", list)
	}
	if err := os.Remove(filepath.Join(h.broker.sessions.Workspace(list[0].ID), "f")); err != nil {
		t.Fatal(err)
	}
	if v := ask[api.Call](t, h.dial("call"), api.CallSubmit, next); v.Result.Status != runtime.Exited {
		t.Errorf("there is room again: %+v", v)
	}
}

// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestScope asks the real systemd of a v2 host for a scope, makes a leaf in it and runs a child there. The test process
// stays in the scope, which systemd removes when it has ended.
func TestScope(t *testing.T) {
	h := realHost(t)
	if h.Version != V2 {
		t.Skipf("cgroup %v: systemd's rule of one writer is about v2", h.Version)
	}
	if !h.Systemd {
		t.Skip("systemd is not running here")
	}
	p := testParent(t, h)
	own, err := os.ReadFile("/proc/self/cgroup")
	must(t, err)
	if want := "0::" + p.path + "/" + supervisorGroup; strings.TrimSpace(string(own)) != want {
		t.Errorf("this process is in %q, want %q", own, want)
	}
	leaf := newLeaf(t, p, "leaf", Limits{Memory: 64 << 20, NoSwap: h.Usable(Swap), Pids: 20, CPU: 0.5})
	startChild(t, leaf, "sleep").start()
	must(t, leaf.Kill(patience(t)))
	must(t, leaf.Delete())
	again, err := OpenParent(h, "/"+filepath.Base(filepath.Dir(p.path)))
	must(t, err)
	if again.path != p.path {
		t.Errorf("opened again: %s, was %s", again.path, p.path)
	}
}

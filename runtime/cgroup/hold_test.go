// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHeld asks the real systemd of a v2 host for the scope that outlives who
// asks. The holder is a program that only sleeps; what matters is its place.
func TestHeld(t *testing.T) {
	h := realHost(t)
	if h.Version != V2 {
		t.Skipf("cgroup %v: systemd's rule of one writer is about v2", h.Version)
	}
	if !h.Systemd {
		t.Skip("systemd is not running here")
	}
	slice := fmt.Sprintf("/clawsup-held-%d.slice", os.Getpid())
	holder := []string{"/bin/sleep", "600"}
	before, err := os.ReadFile("/proc/self/cgroup")
	must(t, err)
	open := func() *Parent {
		t.Helper()
		p, err := OpenHeld(h, slice, holder)
		must(t, err)
		return p
	}
	holders := func(p *Parent) []int {
		t.Helper()
		pids, err := members(filepath.Join(p.unified(), supervisorGroup))
		must(t, err)
		return pids
	}
	p := open()
	if after, err := os.ReadFile("/proc/self/cgroup"); err != nil || string(after) != string(before) {
		t.Errorf("this process moved to %q %v", after, err)
	}
	held := holders(p)
	if len(held) != 1 {
		t.Fatalf("holders: %v", held)
	}
	leaf := newLeaf(t, p, "leaf", Limits{Memory: 64 << 20, NoSwap: h.Usable(Swap), Pids: 20, CPU: 0.5})
	startChild(t, leaf, "sleep").start()

	again := open()
	if again.path != p.path || !slices.Equal(holders(again), held) {
		t.Errorf("opened again: %s %v, was %s %v", again.path, holders(again), p.path, held)
	}
	must(t, again.Close()) // a leaf is left, so the holder stays
	if got := holders(p); !slices.Equal(got, held) {
		t.Errorf("holders after a Close beside a leaf: %v, were %v", got, held)
	}

	// A scope that has lost its holder gets another one.
	must(t, unix.Kill(held[0], unix.SIGKILL))
	must(t, awaitEvent(patience(t), filepath.Join(p.unified(), supervisorGroup), "populated", 0))
	again = open()
	if got := holders(again); len(got) != 1 || got[0] == held[0] {
		t.Errorf("holders after the first was killed: %v, was %v", got, held)
	}
	found, err := again.Find("leaf")
	must(t, err)
	if own := again.family(); len(own) != 1 {
		t.Errorf("family: %v", own)
	}
	must(t, found.Kill(patience(t)))
	must(t, leaf.Delete())

	// The last to leave ends it, and it can be opened at once again.
	for range 3 {
		must(t, again.Close())
		if _, err := os.Lstat(again.unified()); err == nil {
			t.Errorf("%s is still there", again.unified())
		}
		again = open()
	}
	must(t, again.Close())
}

func TestSlicePath(t *testing.T) {
	for slice, want := range map[string]string{
		"clawsup.slice": "/clawsup.slice", "a-b.slice": "/a.slice/a-b.slice", "a-b-c.slice": "/a.slice/a-b.slice/a-b-c.slice",
	} {
		if got := slicePath(slice); got != want {
			t.Errorf("%s: %s", slice, got)
		}
	}
}

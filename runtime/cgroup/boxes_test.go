// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// newBox is newLeaf with CreateBox.
func newBox(t testing.TB, p *Parent, name string, l Limits) *Leaf {
	t.Helper()
	leaf, err := p.CreateBox(name, l)
	must(t, err)
	t.Cleanup(func() {
		if err := leaf.Remove(patience(t)); err != nil {
			t.Error(err)
		}
	})
	return leaf
}

// TestBox leads a box through its life: a process that enters it is in all its groups, bound by its device rules, counted,
// reported, found and killed.
func TestBox(t *testing.T) {
	for name, h := range hosts(t) {
		if !h.half && h.Usable(Memory) { // a host as it is, or its v1 half
			t.Run(name, func(t *testing.T) { boxLife(t, h) })
		}
	}
}

func boxLife(t *testing.T, h Host) {
	need(t, h, Memory, Pids, Cpuacct, Devices)
	p := testParent(t, h)
	leaf := newBox(t, p, "box", Limits{Memory: 64 << 20, NoSwap: h.Usable(Swap), Pids: 50, CPU: 1})
	pid := enter(t, leaf)
	in := &Leaf{dirs: append(shares(p), leaf.dirs...)}
	for _, dir := range in.dirs {
		if pids, err := members(dir); err != nil || len(pids) != 1 || pids[0] != pid {
			t.Errorf("in %s: %v, %v, want %d", dir, pids, err, pid)
		}
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	must(t, err)
	seen := 0
	for line := range strings.Lines(string(text)) {
		_, path, _ := strings.Cut(line[strings.Index(line, ":")+1:], ":")
		if p.Holds(strings.TrimSpace(path), func(name string) bool { return name == "box" }) {
			seen++
		}
	}
	if seen != len(leaf.dirs) || seen == 0 {
		t.Errorf("%d directories, seen in %d:\n%s", len(leaf.dirs), seen, text)
	}

	bound(t, func(mode string, args ...string) child { return startChild(t, in, mode, args...) })
	must(t, leaf.RestrictDevices())

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events, err := leaf.Watch(ctx)
	must(t, err)
	big := startChild(t, in, "memory80")
	big.start()
	big.Wait()
	expect(t, events, OOM)
	if s, err := leaf.Stats(); err != nil || s.OOMKills == 0 || !s.CPUKnown || s.CPU == 0 || s.User+s.System == 0 ||
		s.User+s.System > 2*s.CPU || s.PidsPeakKnown && s.PidsPeak < 2 || s.MemoryPeakKnown && s.MemoryPeak < 32<<20 {
		t.Errorf("%+v, %v", s, err)
	}
	must(t, p.Sweep(patience(t), deleteWait, func(name string) bool { return name == "box" }))
	if left := existing(in); len(left) != len(in.dirs) {
		t.Errorf("a sweep has left %q of %q", left, in.dirs)
	}
	must(t, leaf.Freeze(patience(t)))
	must(t, leaf.Thaw(patience(t)))
	found, err := p.Find("box")
	must(t, err)
	found.Release()
	must(t, p.Remove(patience(t), "box")) // by its name alone, with a process in it
	if s := state(pid); s != "X" && s != "Z" {
		t.Errorf("%d is in state %s", pid, s)
	}
	if left := existing(leaf); left != nil {
		t.Errorf("left %q", left)
	}
}

// shares are the groups that a box shares with others.
func shares(p *Parent) (dirs []string) {
	for _, s := range p.shared {
		dirs = append(dirs, s.dir)
	}
	return dirs
}

// TestBoxShares has another process's Close take the shared groups away.
func TestBoxShares(t *testing.T) {
	h := realHost(t)
	p := testParent(t, h)
	if len(p.shared) == 0 {
		t.Skip("boxes of this host share nothing")
	}
	leaf := newBox(t, p, "box", Limits{})
	for _, dir := range shares(p) {
		must(t, syscall.Rmdir(dir))
	}
	pid := enter(t, leaf)
	for _, s := range p.shared {
		if pids, err := members(s.dir); err != nil || len(pids) != 1 || pids[0] != pid {
			t.Errorf("in %s: %v, %v", s.dir, pids, err)
		}
		if shown, err := read(s.dir, "devices.list"); s.devices && (err != nil || onlyAllowed(shown) != nil) {
			t.Errorf("%s: %q, %v", s.dir, shown, err)
		}
	}
	must(t, leaf.Kill(patience(t)))
	// Rules that another has left are set right.
	for _, s := range p.shared {
		if s.devices {
			must(t, write(s.dir, "devices.allow", "b *:* rwm"))
		}
	}
	again, err := OpenParent(h, p.path)
	must(t, err)
	for _, s := range again.shared {
		if shown, err := read(s.dir, "devices.list"); s.devices && (err != nil || onlyAllowed(shown) != nil) {
			t.Errorf("%s: %q, %v", s.dir, shown, err)
		}
	}
	must(t, again.Close())
}

// TestRemove takes a leaf away whether there is somebody inside or not.
func TestRemove(t *testing.T) {
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			p := testParent(t, h)
			for _, busy := range []bool{false, true} {
				leaf := newLeaf(t, p, "leaf", Limits{})
				if busy {
					startChild(t, leaf, "sleep").start()
				}
				must(t, leaf.Remove(patience(t)))
				if left := existing(leaf); left != nil {
					t.Errorf("left %q", left)
				}
				must(t, leaf.Remove(patience(t)))
				if _, err := leaf.Stats(); !errors.Is(err, ErrDeleted) {
					t.Error(err)
				}
			}
		})
	}
}

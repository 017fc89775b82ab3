// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// awaitDiskSleep waits until a thread of a process sleeps uninterruptibly, for which there is no event.
func awaitDiskSleep(t *testing.T, pid int) {
	t.Helper()
	for ctx := patience(t); ; runtime.Gosched() {
		stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		for _, file := range stats {
			text, _ := os.ReadFile(file)
			if _, after, _ := strings.Cut(string(text), ") "); strings.HasPrefix(after, "D") {
				return
			}
		}
		if ctx.Err() != nil {
			t.Fatalf("no thread of %d comes to wait for the disk", pid)
		}
	}
}

// TestKillThrottled kills a process whose write the leaf's limit would hold back for two minutes, during which it is
// deaf to signals.
func TestKillThrottled(t *testing.T) {
	h := realHost(t)
	need(t, h, IO, CPU)
	file, disks := diskFile(t)
	leaf := newLeaf(t, testParent(t, h), "throttled", Limits{CPU: 0.5, WriteBps: 64 << 10, ReadBps: 64 << 10, Devices: disks})
	c := startChild(t, leaf, "write", file)
	c.start()
	awaitDiskSleep(t, c.Process.Pid)
	ctx, cancel := context.WithTimeout(patience(t), 20*time.Second)
	defer cancel()
	must(t, leaf.Kill(ctx))
	c.Wait()
	if st := c.ProcessState.Sys().(syscall.WaitStatus); !st.Signaled() || st.Signal() != syscall.SIGKILL {
		t.Errorf("the writer: %v", c.ProcessState)
	}
	// What is left of the limits is nothing, on either version.
	for _, l := range []struct {
		controller Controller
		v1, v2     string
		want       string
	}{
		{CPU, "cpu.cfs_quota_us", "cpu.max", "-1 max 100000"},
		{IO, "blkio.throttle.write_bps_device", "io.max", ""},
		{IO, "blkio.throttle.read_bps_device", "io.max", ""},
	} {
		dir, _ := leaf.dir(l.controller)
		file := l.v1
		if h.Version == V2 {
			file = l.v2
		}
		if have, err := read(dir, file); err != nil || !strings.Contains(l.want, have) {
			t.Errorf("%s is %q after the kill, %v", file, have, err)
		}
	}
}

// TestStuckLeaf has Sweep and Remove come back from a leaf that can't be emptied, and remember it. On v2 there is another
// one that can; what jams a v1 leaf would jam that too.
func TestStuckLeaf(t *testing.T) {
	h := realHost(t)
	p := testParent(t, h)
	stuck := newLeaf(t, p, "stuck", Limits{})
	other := p.leaf("other")
	if h.Version == V2 {
		other = newLeaf(t, p, "other", Limits{})
		startChild(t, other, "sleep").start()
	}
	free := jam(t, p, stuck)
	const wait = 300 * time.Millisecond
	must(t, p.Sweep(context.Background(), wait, func(string) bool { return false })) // would never return without the bound
	if all := p.Stuck(); len(all) != 1 || all["stuck"] == nil || !strings.Contains(all["stuck"].Error(), "still alive") {
		t.Errorf("stuck: %v", all)
	}
	if left := existing(other); left != nil {
		t.Errorf("left %q", left)
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	if err := p.Remove(ctx, "stuck"); err == nil {
		t.Error("a stuck leaf was removed")
	}
	free()
	must(t, p.Remove(patience(t), "stuck"))
	must(t, p.Remove(patience(t), "never-was"))
	if all, left := p.Stuck(), existing(stuck); len(all) != 0 || left != nil {
		t.Errorf("stuck: %v, left %q", all, left)
	}
	if err := p.Remove(patience(t), "../"+strings.TrimPrefix(p.path, "/")); err == nil {
		t.Error("a path was taken for a name")
	}
}

// jam puts a process into the leaf that no signal ends until free is called, by means of the group above: v1 does not let
// a frozen one die; on v2 its write is held back by a limit that isn't the leaf's.
func jam(t *testing.T, p *Parent, leaf *Leaf) (free func()) {
	t.Helper()
	if p.host.Version != V2 {
		need(t, p.host, Freezer)
		startChild(t, leaf, "sleep").start()
		above := &Leaf{host: p.host, path: p.path}
		dir, _ := above.dir(Freezer)
		must(t, above.freeze(patience(t), dir, ownFreeze))
		free = func() { must(t, write(dir, "freezer.state", "THAWED")) }
		t.Cleanup(free)
		return free
	}
	need(t, p.host, IO)
	file, disks := diskFile(t)
	above := &Leaf{host: p.host, path: p.path}
	dir, _ := above.dir(IO)
	c := startChild(t, leaf, "write", file)
	must(t, write(dir, "io.max", disks[0].String()+" wbps=65536"))
	free = func() { must(t, above.lift()) }
	t.Cleanup(free)
	c.start()
	awaitDiskSleep(t, c.Process.Pid)
	return free
}

// TestInotifyHint runs out of inotify instances, in a user namespace that was given none.
func TestInotifyHint(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make a user namespace with root in it")
	}
	root := []syscall.SysProcIDMap{{Size: 1}}
	c := startChildWith(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: root, GidMappings: root}, nil, "inotify")
	c.start()
	said, err := c.output.ReadString('\n')
	if err != nil || !strings.Contains(said, "inotify_init1: too many open files: raise fs.inotify.max_user_instances") {
		t.Errorf("%q %v", said, err)
	}
}

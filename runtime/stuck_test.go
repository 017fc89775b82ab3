// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/cgroup"
	"github.com/clawsup/clawsup/runtime/layer"
)

// unifiedRoot and freezerRoot are where hosts of v2 and of v1 have what a
// test needs to jam a group.
const (
	unifiedRoot = "/sys/fs/cgroup"
	freezerRoot = "/sys/fs/cgroup/freezer"
)

// TestThrottledToolEnds writes to a disk, past the cache, what would take two
// minutes at the rate that the box has. The tool sleeps uninterruptibly in
// that write when its time is over.
func TestThrottledToolEnds(t *testing.T) {
	h := testHost(t)
	dir := workspace(t)
	needDisk(t, h, dir)
	spec := workspaceSpec(t, h, dir, true)
	spec.Group.DiskWrite = 64 << 10
	call := testCall("dd", "if=/dev/zero", "of=/workspace/file", "bs=8M", "count=1", "oflag=direct")
	call.WallTime = time.Second
	begin := time.Now()
	o := runCall(t, h, spec, call, "")
	if o.Status != TimedOut || o.Message != "wall_time of 1s is over" {
		t.Errorf("%v %s %s", o.Status, o.Message, o.err)
	}
	if took := time.Since(begin); took > 10*time.Second { // it was 128
		t.Errorf("the box was gone after %v", took)
	}
	if left := boxProcesses(h.config.Group); left != nil {
		t.Errorf("still there: %v", left)
	}
}

func needDisk(t *testing.T, h *Host, dir string) cgroup.Device {
	t.Helper()
	disks, err := cgroup.DevicesBehind(dir)
	if err != nil || len(disks) == 0 {
		t.Skipf("no block device behind %s: %v", dir, err)
	}
	if !h.groups.Usable(cgroup.IO) {
		t.Skip("this host has no io control")
	}
	return disks[0]
}

// jam makes a group whose processes no signal can end until free is called,
// by means of the group above: v1 doesn't let a frozen process die, and on v2
// its write is held back by a limit that isn't the group's own.
func jam(t *testing.T, h *Host, leaf *cgroup.Leaf) (free func()) {
	t.Helper()
	group := leaf.Config().Path
	above := filepath.Dir(group)
	file, text, thawed := filepath.Join(freezerRoot, above, "freezer.state"), "FROZEN", "THAWED"
	child := intruder(t, group, "exec sleep 600")
	if h.groups.Version == cgroup.V2 {
		dir := workspace(t)
		disk := needDisk(t, h, dir).String()
		file, text, thawed = filepath.Join(unifiedRoot, above, "io.max"), disk+" wbps=65536", disk+" wbps=max"
		child = intruder(t, group, "exec dd if=/dev/zero of="+dir+"/file bs=8M count=1 oflag=direct")
	}
	free = func() { put(t, file, thawed) }
	t.Cleanup(free)
	if h.groups.Version != cgroup.V2 { // a call's box isn't in the freezer itself where v2 can freeze it
		put(t, filepath.Join(freezerRoot, above, "cgroup.procs"), fmt.Sprint(child.pid))
	}
	put(t, file, text)
	if h.groups.Version == cgroup.V2 {
		child.start()
		for state := ""; state != "D"; { // polls /proc; there is no event for it
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child.pid))
			if err != nil {
				t.Fatal(err)
			}
			_, after, _ := strings.Cut(string(stat), ") ")
			state = after[:1]
		}
		return free
	}
	for { // polls; reading is what makes the freezer look
		state, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(state) == "FROZEN\n" {
			return free
		}
	}
}

func put(t *testing.T, file, text string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// guest is a process of the test's own in a box's group.
type guest struct {
	pid   int
	start func() // lets its script run
	ended <-chan struct{}
}

// intruder puts one into every directory of the group.
func intruder(t *testing.T, group, script string) guest {
	t.Helper()
	cmd := exec.Command("sh", "-c", "read x; "+script)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	for _, dir := range groupDirs(group) {
		put(t, filepath.Join(dir, "cgroup.procs"), fmt.Sprint(cmd.Process.Pid))
	}
	return guest{cmd.Process.Pid, func() { _, _ = io.WriteString(in, "\n") }, ended}
}

// groupDirs are the directories of a group that exist.
func groupDirs(group string) []string {
	dirs, _ := filepath.Glob(unifiedRoot + "/*" + group)
	if _, err := os.Lstat(unifiedRoot + group); err == nil {
		dirs = append(dirs, unifiedRoot+group)
	}
	return dirs
}

// TestStuckBoxHoldsNobodyUp leaves a dead box whose process can't be killed.
// The next process starts without it, says so, and uses another slot; when it
// can be killed it is.
func TestStuckBoxHoldsNobodyUp(t *testing.T) {
	h := testHost(t)
	leaf, err := h.parent.Create(h.leafName(0), cgroup.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	slotDir := filepath.Join(h.slotDir(), slotName(0))
	if err := os.Mkdir(slotDir, 0o711); err != nil {
		t.Fatal(err)
	}
	free := jam(t, h, leaf)
	next, err := Open(context.Background(), h.config) // would never return without a bound
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if stuck := next.Stuck(); len(stuck) != 1 || !strings.HasPrefix(stuck[0], next.leafName(0)+": ") || !strings.Contains(stuck[0], "still alive") {
		t.Errorf("stuck: %q", stuck)
	}
	for _, host := range []*Host{next, h} { // one knows of it and the other finds out
		s, err := host.claim(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if s.number != 1 || len(host.Stuck()) != 1 {
			t.Errorf("slot %d, stuck: %q", s.number, host.Stuck())
		}
		if err := s.release(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(slotDir); err != nil {
		t.Error(err)
	}
	full := *next
	full.config.Slots = 1
	if _, err := full.claim(context.Background()); err == nil || !strings.Contains(err.Error(), "could not be removed: "+full.leafName(0)+": ") {
		t.Errorf("no slot is left: %v", err)
	}

	free()
	if err := next.Sweep(context.Background()); err != nil {
		t.Error(err)
	}
	if stuck, left := next.Stuck(), groupDirs(leaf.Config().Path); stuck != nil || left != nil {
		t.Errorf("stuck: %q, left: %q", stuck, left)
	}
	s, err := next.claim(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if s.number != 0 {
		t.Errorf("slot %d", s.number)
	}
	if err := s.release(); err != nil {
		t.Error(err)
	}
}

// TestCloseKeepsWhatItCantRemove closes a box that can't be killed: it must
// come back, leave the slot's directory for the next process to find, and
// that must clean up.
func TestCloseKeepsWhatItCantRemove(t *testing.T) {
	h := testHost(t)
	before := takeInventory(t, h)
	box, err := h.Prepare(context.Background(), testSpec(t, h, layer.CgroupIO))
	if err != nil {
		t.Fatal(err)
	}
	dir, group := box.slot.dir, box.leaf.Config().Path
	free := jam(t, h, box.leaf)
	err = box.Close()
	var e *Error
	if !errors.As(err, &e) || e.Step != StepCleanup {
		t.Errorf("closing a box that can't be killed: %v", err)
	}
	if _, err := os.Lstat(dir); err != nil || len(groupDirs(group)) == 0 {
		t.Errorf("%v, groups %q", err, groupDirs(group))
	}
	free()
	if err := h.Sweep(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s: %v", dir, err)
	}
	awaitEnd(t, boxProcesses(h.config.Group))
	after := takeInventory(t, h)
	after.descriptors = before.descriptors // a box that was given up takes its own with it when it is collected
	after.same(t, before)
}

// TestLeftoverGroupIsCleared finds groups of a slot that has no directory:
// whole, with a process, and in one hierarchy only.
func TestLeftoverGroupIsCleared(t *testing.T) {
	h := testHost(t)
	run := func(what string) {
		t.Helper()
		if o := runCall(t, h, testSpec(t, h), testCall("true"), ""); o.Status != Exited || o.ExitCode != 0 {
			t.Errorf("%s: %+v", what, o.Result)
		}
		if entries, err := os.ReadDir(h.slotDir()); err != nil || len(entries) != 1 || entries[0].Name() != "box-0000.lock" {
			t.Errorf("%s: slot 0 was not used: %v %v", what, entries, err)
		}
	}
	leaf, err := h.parent.Create(h.leafName(0), cgroup.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	group := leaf.Config().Path
	dirs := groupDirs(group)
	run("empty")

	if _, err := h.parent.Create(h.leafName(0), cgroup.Limits{}); err != nil {
		t.Fatal(err)
	}
	child := intruder(t, group, "")
	run("with a process")
	if err := unix.Kill(child.pid, 0); !errors.Is(err, unix.ESRCH) { // reaped or about to be
		select {
		case <-child.ended:
		case <-time.After(time.Minute):
			t.Error("its process lives")
		}
	}

	if err := os.Mkdir(dirs[len(dirs)-1], 0o755); err != nil {
		t.Fatal(err)
	}
	run("one directory")
}

// TestRunDirectoriesKeepApart: two run directories below one group have slots
// of the same numbers. Neither takes the other's box for its own leftover.
func TestRunDirectoriesKeepApart(t *testing.T) {
	h := testHost(t)
	config := h.config
	config.RunDir = t.TempDir() + "/run"
	config.UIDBase += config.Slots * SlotIDs
	open := func() *Host {
		other, err := Open(context.Background(), config)
		if err != nil {
			t.Fatal(err)
		}
		return other
	}
	box, err := h.Prepare(context.Background(), testSpec(t, h))
	if err != nil {
		t.Fatal(err)
	}
	other := open()
	claimed, err := other.claim(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if claimed.number != box.slot.number {
		t.Fatalf("slots %d and %d: nothing is tried", claimed.number, box.slot.number)
	}
	if err := claimed.release(); err != nil {
		t.Error(err)
	}
	if o := giveCall(t, box, testCall("echo", "alive"), ""); o.out != "alive\n" {
		t.Errorf("%+v", o.Result)
	}
	if err := errors.Join(box.Close(), other.Close()); err != nil {
		t.Error(err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inventory is everything that a box could leave behind.
type inventory struct {
	mounts             int // that show in this namespace
	descriptors, files int
	groups             []string // cgroup directories of the test's own parent
	processes          []string // whose user is one of the boxes', or that run clawsup-init
}

func takeInventory(t testing.TB, h *Host) inventory {
	t.Helper()
	var i inventory
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.Contains(lines.Text(), h.config.RunDir) {
			i.mounts++
		}
	}
	_ = f.Close()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		// libcontainer leaves the FIFO of a failed start to the garbage collector.
		if to, _ := os.Readlink("/proc/self/fd/" + fd.Name()); !strings.Contains(to, "/exec.fifo") {
			i.descriptors++
		}
	}
	_ = filepath.WalkDir(h.config.RunDir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !strings.HasSuffix(p, ".lock") {
			i.files++
		}
		return nil
	})
	_ = filepath.WalkDir("/sys/fs/cgroup", func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(p, h.config.Group+"/") {
			i.groups = append(i.groups, p)
		}
		return nil
	})
	i.processes = boxProcesses(h.config.Group)
	return i
}

// victimName is what the programs that get killed call themselves, and so do
// the copies of them that libcontainer starts.
var victimName = fmt.Sprintf("clawsup-victim-%d", os.Getpid())

// boxProcesses finds what is in a box's group, or on its way there. A zombie
// doesn't count: it is its parent's to reap, and after a kill that is the
// host's init. Nor does who makes the boxes, which systemd keeps beside them.
func boxProcesses(group string) []string {
	var found []string
	files, _ := filepath.Glob("/proc/[0-9]*/cgroup")
	for _, file := range files {
		dir := filepath.Dir(file)
		groups, _ := os.ReadFile(file)
		cmdline, _ := os.ReadFile(dir + "/cmdline")
		if stat, _ := os.ReadFile(dir + "/stat"); dying(string(stat)) {
			continue
		}
		inside := false
		for line := range strings.Lines(string(groups)) {
			line = strings.TrimSpace(line)
			inside = inside || strings.Contains(line, group+"/") && !strings.HasSuffix(line, ".scope/supervisor")
		}
		if inside || strings.HasPrefix(string(cmdline), victimName) {
			found = append(found, fmt.Sprintf("%s %q", filepath.Base(dir), cmdline))
		}
	}
	return found
}

// dying says, by its /proc/PID/stat (proc_pid_stat(5)), whether a process runs
// nothing any more: it is a zombie, or on its way to be one, which its control
// group doesn't count either.
func dying(stat string) bool {
	const exiting = 0x4 // PF_EXITING of include/linux/sched.h
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 7 {
		return true // it is gone
	}
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	return fields[0] == "Z" || err == nil && flags&exiting != 0
}

func (i inventory) same(t *testing.T, then inventory) {
	t.Helper()
	if i.mounts != then.mounts {
		t.Errorf("%d mounts, there were %d", i.mounts, then.mounts)
	}
	if i.descriptors > then.descriptors {
		t.Errorf("%d descriptors, there were %d", i.descriptors, then.descriptors)
	}
	if i.files != then.files {
		t.Errorf("%d files, there were %d", i.files, then.files)
	}
	if len(i.groups) != len(then.groups) {
		t.Errorf("groups: %v", i.groups)
	}
	if len(i.processes) != len(then.processes) {
		t.Errorf("processes: %v", i.processes)
	}
}

// TestNoLeakAfterManyRuns counts before and after.
func TestNoLeakAfterManyRuns(t *testing.T) {
	runs := 2000
	if testing.Short() {
		runs = 20
	}
	h := testHost(t)
	spec := testSpec(t, h)
	// The first runs may open what the process keeps.
	for range 5 {
		runCall(t, h, spec, testCall("true"), "")
	}
	before := takeInventory(t, h)
	for i := range runs {
		o := runCall(t, h, spec, testCall("sh", "-c", "echo x > /tmp/f; sleep 600 & exit 3"), "in")
		if o.Status != Exited || o.ExitCode != 3 {
			t.Fatalf("run %d: %+v", i, o.Result)
		}
	}
	takeInventory(t, h).same(t, before)
}

// victimEnv makes this program run boxes until it is killed, in the
// directory that the variable names.
const victimEnv = "CLAWSUP_TEST_VICTIM"

// victimScript is what the calls of a victim do, if not what suits most.
const victimScript = "CLAWSUP_TEST_VICTIM_SCRIPT"

func runVictim(dir string) int {
	h, err := Open(context.Background(), victimConfig(dir))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	script := os.Getenv(victimScript)
	if script == "" {
		script = "(setsid sleep 600 &); sleep 0.01"
	}
	fmt.Println("open")
	for {
		t := &testing.T{}
		runCall(t, h, testSpec(t, h), testCall("sh", "-c", script), "")
	}
}

func victimConfig(dir string) Config {
	return Config{
		RunDir: filepath.Join(dir, "run"), Init: os.Getenv("CLAWSUP_INIT"),
		Group:   "/clawsup-victim-" + filepath.Base(filepath.Dir(dir)) + ".slice",
		UIDBase: DefaultUIDBase, Slots: 64,
	}
}

// TestNothingStaysAfterKill kills a program that makes boxes, at any moment
// of it, again and again. Each start sweeps what the last kill left, and at
// the end nothing is there.
func TestNothingStaysAfterKill(t *testing.T) {
	kills := 200
	if testing.Short() {
		kills = 10
	}
	dir := openDir(t)
	t.Setenv("CLAWSUP_INIT", initProgram)
	defer removeGroups(t, victimConfig(dir).Group)
	h, err := Open(context.Background(), victimConfig(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	before := takeInventory(t, h)
	for range kills {
		cmd := exec.Command("/proc/self/exe")
		cmd.Args[0] = victimName
		cmd.Env = append(os.Environ(), victimEnv+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil || line != "open\n" {
			t.Fatalf("victim: %q %v", line, err)
		}
		// Any moment will do, and no two should be alike.
		time.Sleep(time.Duration(rand.IntN(60_000)) * time.Microsecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	if err := h.Sweep(context.Background()); err != nil {
		t.Error(err)
	}
	awaitEnd(t, boxProcesses(victimConfig(dir).Group))
	takeInventory(t, h).same(t, before)
}

// awaitEnd waits for processes that have lost their host and are about to
// see it: those that were killed before they reached their group.
func awaitEnd(t *testing.T, processes []string) {
	t.Helper()
	for _, p := range processes {
		var pid int
		if _, err := fmt.Sscan(p, &pid); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
		_ = unix.Close(fd)
		if err != nil || n == 0 {
			t.Errorf("%s does not end", p)
		}
	}
}

// TestBoxesDieWithTheirHost kills the host of a running call and needs no
// second start: the box sees the end of its control socket. A box that is
// only being made does not, and is swept.
func TestBoxesDieWithTheirHost(t *testing.T) {
	dir := openDir(t)
	t.Setenv("CLAWSUP_INIT", initProgram)
	cmd := exec.Command("/proc/self/exe")
	cmd.Args[0] = victimName
	cmd.Env = append(os.Environ(), victimEnv+"="+dir, victimScript+"=exec sleep 600")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "open\n" {
		t.Fatalf("victim: %q %v", line, err)
	}
	for !slices.ContainsFunc(boxProcesses(victimConfig(dir).Group), func(p string) bool { return strings.Contains(p, `"sleep\x00600\x00"`) }) {
		time.Sleep(time.Millisecond) // polls /proc; there is no event for it
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	awaitEnd(t, boxProcesses(victimConfig(dir).Group))
	if left := boxProcesses(victimConfig(dir).Group); left != nil {
		t.Errorf("still there: %v", left)
	}
	defer removeGroups(t, victimConfig(dir).Group)
	h, err := Open(context.Background(), victimConfig(dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}

// removeGroups removes a parent group that a killed process made, and which
// its successors therefore leave.
func removeGroups(t *testing.T, group string) {
	t.Helper()
	for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		dirs, _ := filepath.Glob(pattern + group)
		for _, d := range dirs {
			if err := os.Remove(d); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestPrepareKeepsNamespaces: a box is built in a mount namespace of a thread
// of its own; this process and all its threads stay where they were.
func TestPrepareKeepsNamespaces(t *testing.T) {
	h := testHost(t)
	want, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		runCall(t, h, testSpec(t, h), testCall("true"), "")
		for _, file := range []string{"/proc/self/ns/mnt", "/proc/thread-self/ns/mnt"} {
			if got, err := os.Readlink(file); err != nil || got != want {
				t.Fatalf("%s is %s %v, was %s", file, got, err, want)
			}
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// childMode in the environment makes the test binary one of the programs in childModes.
const childMode = "CLAWSUP_CGROUP_TEST_CHILD"

// childModes are what a child does once it has been put into its leaf and its standard input was closed.
var childModes = map[string]func(){
	"sleep": func() { unix.Pause() },
	"memory40": func() {
		touch(40 << 20)
	},
	"memory80": func() { touch(80 << 20) },
	"burn": func() {
		var spin atomic.Int64
		for {
			spin.Add(1)
		}
	},
	"bomb": bomb,
	"stop": func() {
		unix.Kill(os.Getpid(), unix.SIGSTOP)
		unix.Pause()
	},
	"daemon": daemonize,
	"threads": func() {
		for range 64 {
			go func() { // a goroutine that never gives its thread back
				unix.Pause()
			}()
		}
		unix.Pause()
	},
	"open": func() { // as many files as arguments: one error number each
		for _, name := range os.Args[1:] {
			fd, err := unix.Open(name, unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
			if err == nil {
				unix.Close(fd)
			}
			errno, _ := err.(unix.Errno)
			fmt.Println(name, int(errno))
		}
	},
	"node": func() { // /dev/null again
		fmt.Println(unix.Mknod(os.Args[1], unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	},
	"inotify": func() { // in a user namespace of its own, which has no instances to give
		if err := os.WriteFile("/proc/sys/user/max_inotify_instances", []byte("0"), 0); err != nil {
			fmt.Println(err)
			return
		}
		_, err := newInotify()
		fmt.Println(err)
	},
	"write": func() {
		f, err := os.OpenFile(os.Args[1], os.O_WRONLY|unix.O_DIRECT, 0)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		page, err := unix.Mmap(-1, 0, 8<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err == nil {
			_, err = f.Write(page)
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	},
}

func TestMain(m *testing.M) {
	run, ok := childModes[os.Getenv(childMode)]
	if !ok {
		os.Exit(m.Run())
	}
	fmt.Println("ready")
	os.Stdin.Read(make([]byte, 1))
	run()
	os.Exit(0)
}

// touch allocates and dirties bytes of memory.
func touch(bytes int) {
	b, err := unix.Mmap(-1, 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		os.Exit(3)
	}
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
}

// fork is a bare fork: the child has one thread and no Go runtime to speak of, so it may only make raw system calls.
//
//go:norace
//go:nosplit
func fork() uintptr {
	pid, _, _ := syscall.RawSyscall(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0)
	return pid
}

// bomb forks for ever, parents and children alike, each in a session of its own.
//
//go:norace
func bomb() {
	for {
		if fork() == 0 {
			syscall.RawSyscall(syscall.SYS_SETSID, 0, 0, 0)
		}
	}
}

// daemonize forks twice with a new session, as a daemon does, and ends itself.
//
//go:norace
func daemonize() {
	if fork() != 0 {
		return
	}
	syscall.RawSyscall(syscall.SYS_SETSID, 0, 0, 0)
	if fork() != 0 {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
	}
	for {
		syscall.RawSyscall(syscall.SYS_PAUSE, 0, 0, 0)
	}
}

// child is a running program of childModes.
type child struct {
	*exec.Cmd
	start  func() // closes its standard input
	output *bufio.Reader
}

// startChild runs a child inside leaf (nil: where the test is) that waits to be started.
func startChild(t testing.TB, leaf *Leaf, mode string, args ...string) child {
	t.Helper()
	return startChildWith(t, nil, leaf, mode, args...)
}

// startChildWith is startChild with attributes of the process.
func startChildWith(t testing.TB, attributes *syscall.SysProcAttr, leaf *Leaf, mode string, args ...string) child {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.SysProcAttr = attributes
	cmd.Args = append([]string{"clawsup-test-child"}, args...)
	cmd.Env = []string{childMode + "=" + mode, "GOGC=off"}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	c := child{cmd, func() { in.Close() }, bufio.NewReader(out)}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if line, err := c.output.ReadString('\n'); line != "ready\n" {
		t.Fatalf("child %s: said %q, %v", mode, line, err)
	}
	if leaf != nil {
		for _, dir := range leaf.dirs {
			must(t, write(dir, "cgroup.procs", strconv.Itoa(cmd.Process.Pid)))
		}
	}
	return c
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// patience is far longer than anything here takes on a busy machine.
func patience(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// realHost returns this machine, and skips where the test can't run.
func realHost(t testing.TB) Host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make control groups")
	}
	h, err := Detect()
	must(t, err)
	return h
}

// hosts returns this machine, and if it is a hybrid one the same as boxes see it, its v1 half alone, and its v2 half:
// without controllers, but with the kernel's real kill, freeze and events files and device filters.
func hosts(t *testing.T) map[string]Host {
	h := realHost(t)
	all := map[string]Host{h.Version.String(): h}
	if h.Version == Hybrid {
		all["boxes"], _ = h.forBoxes(true)
		v1 := h
		v1.Version = V1
		v1.Hierarchies = slices.DeleteFunc(slices.Clone(h.Hierarchies), func(t Hierarchy) bool { return t.Unified })
		all["v1 half"] = v1
		u := Host{Version: V2, Hierarchies: []Hierarchy{{Mount: hybridMount, Unified: true}}, Kill: true}
		u.usable[Freezer], u.usable[Cpuacct], u.usable[Devices] = true, true, true
		all["unified half"] = u
		// The same as on Linux before 5.14: killEach does the work on v2.
		u.Kill = false
		all["unified half without cgroup.kill"] = u
	}
	return all
}

var parents int

// testParent opens a parent that is removed with everything in it when the test ends.
func testParent(t testing.TB, h Host) *Parent {
	t.Helper()
	parents++
	p, err := OpenParent(h, fmt.Sprintf("/clawsup-test-%d-%d.slice", os.Getpid(), parents))
	must(t, err)
	t.Cleanup(func() {
		if err := p.Sweep(patience(t), 30*time.Second, func(string) bool { return false }); err != nil {
			t.Error(err)
		}
		for _, err := range p.Stuck() {
			t.Error(err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if p.unit {
			return
		}
		for _, tree := range h.Hierarchies {
			if _, err := os.Lstat(filepath.Join(tree.Mount, p.path)); err == nil {
				t.Errorf("%s is left in %s", p.path, tree.Mount)
			}
		}
	})
	return p
}

// need skips the test where the machine lacks a controller.
func need(t testing.TB, h Host, all ...Controller) {
	t.Helper()
	for _, c := range all {
		if !h.Usable(c) {
			t.Skipf("this machine has no %s control", c)
		}
	}
}

// newLeaf makes a leaf that is deleted at the end of the test, if it is still there.
func newLeaf(t testing.TB, p *Parent, name string, l Limits) *Leaf {
	t.Helper()
	leaf, err := p.Create(name, l)
	must(t, err)
	t.Cleanup(func() {
		if err := errors.Join(leaf.Kill(patience(t)), leaf.Delete()); err != nil {
			t.Error(err)
		}
	})
	return leaf
}

// existing returns those directories of leaf that exist.
func existing(leaf *Leaf) []string {
	var left []string
	for _, dir := range leaf.dirs {
		if _, err := os.Lstat(dir); err == nil {
			left = append(left, dir)
		}
	}
	return left
}

// openFiles counts the descriptors of this process.
func openFiles(t testing.TB) int {
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(entries)
}

// state returns the state letter of a process, or X if there is none.
func state(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "X"
	}
	_, after, _ := strings.Cut(string(text), ") ")
	return after[:1]
}

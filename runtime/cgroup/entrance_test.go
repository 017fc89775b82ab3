// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// cloneArgs is struct clone_args of clone3(2), version 2 (Linux 5.7).
type cloneArgs struct {
	flags, pidfd, childTid, parentTid, exitSignal, stack, stackSize, tls, setTid, setTidSize, cgroup uint64
}

// enterByItself is a process of one thread that gets into a leaf by its entrance, says so with a byte on told and sleeps. It
// does what the first process of a sandbox does, with raw system calls alone.
//
//go:norace
//go:nosplit
func enterByItself(args *cloneArgs, size uintptr, tasks []uintptr, told uintptr) (pid uintptr, errno syscall.Errno) {
	pid, _, errno = syscall.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(args)), size, 0)
	if pid != 0 || errno != 0 {
		return pid, errno
	}
	self := [1]byte{'0'}
	for _, fd := range tasks {
		if n, _, _ := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&self[0])), 1); n != 1 {
			syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 1, 0, 0)
		}
	}
	syscall.RawSyscall(syscall.SYS_WRITE, told, uintptr(unsafe.Pointer(&self[0])), 1)
	for {
		syscall.RawSyscall(syscall.SYS_PAUSE, 0, 0, 0)
	}
}

// enter starts enterByItself in leaf and returns its id once it is in. It ends when the leaf is killed.
func enter(t testing.TB, leaf *Leaf) int {
	t.Helper()
	tasks, unified, err := leaf.Entrance()
	must(t, err)
	told, tell, err := os.Pipe()
	must(t, err)
	defer told.Close()
	args := &cloneArgs{exitSignal: uint64(unix.SIGCHLD)}
	if unified != nil {
		defer unified.Close()
		args.flags, args.cgroup = unix.CLONE_INTO_CGROUP, uint64(unified.Fd())
	}
	var fds []uintptr
	for _, f := range tasks {
		defer f.Close()
		fds = append(fds, f.Fd())
	}
	pid, errno := enterByItself(args, unsafe.Sizeof(*args), fds, tell.Fd())
	runtime.KeepAlive(args)
	tell.Close()
	if errno != 0 {
		t.Fatalf("clone3: %v", errno)
	}
	t.Cleanup(func() {
		unix.Kill(int(pid), unix.SIGKILL)
		unix.Wait4(int(pid), nil, 0, nil)
	})
	if n, err := told.Read(make([]byte, 1)); n != 1 {
		t.Fatalf("it did not get in: %v", err)
	}
	return int(pid)
}

// TestEntrance has a process be in every directory of the leaf once it has used the entrance.
func TestEntrance(t *testing.T) {
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			leaf := newLeaf(t, testParent(t, h), "entrance", Limits{})
			files := openFiles(t)
			pid := enter(t, leaf)
			if n := openFiles(t); n != files {
				t.Errorf("%d descriptors, were %d", n, files)
			}
			for _, dir := range leaf.dirs {
				if inside, err := members(dir); err != nil || len(inside) != 1 || inside[0] != pid {
					t.Errorf("in %s: %v, %v, want %d", dir, inside, err, pid)
				}
			}
			if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid)); err != nil || strings.Count(string(text), leaf.path+"\n") != len(leaf.dirs) {
				t.Errorf("%d directories, %v:\n%s", len(leaf.dirs), err, text)
			}
			must(t, leaf.Kill(patience(t)))
			must(t, leaf.Delete())
			if _, _, err := leaf.Entrance(); err == nil {
				t.Error("a leaf that is gone has an entrance")
			}
		})
	}
}

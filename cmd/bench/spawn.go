// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sample is one call.
type sample struct {
	wall time.Duration // from before the spawn to after the wait
	cpu  time.Duration // user and system, of all processes that came of it

	stages stages // of a call, where the asker tells
}

// callTime is how long a call and its orphans may take together.
const callTime = 30 * time.Second

// spawner starts processes and waits for them and for all that they leave.
type spawner struct {
	null   *os.File
	stderr *os.File // what the call of the moment said
	env    []string
}

// newSpawner makes this process the one that orphans of its children come to.
func newSpawner(dir string) (*spawner, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become subreaper: %w", err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	stderr, err := os.OpenFile(filepath.Join(dir, "stderr"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &spawner{null, stderr, []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"}}, nil
}

// spawn runs argv, whose first element is a path, once. Anything but exit
// status 0 is an error with what was said on stderr.
func (s *spawner) spawn(argv []string) (sample, error) {
	if err := s.stderr.Truncate(0); err != nil {
		return sample{}, err
	}
	null := s.null.Fd()
	attr := &syscall.ProcAttr{Env: s.env, Files: []uintptr{null, null, s.stderr.Fd()}}

	start := time.Now()
	pid, err := syscall.ForkExec(argv[0], argv, attr)
	if err != nil {
		return sample{}, fmt.Errorf("start %s: %w", argv[0], err)
	}
	watchdog := time.AfterFunc(callTime, func() {
		fmt.Fprintf(os.Stderr, "bench: %s or what it left is still running after %v\n", strings.Join(argv, " "), callTime)
		os.Exit(1)
	})
	defer watchdog.Stop()
	var got sample
	status, err := s.wait(pid, &got)
	got.wall = time.Since(start)
	if err != nil {
		return sample{}, fmt.Errorf("wait for %s: %w", argv[0], err)
	}
	if err := s.reap(&got); err != nil {
		return sample{}, fmt.Errorf("wait for what %s left: %w", argv[0], err)
	}
	if !status.Exited() || status.ExitStatus() != 0 {
		said, _ := io.ReadAll(io.NewSectionReader(s.stderr, 0, 4096))
		return sample{}, fmt.Errorf("%s: status %#x: %s", strings.Join(argv, " "), uint32(status), strings.TrimSpace(string(said)))
	}
	return got, nil
}

// reap waits for the orphans that came to this process: all its children but
// servers.
func (s *spawner) reap(into *sample) error {
	for {
		left, err := orphans()
		if err != nil || len(left) == 0 {
			return err
		}
		for _, pid := range left {
			if _, err := s.wait(pid, into); err != nil && !errors.Is(err, unix.ECHILD) {
				return err
			}
		}
	}
}

// orphans reads the children of each thread (proc_pid_task(5), CONFIG_PROC_CHILDREN).
func orphans() ([]int, error) {
	files, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(files) == 0 {
		return nil, errors.New("this kernel doesn't tell a process's children: it lacks CONFIG_PROC_CHILDREN")
	}
	var all []int
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended; its children are another's
		}
		for _, field := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				return nil, err
			}
			if _, stays := servers.Load(pid); !stays {
				all = append(all, pid)
			}
		}
	}
	return all, nil
}

// wait waits for one child, and adds its CPU time.
func (s *spawner) wait(pid int, into *sample) (unix.WaitStatus, error) {
	var status unix.WaitStatus
	var use unix.Rusage
	for {
		_, err := unix.Wait4(pid, &status, 0, &use)
		if err == nil {
			into.cpu += time.Duration(use.Utime.Nano() + use.Stime.Nano())
		}
		if !errors.Is(err, unix.EINTR) {
			return status, err
		}
	}
}

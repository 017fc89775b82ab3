// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// kernelTime maps the kernel's threads to the CPU time that each has used.
type kernelTime map[string]time.Duration

// readKernelTime reads /proc/PID/schedstat (kernel document
// scheduler/sched-stats) of all children of kthreadd, whose pid is 2. It is
// empty where a process namespace hides them.
func readKernelTime() kernelTime {
	all := make(kernelTime)
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return all
	}
	for _, dir := range dirs {
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue
		}
		// pid (name) state ppid ...: the name may hold anything
		_, rest, ok := bytes.Cut(stat[max(0, bytes.LastIndexByte(stat, ')')):], []byte(") "))
		fields := bytes.Fields(rest)
		if !ok || len(fields) < 2 || string(fields[1]) != "2" {
			continue
		}
		text, err := os.ReadFile(dir + "/schedstat")
		if err != nil {
			continue
		}
		first, _, _ := bytes.Cut(text, []byte(" "))
		if ns, err := strconv.ParseInt(string(first), 10, 64); err == nil {
			all[dir] = time.Duration(ns)
		}
	}
	return all
}

// since is what was used between two readings; threads that ended in between
// are lost.
func (k kernelTime) since(before kernelTime) time.Duration {
	var sum time.Duration
	for dir, now := range k {
		if then := before[dir]; now >= then {
			sum += now - then
		}
	}
	return sum
}

// milliseconds prints d as the tables do.
func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.2f", float64(d)/float64(time.Millisecond))
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// cgroups is where control groups are mounted.
const cgroups = "/sys/fs/cgroup"

// meter reads the CPU time that all processes of some control groups have used,
// those that are gone included. It needs no controller on cgroup v2.
type meter []string // paths of groups, from the root of the hierarchy

func (m meter) read() time.Duration {
	var sum time.Duration
	for _, group := range m {
		// cpuacct.usage is in ns (kernel document cgroup-v1/cpuacct), usage_usec
		// of cpu.stat in µs (cgroup-v2). A group that isn't there has used nothing.
		if text, err := os.ReadFile(filepath.Join(cgroups, "cpuacct", group, "cpuacct.usage")); err == nil {
			ns, _ := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
			sum += time.Duration(ns)
			continue
		}
		text, _ := os.ReadFile(filepath.Join(cgroups, group, "cpu.stat"))
		if _, rest, ok := bytes.Cut(text, []byte("usage_usec ")); ok {
			us, _, _ := bytes.Cut(rest, []byte("\n"))
			n, _ := strconv.ParseInt(string(us), 10, 64)
			sum += time.Duration(n) * time.Microsecond
		}
	}
	return sum
}

// groupDirs are the directories of a control group in all hierarchies.
func groupDirs(group string) []string {
	dirs, _ := filepath.Glob(cgroups + "/*" + group)
	return append(dirs, cgroups+group)
}

// removeGroup removes a control group and those below it, which must be empty.
func removeGroup(group string) {
	for _, dir := range groupDirs(group) {
		below, _ := filepath.Glob(dir + "/*/")
		for _, leaf := range below {
			_ = os.Remove(leaf)
		}
		_ = os.Remove(dir)
	}
}

// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
)

// Warm makes the next attachment of a process quick on v1. Moving a process there takes a lock of the whole host whose
// first taker after a pause waits for an RCU grace period, some ten milliseconds; whoever follows soon after does not.
// So this process is written into the group that it is in already, which changes nothing but has the waiting done while
// the caller prepares other things. On v2 libcontainer has the kernel start the process in its group (CLONE_INTO_CGROUP)
// and there is nothing to wait for. It is safe to run beside everything else, and an error means only that nothing is
// won.
func (h Host) Warm() {
	if h.Version == V2 {
		return
	}
	for _, t := range h.Hierarchies {
		if t.Unified || len(t.Controllers) == 0 {
			continue
		}
		if group, ok := ownGroup(t.Controllers[0]); ok {
			_ = write(filepath.Join(t.Mount, group), "cgroup.procs", "0")
			return
		}
	}
}

// ownGroup is where this process is in the v1 hierarchy of a controller (cgroups(7), /proc/self/cgroup).
func ownGroup(controller string) (string, bool) {
	f, err := os.Open("/proc/self/cgroup")
	if err != nil {
		return "", false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.SplitN(lines.Text(), ":", 3)
		if len(fields) != 3 {
			continue
		}
		for name := range strings.SplitSeq(fields[1], ",") {
			if name == controller {
				return fields[2], true
			}
		}
	}
	return "", false
}

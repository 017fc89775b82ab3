// SPDX-License-Identifier: Apache-2.0

package layer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/cgroup"
)

// Probe asks the running kernel and host. It changes nothing.
func Probe(groups cgroup.Host) Host {
	h := Host{Kernel: release(), Landlock: landlockABI(), NoSwap: swapTotal() == 0}
	lacks := func(f Feature, why string) {
		if h.Lacks[f] == "" {
			h.Lacks[f] = why
		}
	}
	for _, n := range namespaceFiles {
		if _, err := os.Stat("/proc/self/ns/" + n.file); err != nil {
			lacks(n.feature, "the kernel has no "+n.file+" namespaces")
		}
	}
	if n, err := readInt("/proc/sys/user/max_user_namespaces"); err == nil && n == 0 {
		lacks(UserNamespace, "user.max_user_namespaces is 0")
	}
	if err := unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH, &unix.MountAttr{}); errors.Is(err, unix.ENOSYS) {
		lacks(MountAPI, "the kernel has no mount_setattr")
		lacks(IDMappedMounts, "the kernel has no mount_setattr")
	}
	if !atLeast(h.Kernel, 5, 8) {
		lacks(HidePid, "hidepid of /proc is not per mount in Linux "+h.Kernel)
	}
	if _, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0); err != nil || !seccompAction("kill_process") {
		lacks(SeccompFilter, "the kernel has no seccomp filters")
	}
	for _, c := range []struct {
		feature    Feature
		controller cgroup.Controller
	}{
		{MemoryController, cgroup.Memory}, {SwapAccounting, cgroup.Swap}, {PidsController, cgroup.Pids},
		{CPUController, cgroup.CPU}, {IOController, cgroup.IO},
	} {
		if !groups.Usable(c.controller) {
			lacks(c.feature, fmt.Sprintf("no %s accounting in cgroup %s", c.controller, groups.Version))
		}
	}
	return h
}

var namespaceFiles = []struct {
	file    string
	feature Feature
}{
	{"user", UserNamespace}, {"mnt", CoreNamespaces}, {"pid", CoreNamespaces}, {"net", CoreNamespaces},
	{"ipc", CoreNamespaces}, {"uts", CoreNamespaces}, {"time", TimeNamespace}, {"cgroup", CgroupNamespace},
}

// swapTotal is the size of the host's swap in bytes; -1 if it can't be told.
func swapTotal() int64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return -1
	}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "SwapTotal:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return -1
			}
			return kib << 10
		}
	}
	return -1
}

// landlockABI is the version that the kernel offers; 0 where Landlock is
// absent or off (landlock_create_ruleset(2)).
func landlockABI() int {
	abi, err := ll.LandlockGetABIVersion()
	if err != nil {
		return 0
	}
	return abi
}

func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// atLeast compares the numbers at the beginning of a kernel release.
func atLeast(release string, major, minor int) bool {
	var a, b int
	if n, _ := fmt.Sscanf(release, "%d.%d", &a, &b); n != 2 {
		return false
	}
	return a > major || a == major && b >= minor
}

// seccompAction tells whether the kernel's filters know an action.
func seccompAction(name string) bool {
	b, err := os.ReadFile("/proc/sys/kernel/seccomp/actions_avail")
	return err == nil && bytes.Contains(b, []byte(name))
}

func readInt(file string) (int64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// SPDX-License-Identifier: Apache-2.0

package layer

// Feature is something that a kernel or host has or lacks.
type Feature int

const (
	UserNamespace Feature = iota
	CoreNamespaces
	TimeNamespace
	CgroupNamespace
	MountAPI
	HidePid
	IDMappedMounts
	SeccompFilter
	MemoryController
	SwapAccounting
	PidsController
	CPUController
	IOController
	NumFeatures
)

// hints say how an operator gets a feature.
var hints = [NumFeatures]string{
	UserNamespace:    "CONFIG_USER_NS, and a user.max_user_namespaces above 0",
	CoreNamespaces:   "CONFIG_NAMESPACES with PID, NET, IPC and UTS namespaces",
	TimeNamespace:    "CONFIG_TIME_NS, Linux 5.6",
	CgroupNamespace:  "CONFIG_CGROUPS, Linux 4.6",
	MountAPI:         "Linux 5.12",
	HidePid:          "Linux 5.8",
	IDMappedMounts:   "Linux 5.12 and a file system that supports them: ext4, xfs, btrfs, tmpfs of 6.3, ...",
	SeccompFilter:    "CONFIG_SECCOMP_FILTER",
	MemoryController: "CONFIG_MEMCG; on some machines cgroup_enable=memory on the kernel's command line",
	SwapAccounting:   "swapaccount=1 on the kernel's command line, or no swap on this host",
	PidsController:   "CONFIG_CGROUP_PIDS",
	CPUController:    "CONFIG_CFS_BANDWIDTH",
	IOController:     "CONFIG_BLK_DEV_THROTTLING",
}

// Host is what was found. The zero Host has every feature but Landlock.
type Host struct {
	Kernel   string              // release, as uname(2) gives it
	Landlock int                 // ABI version; 0: none
	NoSwap   bool                // there is no swap that accounting could miss
	Lacks    [NumFeatures]string // why a feature is missing; empty: it is there
}

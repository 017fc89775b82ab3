// SPDX-License-Identifier: Apache-2.0

package layer

// row is what is to be known of one layer.
type row struct {
	name  string
	what  string    // what it does, for people
	needs []Feature // all of them
	abi   int       // Landlock version it needs; 0: none
	cover Layer     // stops the same where this one is absent; itself: nothing does
	firm  bool      // can't be lowered: without it there is no sandbox
}

// rows is the table. Its order is the order of reports.
var rows = [Count]row{
	Identity: {name: "identity", firm: true, cover: Identity,
		what:  "a user namespace with uids that no other box has; the tool has no capability and can gain none",
		needs: []Feature{UserNamespace}},
	Namespaces: {name: "namespaces", firm: true, cover: Namespaces,
		what:  "own mounts, processes, network, IPC and host name",
		needs: []Feature{CoreNamespaces}},
	NamespaceTime: {name: "namespace.time", cover: Identity,
		what:  "own boot and monotonic clocks; without capabilities no clock can be set anyway",
		needs: []Feature{TimeNamespace}},
	NamespaceCgroup: {name: "namespace.cgroup", cover: Root,
		what:  "the host's group names are hidden; no cgroup file system is mounted in the box anyway",
		needs: []Feature{CgroupNamespace}},
	Root: {name: "root", firm: true, cover: Root,
		what:  "a read-only root of the few host directories that programs need, private /proc, /dev and /tmp",
		needs: []Feature{MountAPI, HidePid}},
	RootIDMap: {name: "root.idmap", cover: RootIDMap,
		what:  "the workspace's owner stays its owner, and only that owner's files are the tool's",
		needs: []Feature{IDMappedMounts}},
	Seccomp: {name: "seccomp", cover: Seccomp,
		what:  "system calls denied by default, foreign architectures killed",
		needs: []Feature{SeccompFilter}},
	Landlock: {name: "landlock", cover: Landlock, abi: 2,
		what: "a second wall behind the mounts: only the listed paths can be opened"},
	LandlockTruncate: {name: "landlock.truncate", cover: Root, abi: 3,
		what: "truncation is refused where writing is"},
	LandlockTCP: {name: "landlock.tcp", cover: Network, abi: 4,
		what: "no TCP port can be bound or connected to"},
	LandlockIoctl: {name: "landlock.ioctl", cover: Seccomp, abi: 5,
		what: "no ioctl on a device file"},
	LandlockScope: {name: "landlock.scope", cover: Namespaces, abi: 6,
		what: "no signal and no abstract socket reaches out of the box"},
	LandlockUnix: {name: "landlock.unix", cover: Seccomp, abi: 9,
		what: "no Unix socket that lies in the workspace leads out; where the kernel lacks this, none can be made"},
	LandlockUDP: {name: "landlock.udp", cover: Network, abi: 10,
		what: "no UDP port can be bound or sent to"},
	CgroupMemory: {name: "cgroup.memory", cover: CgroupMemory,
		what:  "memory of the whole box; too much kills the whole call",
		needs: []Feature{MemoryController}},
	CgroupSwap: {name: "cgroup.swap", cover: CgroupMemory,
		what:  "no swap",
		needs: []Feature{SwapAccounting}},
	CgroupPids: {name: "cgroup.pids", cover: CgroupPids,
		what:  "number of processes and threads",
		needs: []Feature{PidsController}},
	CgroupCPU: {name: "cgroup.cpu", cover: CgroupCPU,
		what:  "share of the processors",
		needs: []Feature{CPUController}},
	CgroupIO: {name: "cgroup.io", cover: CgroupIO,
		what:  "bytes per second from and to block devices",
		needs: []Feature{IOController}},
	Rlimits: {name: "rlimits", firm: true, cover: Rlimits,
		what: "size of a file, descriptors, stack, processes; no core dumps"},
	Time: {name: "time", firm: true, cover: Time,
		what: "wall clock and CPU time of the whole call"},
	Output: {name: "output", firm: true, cover: Output,
		what: "bytes of standard output and standard error"},
	Network: {name: "network", firm: true, cover: Network,
		what:  "an empty network namespace",
		needs: []Feature{CoreNamespaces}},
	Environment: {name: "environment", firm: true, cover: Environment,
		what: "built from nothing by allow-list; loader and interpreter hooks can't be set"},
}

// What tells what a layer does, in a sentence.
func What(l Layer) string { return rows[l].what }

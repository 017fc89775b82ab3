// SPDX-License-Identifier: Apache-2.0

// Package cgroup gives every sandbox a control group of its own: it limits, measures, watches, freezes, kills
// and removes it, on hosts with cgroup v1, with both versions mounted (hybrid), and with cgroup v2.
//
// # Order of operations
//
//	host, err := cgroup.Detect()                              // what this machine can do
//	parent, err := cgroup.OpenParent(host, "/clawsup.slice")  // once per supervisor
//	err = parent.Sweep(ctx, wait, keep)                       // what a killed predecessor left
//	leaf, err := parent.Create("agent-7", limits)             // once per service, empty
//	container.Cgroups = leaf.Config()                         // libcontainer joins it
//	leaf, err := parent.CreateBox("call-7", limits)           // once per sandbox, empty
//	tasks, unified, err := leaf.Entrance()                    // a process joins by itself
//	events, err := leaf.Watch(ctx)                            // out of memory, pids limit
//	stats, err := leaf.Stats()
//	err = leaf.Kill(ctx)
//	err = leaf.Delete()                                       // or both: leaf.Remove(ctx)
//	err = parent.Close()
//
// # One leaf, many directories
//
// On cgroup v2 a leaf is one directory. On v1 it is one directory of the same path in each mounted hierarchy,
// and on a hybrid host one more below /sys/fs/cgroup/unified, because that is where libcontainer puts a container
// whose configuration holds an absolute path. [Parent.Create] makes all of them, so that a leaf exists whole before
// the first process enters it, and [Leaf.Delete] and [Parent.Sweep] look for it in all of them.
//
// Each of these directories costs a sandbox some 40 µs, so a leaf of [Parent.CreateBox], which libcontainer never sees, has
// one only where it needs it: for memory, pids, cpu and blkio, and in the v2 hierarchy, whose kill, freeze and account of CPU
// time need no controller (where that can't kill, or there is none: for freezer and cpuacct instead). The groups
// "_boxes" in the hierarchies of devices and of systemd are common to all of a parent's boxes: their rules are the same, and
// systemd must only not take them for processes of a unit. In any other hierarchy (cpuset, net_cls, ...) a sandbox is where
// the process is that started it.
//
// # Limits are exact or an error
//
// A zero field of [Limits] means that this part is not enforced. Every other field is written, read back and
// compared. What can't be set is a [*LimitError] that names controller and file, so that a caller can offer the
// operator to lower just that part. Two things differ by version:
//
//   - Out of memory ends the whole leaf on v2 (memory.oom.group). v1 kills one process; whoever watches must call
//     [Leaf.Kill] when [OOM] arrives.
//   - Swap is forbidden by memory.swap.max = 0 on v2. On v1 it takes memory.memsw.limit_in_bytes equal to the memory
//     limit, hence a memory limit and a kernel that accounts swap.
//   - Buffers of TCP and UDP sockets are part of the memory limit on v2. On v1 they are not: there they have a limit of
//     their own beside it, memory.kmem.tcp.limit_in_bytes, which in spite of its name counts both (tried on Linux 6.18).
//     It is set to a quarter of the memory limit and at most 16 MiB, so a leaf may use that much more than its limit.
//     Buffers of Unix sockets are ordinary kernel memory, which the memory limit covers on both.
//
// # Killing
//
// v2 has cgroup.kill (Linux 5.14), which is atomic; a hybrid host has it in its v2 half. Everywhere else the leaf is frozen, so that nothing forks, each
// process is signalled through a pidfd that is known to be of this leaf, and the leaf is thawed, until a fresh reading
// of every directory finds nobody. Either way the leaf's limits of io and cpu are lifted first: a process whose write the
// limit holds back sleeps uninterruptibly for as long as the write takes at that rate, and one without a share of the
// processor can't even die.
//
// A process in uninterruptible sleep for any other reason can't be killed by anyone; then the context's end is the end,
// and the error says who is left. [Parent.Sweep] goes on without such a leaf, and [Parent.Stuck] lists it.
//
// # systemd
//
// Where systemd owns the v2 tree only it may write to groups that it has not given away. There [OpenParent] asks it for
// a delegated scope in the slice, moves this process into the scope's child group "supervisor", and makes leaves
// beside that. This process then no longer is in the group that it was started in.
//
// A service has to stay in its own unit, and its leaves outlive it: [OpenHeld] uses one scope for ever, in whose supervisor
// group sits a process that does nothing else. Whoever has taken over the name of a leaf (by a lock, say) takes over the
// leaf with [Parent.Find], wherever it was made.
//
// # Limits of this package
//
//   - A v1 kernel without memory.kmem.tcp.limit_in_bytes has no limit for socket buffers but the host's own
//     net.ipv4.tcp_mem and udp_mem.
//   - On v2 all watches of a parent use one inotify instance of this process's user (fs.inotify.max_user_instances, 128 by
//     default), and each wait for a death or a freeze uses another while it lasts.
//   - Device rules are not part of [Limits]: libcontainer insists on writing them, [Leaf.Config] says which. Boxes have
//     them from the beginning; any other leaf that does without libcontainer calls [Leaf.RestrictDevices].
//   - v1 counts and throttles only direct and synchronous input and output per group; buffered writes reach the disk
//     from a kernel thread that belongs to the root group. v2 attributes them on ext4, btrfs and xfs.
//   - A file system on several disks (btrfs) is throttled on the one that it was mounted by.
//   - On v1 a failed fork in a nested group counts there and not in the leaf. Sandboxes can't make nested groups.
//   - Names are trusted to be unique. A [Leaf] that was deleted does nothing any more; one that somebody else deleted, and
//     of whose name there is a new one, would act on that.
//
// The kernel's documents are Documentation/admin-guide/cgroup-v2.rst and Documentation/admin-guide/cgroup-v1/.
package cgroup

// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"syscall"
)

// mapping gives a user namespace that maps one host owner to another, for
// MOUNT_ATTR_IDMAP. The calling thread must be locked.
func mapping(from, to Owner, program string) (*os.File, error) {
	return userNamespace(
		[]syscall.SysProcIDMap{{ContainerID: from.UID, HostID: to.UID, Size: 1}},
		[]syscall.SysProcIDMap{{ContainerID: from.GID, HostID: to.GID, Size: 1}}, program)
}

// Valid says whether both are ids: the highest number means nobody (chown(2)).
func (o Owner) Valid() bool {
	return o.UID >= 0 && o.UID < math.MaxUint32 && o.GID >= 0 && o.GID < math.MaxUint32
}

// Swap gives a user namespace, for MOUNT_ATTR_IDMAP, in which two owners have
// changed places and everybody else is who they are. program is any that can be
// started: it runs no instruction. Since root is among those mapped, it takes
// CAP_SETFCAP (user_namespaces(7)).
func Swap(a, b Owner, program string) (*os.File, error) {
	if !a.Valid() || !b.Valid() {
		return nil, fmt.Errorf("make an id mapping: %v or %v is no user and group", a, b)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return userNamespace(swapped(a.UID, b.UID), swapped(a.GID, b.GID), program)
}

// swapped maps all ids to themselves but two, which it swaps.
func swapped(a, b int) []syscall.SysProcIDMap {
	low, high := min(a, b), max(a, b)
	var all []syscall.SysProcIDMap
	add := func(id, host, size int) {
		if size > 0 {
			all = append(all, syscall.SysProcIDMap{ContainerID: id, HostID: host, Size: size})
		}
	}
	if low == high {
		add(0, 0, math.MaxUint32)
		return all
	}
	add(0, 0, low)
	add(low, high, 1)
	add(low+1, low+1, high-low-1)
	add(high, low, 1)
	add(high+1, high+1, math.MaxUint32-1-high)
	return all
}

// userNamespace makes a user namespace with the mappings given. It needs a
// process to be born in: program is started in it under ptrace(2), stops before
// its first instruction, and is killed once the namespace is held by a
// descriptor. The calling thread must be locked.
func userNamespace(uids, gids []syscall.SysProcIDMap, program string) (*os.File, error) {
	pid, err := syscall.ForkExec(program, []string{program}, &syscall.ProcAttr{
		Sys: &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: uids,
			GidMappings: gids,
			Ptrace:      true,
			Pdeathsig:   syscall.SIGKILL,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make an id mapping: %w", err)
	}
	// The child is ours and not yet waited for, so its pid can't be another's.
	f, openErr := os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
	_ = syscall.Kill(pid, syscall.SIGKILL)
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(pid, &status, 0, nil)
		if err == syscall.EINTR || err == nil && status.Stopped() {
			continue
		}
		break
	}
	if openErr != nil {
		return nil, fmt.Errorf("make an id mapping: %w", openErr)
	}
	return f, nil
}

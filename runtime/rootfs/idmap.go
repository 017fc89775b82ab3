// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"fmt"
	"os"
	"syscall"
)

// mapping gives a user namespace that maps one host owner to another, for
// MOUNT_ATTR_IDMAP. A namespace needs a process to be born in: program is
// started in it under ptrace(2), stops before its first instruction, and is
// killed once the namespace is held by a descriptor. The calling thread must
// be locked.
func mapping(from, to Owner, program string) (*os.File, error) {
	pid, err := syscall.ForkExec(program, []string{program}, &syscall.ProcAttr{
		Sys: &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: from.UID, HostID: to.UID, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: from.GID, HostID: to.GID, Size: 1}},
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

// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/rootfs"
)

// hand is a thread with the rights of a workspace's owner and no more: its
// fsuid and fsgid, no supplementary groups, no capabilities. What it may not
// touch, a commit can't touch, whatever a path leads to meanwhile.
type hand struct {
	work chan func()
}

// lend makes the thread, with the capabilities that it keeps after all. It ends
// with end.
func lend(o rootfs.Owner, keep ...int) (*hand, error) {
	h := &hand{work: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its rights
		err := become(o, keep)
		ready <- err
		if err != nil {
			return
		}
		for f := range h.work {
			f()
		}
	}()
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("take the rights of the workspace's owner: %w", err)
	}
	return h, nil
}

// do runs f on the thread. A goroutine that f starts has root's rights again.
func (h *hand) do(f func() error) error {
	done := make(chan error)
	h.work <- func() { done <- f() }
	return <-done
}

func (h *hand) end() { close(h.work) }

// become gives this thread alone the owner's rights. The system calls are
// meant for a thread (nptl(7): it is the C library that spreads them).
func become(o rootfs.Owner, keep []int) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
		return fmt.Errorf("setgroups: %w", errno)
	}
	// setfsuid(2) tells of no failure; asking again does.
	_, _ = unix.SetfsgidRetGid(o.GID)
	if gid, _ := unix.SetfsgidRetGid(-1); gid != o.GID {
		return fmt.Errorf("setfsgid %d: the group is %d still", o.GID, gid)
	}
	_, _ = unix.SetfsuidRetUid(o.UID)
	if uid, _ := unix.SetfsuidRetUid(-1); uid != o.UID {
		return fmt.Errorf("setfsuid %d: the user is %d still", o.UID, uid)
	}
	var set [2]unix.CapUserData
	for _, c := range keep {
		set[c/32].Effective |= 1 << (c % 32)
		set[c/32].Permitted |= 1 << (c % 32)
	}
	if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &set[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	return nil
}

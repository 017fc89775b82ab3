// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// unified is where a hybrid host has its cgroup v2 hierarchy.
const unified = "/sys/fs/cgroup/unified"

// thread runs functions on an operating system thread of its own.
type thread chan func()

func (t thread) do(f func()) {
	done := make(chan struct{})
	t <- func() { f(); close(done) }
	<-done
}

// plainV1 gives a thread whose processes see no cgroup v2 on a hybrid host. crun
// refuses hybrid hosts whose v2 hierarchy has controllers, whether it is to use
// control groups or not. It gives nil where the host isn't hybrid.
func plainV1() (thread, error) {
	if _, err := os.Stat(unified + "/cgroup.controllers"); err != nil {
		return nil, nil
	}
	t := make(thread)
	ready := make(chan error)
	go func() {
		// never unlocked: with its mounts changed, the thread is no good for others
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Unmount(unified, unix.MNT_DETACH)
		}
		ready <- err
		for err == nil {
			(<-t)()
		}
	}()
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("take %s out of sight: %w", unified, err)
	}
	return t, nil
}

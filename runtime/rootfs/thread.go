// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// OnOwnThread runs f on a thread that ends with it, so that f may change what
// belongs to a thread: see Isolate.
func OnOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The first thread can't end, and would keep what f mounts. While it is
			// taken here, f gets another.
			done <- OnOwnThread(f)
			runtime.UnlockOSThread()
			return
		}
		done <- f() // never unlocked, hence the thread ends
	}()
	return <-done
}

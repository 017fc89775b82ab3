// SPDX-License-Identifier: Apache-2.0

package runtime

import goruntime "runtime"

// onOwnThread runs f on a thread that ends with it, so that f may change what
// belongs to a thread.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		goruntime.LockOSThread() // never unlocked, hence the thread ends
		done <- f()
	}()
	return <-done
}

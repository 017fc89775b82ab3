// SPDX-License-Identifier: Apache-2.0

// Package load puts a compiled filter in front of the calling thread.
package load

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Load applies an array of struct sock_filter to the calling thread, which
// has no_new_privs and is locked (seccomp(2)).
func Load(bpf []byte) error {
	if len(bpf) == 0 || len(bpf)%8 != 0 || len(bpf)/8 > 4096 {
		return fmt.Errorf("a filter of %d bytes: want 1 to 4096 instructions of 8", len(bpf))
	}
	prog := unix.SockFprog{Len: uint16(len(bpf) / 8), Filter: (*unix.SockFilter)(unsafe.Pointer(&bpf[0]))}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	return nil
}

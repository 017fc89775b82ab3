// SPDX-License-Identifier: Apache-2.0

// Package load gives a compiled seccomp filter to the kernel. It needs neither
// cgo nor libseccomp, so that the first process of a sandbox stays small and
// static.
//
// A filter binds the calling thread and what it forks or executes later. It
// can't be taken back. The caller locks its goroutine to the thread, sets
// no_new_privs, does what the filter will refuse, loads, and executes the tool
// from that same thread.
package load

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MaxLen is the kernel's limit of instructions in one filter (BPF_MAXINSNS).
const MaxLen = 4096

// size is that of one struct sock_filter in bytes.
const size = int(unsafe.Sizeof(unix.SockFilter{}))

// Load puts the calling thread under the filter: an array of struct
// sock_filter (linux/filter.h) in native byte order, 1 to MaxLen long. The
// kernel checks the instructions themselves and answers EINVAL to what it
// doesn't accept. EACCES means that no_new_privs is not set. See seccomp(2).
func Load(bpf []byte) error {
	if len(bpf) == 0 || len(bpf)%size != 0 || len(bpf)/size > MaxLen {
		return fmt.Errorf("seccomp filter of %d bytes: want 1 to %d instructions of %d bytes each", len(bpf), MaxLen, size)
	}
	// Copied, because bytes need not be aligned as instructions are.
	program := make([]unix.SockFilter, len(bpf)/size)
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&program[0])), len(bpf)), bpf)
	head := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&head)))
	runtime.KeepAlive(program)
	switch {
	case errno == 0:
		return nil
	case errors.Is(errno, unix.EACCES):
		return fmt.Errorf("load seccomp filter: %w (no_new_privs is not set on this thread)", errno)
	case errors.Is(errno, unix.ENOSYS):
		return fmt.Errorf("load seccomp filter: %w (the kernel needs CONFIG_SECCOMP_FILTER)", errno)
	default:
		return fmt.Errorf("load seccomp filter: %w", errno)
	}
}

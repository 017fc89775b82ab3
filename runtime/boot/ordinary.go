// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ordinary takes off the calling thread what it has from whoever started
// clawsup: scheduling class, priority, personality, blocked signals, and
// ignored signals, limits that would let the tool raise its class again. What
// the starter lowered, a positive nice value, stays.
func ordinary() error {
	if nice, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err == nil && 20-nice < 0 {
		// The system call gives 20 less the nice value (getpriority(2)).
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, 0); err != nil {
			return fmt.Errorf("setpriority: %w", err)
		}
	}
	param := struct{ priority int32 }{}
	var none [8]byte // an empty signal set, as long as the kernel's
	for _, c := range []struct {
		name           string
		trap           uintptr
		a1, a2, a3, a4 uintptr
	}{
		{"sched_setscheduler", unix.SYS_SCHED_SETSCHEDULER, 0, unix.SCHED_NORMAL, uintptr(unsafe.Pointer(&param)), 0},
		{"ioprio_set", unix.SYS_IOPRIO_SET, ioprioProcess, 0, 0, 0},
		{"personality", unix.SYS_PERSONALITY, 0, 0, 0, 0},
		{"rt_sigprocmask", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&none)), 0, uintptr(len(none))},
	} {
		if _, _, errno := unix.RawSyscall6(c.trap, c.a1, c.a2, c.a3, c.a4, 0, 0); errno != 0 {
			return fmt.Errorf("%s: %w", c.name, errno)
		}
	}
	heedSignals()
	for _, resource := range []int{unix.RLIMIT_NICE, unix.RLIMIT_RTPRIO} {
		if err := syscall.Setrlimit(resource, &syscall.Rlimit{}); err != nil {
			return fmt.Errorf("limit %d to 0: %w", resource, err)
		}
	}
	return nil
}

// ioprioProcess is IOPRIO_WHO_PROCESS (ioprio_set(2)); class none, 0, follows
// the nice value.
const ioprioProcess = 1

// heedSignals sets ignored signals back to their defaults: an exec keeps them
// ignored, and resets those that are caught.
func heedSignals() {
	type action struct { // struct sigaction of the kernel, long enough for any architecture
		handler uintptr
		rest    [4]uintptr
	}
	const ignored, size = 1, 8 // SIG_IGN, and the length of a signal set
	for sig := uintptr(1); sig <= 64; sig++ {
		var a action
		if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, 0, uintptr(unsafe.Pointer(&a)), size, 0, 0); errno != 0 || a.handler != ignored {
			continue
		}
		a = action{} // SIG_DFL; SIGKILL and SIGSTOP are never ignored
		_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&a)), 0, size, 0, 0)
	}
}

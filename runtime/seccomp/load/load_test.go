// SPDX-License-Identifier: Apache-2.0

package load

import (
	"errors"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// program gives instructions as bytes.
func program(instructions ...unix.SockFilter) []byte {
	b := make([]byte, len(instructions)*size)
	copy(b, unsafe.Slice((*byte)(unsafe.Pointer(&instructions[0])), len(b)))
	return b
}

// onThread runs f on a thread that ends with it.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer close(done)
		f()
	}()
	<-done
}

var allow = unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}

func TestLoadRefusesLengths(t *testing.T) {
	long := make([]unix.SockFilter, MaxLen+1)
	for i := range long {
		long[i] = allow
	}
	for name, b := range map[string][]byte{
		"nil":            nil,
		"half":           program(allow)[:4],
		"one and a byte": append(program(allow), 0),
		"too long":       program(long...),
	} {
		if err := Load(b); err == nil {
			t.Errorf("%s: loaded", name)
		}
	}
	onThread(func() {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			t.Error(err)
		}
		if err := Load(program(long[:MaxLen]...)); err != nil {
			t.Errorf("%d instructions: %v", MaxLen, err)
		}
	})
}

func TestLoadBindsTheThread(t *testing.T) {
	refuse := program(
		unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_GETPPID, Jf: 1},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EXDEV)},
		allow,
	)
	parent := func() unix.Errno {
		_, _, errno := unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0)
		return errno
	}
	onThread(func() {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			t.Error(err)
		}
		// Misaligned, as a slice out of a message may be.
		shifted := append([]byte{0}, refuse...)[1:]
		if err := Load(shifted); err != nil {
			t.Error(err)
		}
		if errno := parent(); errno != unix.EXDEV {
			t.Errorf("under the filter: %v", errno)
		}
	})
	if errno := parent(); errno != 0 {
		t.Errorf("another thread: %v", errno)
	}
}

func TestLoadSaysWhatTheKernelSays(t *testing.T) {
	onThread(func() {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			t.Error(err)
		}
		fallsOff := program(unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0})
		if err := Load(fallsOff); !errors.Is(err, unix.EINVAL) {
			t.Errorf("a program without an end: %v", err)
		}
		if err := Load(program(allow)); err != nil {
			t.Errorf("after a refused one: %v", err)
		}
	})
	onThread(func() {
		// Root needs no_new_privs only without CAP_SYS_ADMIN.
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&head, &none[0]); err != nil {
			t.Error(err)
		}
		if err := Load(program(allow)); !errors.Is(err, unix.EACCES) {
			t.Errorf("without no_new_privs: %v", err)
		}
	})
}

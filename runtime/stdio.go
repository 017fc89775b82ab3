// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// CheckStdio tells why a descriptor can't be stream number n (0, 1 or 2) of
// a call. Pipes, pseudo-terminals and regular files can, opened for the
// stream's direction. Through a socket a caller could hand descriptors into
// the box; a directory, an O_PATH descriptor or a device is none of a
// tool's business.
func CheckStdio(n int, f *os.File) error {
	if f == nil {
		return fmt.Errorf("stream %d is closed", n)
	}
	var st unix.Stat_t
	var flags int
	err := control(f, func(fd int) (err error) {
		if err = unix.Fstat(fd, &st); err != nil {
			return err
		}
		flags, err = unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		return err
	})
	if err != nil {
		return fmt.Errorf("stream %d: %w", n, err)
	}
	if flags&unix.O_PATH != 0 {
		return fmt.Errorf("stream %d is an O_PATH descriptor", n)
	}
	switch kind := st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFREG, kind == unix.S_IFIFO:
	case kind == unix.S_IFCHR && isPTY(st.Rdev):
	default:
		return fmt.Errorf("stream %d is neither a pipe nor a pseudo-terminal nor a regular file; pass it through a pipe", n)
	}
	mode := flags & unix.O_ACCMODE
	if n == 0 && mode == unix.O_WRONLY || n > 0 && mode == unix.O_RDONLY {
		return fmt.Errorf("stream %d is opened in the wrong direction", n)
	}
	return nil
}

// isPTY tells a pseudo-terminal's slave by its major number: 136 to 143
// (Documentation/admin-guide/devices.txt).
func isPTY(dev uint64) bool {
	major := unix.Major(dev)
	return major >= 136 && major <= 143
}

// descriptors checks the three streams and gives their numbers.
func (s Stdio) descriptors() ([]int, error) {
	var fds []int
	for n, f := range []*os.File{s.In, s.Out, s.Err} {
		if err := CheckStdio(n, f); err != nil {
			return nil, err
		}
		if err := control(f, func(fd int) error { fds = append(fds, fd); return nil }); err != nil {
			return nil, err
		}
	}
	return fds, nil
}

// control runs f on the descriptor without changing its mode, as Fd would.
func control(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	return errors.Join(raw.Control(func(fd uintptr) { inner = f(int(fd)) }), inner)
}

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

// watched tells whether there is somebody to show the output to.
func (s Stdio) watched() bool { return s.Watch != [2]*os.File{} }

// descriptors checks the streams and gives their numbers.
func (s Stdio) descriptors() (fds []int, err error) {
	for n, f := range []*os.File{s.In, s.Out, s.Err} {
		if err := CheckStdio(n, f); err != nil {
			return nil, err
		}
		if fds, err = appendFD(fds, f); err != nil {
			return nil, err
		}
	}
	if !s.watched() {
		return fds, nil
	}
	for n, f := range s.Watch {
		if err := CheckStdio(n+1, f); err != nil {
			return nil, fmt.Errorf("watch: %w", err)
		}
		if fds, err = appendFD(fds, f); err != nil {
			return nil, err
		}
		var st unix.Stat_t
		if err := unix.Fstat(fds[len(fds)-1], &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
			return nil, fmt.Errorf("watch: stream %d is not a pipe", n+1)
		}
	}
	return fds, nil
}

// appendSocket adds the call's socket, if it brings one.
func (c *Call) appendSocket(fds []int) ([]int, error) {
	if c.Socket == nil {
		return fds, nil
	}
	return appendFD(fds, c.Socket)
}

func appendFD(fds []int, f *os.File) ([]int, error) {
	err := control(f, func(fd int) error { fds = append(fds, fd); return nil })
	return fds, err
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

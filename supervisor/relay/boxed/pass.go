// SPDX-License-Identifier: Apache-2.0

package boxed

import (
	"errors"
	"io"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// End is one of two TCP sockets that belong together: an *os.File or a
// *net.TCPConn.
type End interface {
	syscall.Conn
	io.Closer
}

// Pass moves bytes both ways between two sockets until both have said their
// end, and closes them. The end of one direction is passed on while the other
// goes on; a reset of one end becomes one of the other, and so does an error of
// moved. That is called from two goroutines, before n bytes that came from an end,
// 0 for a and 1 for b, go to the other. Whoever closes an end ends Pass.
func Pass(a, b End, moved func(from int, n int64) error) error {
	ends := [2]End{a, b}
	var errs [2]error
	var once sync.Once
	var both sync.WaitGroup
	for from := range ends {
		both.Go(func() {
			errs[from] = move(ends[from], ends[1-from], func(n int64) error { return moved(from, n) })
			if errs[from] != nil {
				once.Do(func() { Reset(a); Reset(b) })
			}
		})
	}
	both.Wait()
	_, _ = a.Close(), b.Close()
	return errors.Join(errs[0], errs[1])
}

// Reset closes a socket so that its other end gets a reset (SO_LINGER, socket(7)).
func Reset(e End) {
	if raw, err := e.SyscallConn(); err == nil {
		_ = control(raw, func(fd int) error {
			return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		})
	}
	_ = e.Close()
}

// move moves bytes until the end of from, and passes the end on.
func move(from, to End, moved func(n int64) error) error {
	source, err := from.SyscallConn()
	if err != nil {
		return err
	}
	target, err := to.SyscallConn()
	if err != nil {
		return err
	}
	for {
		ended, err := moveSome(source, target, moved)
		if err != nil {
			return err
		}
		if ended {
			return control(target, func(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) })
		}
	}
}

// moveSome waits for bytes and moves what there is. A connection at rest has
// no buffer: it takes one when there is something to read.
func moveSome(source, target syscall.RawConn, moved func(n int64) error) (ended bool, err error) {
	var b *buffer
	var n int
	err = until(source.Read, func(fd int) (err error) {
		if b == nil {
			b = takeBuffer()
		}
		if n, err = unix.Read(fd, b.bytes); errors.Is(err, unix.EAGAIN) {
			b.give()
			b = nil
		}
		return err
	})
	if b != nil {
		defer b.give()
	}
	if err != nil || n == 0 {
		return true, err
	}
	if err := moved(int64(n)); err != nil {
		return true, err
	}
	for rest := b.bytes[:n]; len(rest) > 0; {
		var done int
		err := until(target.Write, func(fd int) (err error) {
			done, err = unix.Write(fd, rest)
			return err
		})
		if err != nil {
			return true, err
		}
		rest = rest[done:]
	}
	return false, nil
}

// until waits, by the socket's read or write, until f does something.
func until(ready func(func(uintptr) bool) error, f func(fd int) error) error {
	var failed error
	err := ready(func(fd uintptr) bool {
		for {
			if failed = f(int(fd)); !errors.Is(failed, unix.EINTR) {
				break
			}
		}
		return !errors.Is(failed, unix.EAGAIN)
	})
	return errors.Join(err, failed)
}

func control(raw syscall.RawConn, f func(fd int) error) error {
	var failed error
	err := raw.Control(func(fd uintptr) { failed = f(int(fd)) })
	return errors.Join(err, failed)
}

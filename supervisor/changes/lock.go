// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lock is a lock on a file that all processes share. It ends with the
// descriptor, and so with the process.
//
// The files are FIFOs. They are locked as any file is (fcntl_locking(2), open
// file description locks), and who has one open for writing can be waited for:
// a reader finds the end of the file when the last writer has closed, which
// the kernel does after it has dropped the locks. So a waiter sleeps in the
// poller, without a thread, is woken by whatever ends the holder, kill -9 too,
// and can give up at any moment. Of many waiters each tries again; none is
// promised to be the next.
type lock struct{ fd int }

// part is what of a file is locked, and how.
type part struct {
	kind  int16 // unix.F_RDLCK: with others; unix.F_WRLCK: alone
	start int64
	len   int64 // 0: all from start
}

var (
	shared = part{kind: unix.F_RDLCK}
	alone  = part{kind: unix.F_WRLCK}
)

// openFIFO opens a lock's file. Only who may hold the lock opens it for writing.
func openFIFO(dir int, name string, flags int) (int, error) {
	fd, err := unix.Openat(dir, name, flags|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: name, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		_ = unix.Close(fd)
		return -1, &os.PathError{Op: "open", Path: name, Err: errors.Join(err, errors.New("it is no lock"))}
	}
	return fd, nil
}

// makeFIFO makes a lock's file, where it isn't yet.
func makeFIFO(dir int, name string) error {
	if err := unix.Mknodat(dir, name, unix.S_IFIFO|0o600, 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return &os.PathError{Op: "mknod", Path: name, Err: err}
	}
	return nil
}

// errTaken says that somebody else has the lock.
var errTaken = errors.New("the lock is taken")

// try takes a lock, or gives errTaken.
func try(dir int, name string, p part) (*lock, error) {
	fd, err := openFIFO(dir, name, unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	how := unix.Flock_t{Type: p.kind, Whence: io.SeekStart, Start: p.start, Len: p.len}
	for {
		err = unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err == nil {
		return &lock{fd}, nil
	}
	_ = unix.Close(fd)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return nil, errTaken
	}
	return nil, &os.PathError{Op: "lock", Path: name, Err: err}
}

// release gives the lock back. A child that is being started may have the
// descriptor for a moment still, hence the lock goes first.
func (l *lock) release() {
	all := unix.Flock_t{Type: unix.F_UNLCK, Whence: io.SeekStart}
	_ = unix.FcntlFlock(uintptr(l.fd), unix.F_OFD_SETLK, &all)
	_ = unix.Close(l.fd)
}

// free waits until there was a moment at which nobody had the lock, or the
// context is over.
func free(ctx context.Context, dir int, name string) error {
	fd, err := openFIFO(dir, name, unix.O_RDONLY)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var b [1]byte
	_, err = f.Read(b[:])
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return context.Cause(ctx)
	case err == nil:
		return fmt.Errorf("%s: somebody wrote to a lock", name)
	}
	return err
}

// take waits for a lock.
func take(ctx context.Context, dir int, name string, p part) (*lock, error) {
	for {
		l, err := try(dir, name, p)
		if !errors.Is(err, errTaken) {
			return l, err
		}
		if err := free(ctx, dir, name); err != nil {
			return nil, err
		}
	}
}

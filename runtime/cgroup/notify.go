// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// inotify is a descriptor on which the kernel reports that files of groups have changed (inotify(7); the kernel raises
// IN_MODIFY for every file of the "events" kind).
type inotify struct {
	f  *os.File
	fd int // of f
}

// newInotify watches no file yet.
func newInotify() (inotify, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if errors.Is(err, unix.EMFILE) { // of root's own: sandboxes have other users
		return inotify{}, fmt.Errorf("inotify_init1: %w: raise fs.inotify.max_user_instances with sysctl, "+
			"or the limit of open files if that is lower, or end programs of this user that watch files", err)
	}
	if err != nil {
		return inotify{}, fmt.Errorf("inotify_init1: %w", err)
	}
	return inotify{os.NewFile(uintptr(fd), "inotify"), fd}, nil
}

// add watches a file and returns the number that its events bear; a file that does not exist is an error.
func (n inotify) add(file string) (int32, error) {
	wd, err := unix.InotifyAddWatch(n.fd, file, unix.IN_MODIFY)
	if err != nil {
		return 0, &os.PathError{Op: "inotify_add_watch", Path: file, Err: err}
	}
	return int32(wd), nil
}

// remove ends the watching of a file, which may be gone.
func (n inotify) remove(wd int32) { _, _ = unix.InotifyRmWatch(n.fd, uint32(wd)) }

// awaitEvent waits until a key of the v2 file cgroup.events of group dir ("populated", "frozen") has a value. A group
// that does not exist is neither. The kernel wakes whoever polls such a file when it changes; an inotify instance would do
// too, but closing one takes ten milliseconds.
func awaitEvent(ctx context.Context, dir, key string, want uint64) error {
	const file = "/cgroup.events"
	f, err := openFile(dir+file, unix.O_RDONLY|unix.O_NONBLOCK) // so that Go polls it
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })()
	var failed error
	err = conn.Read(func(fd uintptr) (done bool) {
		var text string
		if text, failed = get(int(fd), dir+file); failed != nil {
			return true
		}
		have, ok := value(text, key)
		if !ok {
			failed = fmt.Errorf("%s%s has no number for %s", dir, file, key)
		}
		return !ok || have == want
	})
	switch {
	case gone(failed):
		return nil
	case failed != nil:
		return failed
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	}
	return err
}

// awaitExit waits until all processes behind pidfds have ended, zombie or not, and closes the descriptors.
func awaitExit(ctx context.Context, pidfds []int) error {
	defer func() {
		for _, fd := range pidfds {
			unix.Close(fd)
		}
	}()
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	rung := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(rung)
		unix.Write(bell, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	defer func() {
		if !stop() {
			<-rung // it must not write to a descriptor that by then is somebody else's
		}
		unix.Close(bell)
	}()
	for _, fd := range pidfds {
		for {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			set := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(bell), Events: unix.POLLIN}}
			_, err := unix.Poll(set, -1)
			if err != nil && !errors.Is(err, unix.EINTR) {
				return fmt.Errorf("poll pidfd: %w", err)
			}
			if err == nil && set[0].Revents != 0 {
				break
			}
		}
	}
	return nil
}

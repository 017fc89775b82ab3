// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pidfd is a process that this one needn't wait for (pidfd_open(2)). Waiting
// takes no thread.
type pidfd struct{ file *os.File }

func newPidfd(fd int) (*pidfd, error) {
	if fd < 0 {
		return nil, errors.New("clawsup-template: no descriptor came with its answer")
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &pidfd{os.NewFile(uintptr(fd), "pidfd")}, nil
}

// kill sends SIGKILL. A process that has ended needs none.
func (p *pidfd) kill() error {
	err := control(p.file, func(fd int) error { return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) })
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// exited tells of a descriptor whether its process has ended.
func exited(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0
}

// ended tells whether it has ended.
func (p *pidfd) ended() bool {
	over := true
	_ = control(p.file, func(fd int) error { over = exited(fd); return nil })
	return over
}

// await returns when it has ended, or with ctx's error.
func (p *pidfd) await(ctx context.Context) error {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	if p.ended() {
		return nil
	}
	if err := p.file.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = p.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	err = raw.Read(func(fd uintptr) bool { return exited(int(fd)) })
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// awaitFor returns when it has ended, or after that long.
func (p *pidfd) awaitFor(d time.Duration) {
	raw, err := p.file.SyscallConn()
	if err == nil && p.file.SetReadDeadline(time.Now().Add(d)) == nil {
		_ = raw.Read(func(fd uintptr) bool { return exited(int(fd)) })
	}
}

// Close closes the descriptor.
func (p *pidfd) Close() error { return p.file.Close() }

// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Kill ends every process of the leaf and of all groups below it with SIGKILL, whatever they do against it: fork, stop
// themselves, change session, be frozen. It returns nil when all are gone from the leaf, past the point where they could run anything (a parent may not have
// waited for them yet), or an error that names who is left when the context ends. A leaf that does not exist has nobody
// to kill. Frozen leaves are thawed by it, and limits of input, output and processor time are lifted from a leaf that has
// processes: whoever waits for a throttled disk is deaf to signals until the wait is over, and dying takes processor time.
func (l *Leaf) Kill(ctx context.Context) error {
	if err := l.enter(); err != nil {
		return nil // deleted, so there was nobody
	}
	defer l.leave()
	l.killing(1)
	defer l.killing(-1)
	err := l.killUnified(ctx)
	if err == nil && l.host.Version != V2 {
		err = l.killEach(ctx) // whom somebody has moved out of the v2 group, or everybody where there is none
	}
	if err == nil {
		return nil
	}
	if pids, _ := processes(l.dirs); len(pids) > 0 {
		err = fmt.Errorf("%w; still alive: %s", err, describe(pids))
	}
	return fmt.Errorf("kill control group %s: %w", l.name, err)
}

// killing counts who is at work. A Freeze that was just writing has done so when it returns, and none waits any more for
// processes to stand still that won't.
func (l *Leaf) killing(n int) {
	l.freezing.Lock()
	defer l.freezing.Unlock()
	l.kills += n
	for _, cancel := range l.freezes {
		cancel()
	}
}

// killUnified uses cgroup.kill, which also catches whoever is being forked. v2 lets frozen processes die, v1 doesn't.
func (l *Leaf) killUnified(ctx context.Context) error {
	root, ok := l.host.v2Mount()
	if !ok {
		return nil
	}
	dir := root + l.path
	// Nearly always the processes have ended by themselves.
	if n, err := readValue(dir, "cgroup.events", "populated"); gone(err) || err == nil && n == 0 {
		return nil
	}
	if l.host.Version != V2 && ctx.Err() != nil {
		return ctx.Err()
	}
	if l.host.Version == V2 && !l.host.Kill {
		return l.killEach(ctx) // Linux before 5.14
	}
	if err := write(dir, "cgroup.kill", "1"); err != nil {
		if !errors.Is(err, unix.ENOENT) {
			return err
		}
		return l.killEach(ctx) // so old a hybrid host, or the whole leaf is gone, which killEach finds out
	}
	lifted := l.lift()
	if freezer, ok := l.dir(Freezer); ok && !l.host.unified(Freezer) {
		if err := l.thaw(freezer); err != nil && !gone(err) {
			return err
		}
	}
	if err := awaitEvent(ctx, dir, "populated", 0); err != nil {
		return errors.Join(err, lifted)
	}
	return nil
}

const (
	killPause  = time.Millisecond       // before looking again when all that was listed was dead already
	freezeWait = 100 * time.Millisecond // for standing still before killing
	killBatch  = 128                    // pidfds open at once
)

// killEach freezes, signals and thaws until nobody is listed any more.
func (l *Leaf) killEach(ctx context.Context) (err error) {
	var lifted error
	defer func() {
		if err != nil {
			err = errors.Join(err, lifted) // it may be why
		}
	}()
	for first := true; ; first = false {
		pids, err := processes(l.dirs)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		if pids[0] == 0 {
			return errors.New("it has a process of a foreign pid namespace, which can't be seen from here")
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if first {
			lifted = l.lift()
		}
		signalled, err := l.killFrozen(ctx)
		if err != nil {
			return err
		}
		if err := awaitExit(ctx, signalled); err != nil {
			return err
		}
		if len(signalled) == 0 {
			select {
			case <-ctx.Done():
			case <-time.After(killPause):
			}
		}
	}
}

// killFrozen freezes the leaf, sends SIGKILL to everybody in it, thaws it, and returns pidfds of some of them to wait for.
func (l *Leaf) killFrozen(ctx context.Context) (signalled []int, err error) {
	if dir, ok := l.dir(Freezer); ok {
		// It needn't stand still: a process that can't be frozen, because it waits for a disk or is just being forked, is
		// killed now or in the next round. Those that do stand still can't fork, and that is what decides the race.
		still, cancel := context.WithTimeout(ctx, freezeWait)
		err := l.freeze(still, dir, ownFreeze)
		cancel()
		if err != nil && !gone(err) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			return nil, err
		}
		defer func() { err = errors.Join(err, l.thaw(dir)) }()
	}
	pids, err := processes(l.dirs)
	if err != nil {
		return nil, err
	}
	for batch := range slices.Chunk(pids, killBatch) {
		for _, fd := range signalled {
			unix.Close(fd)
		}
		if signalled, err = l.signal(batch, unix.SIGKILL); err != nil {
			return signalled, err
		}
	}
	return signalled, nil
}

// signal sends sig to those of pids that are in the leaf and returns their pidfds.
//
// A number alone may belong to somebody else by now. So each pidfd is opened first, and then the leaf is read again: who
// is still listed was in the leaf when the pidfd was opened, or the pidfd is of a dead process, which a signal can't hurt.
func (l *Leaf) signal(pids []int, sig unix.Signal) ([]int, error) {
	type victim struct{ pid, fd int }
	var victims []victim
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
			continue // dead
		}
		if err != nil {
			err = fmt.Errorf("pidfd_open %d: %w", pid, err)
			for _, v := range victims {
				unix.Close(v.fd)
			}
			return nil, err
		}
		victims = append(victims, victim{pid, fd})
	}
	inside, err := processes(l.dirs)
	var signalled []int
	for _, v := range victims {
		if _, in := slices.BinarySearch(inside, v.pid); err != nil || !in {
			unix.Close(v.fd)
			continue
		}
		if kill := unix.PidfdSendSignal(v.fd, sig, nil, 0); kill != nil && !errors.Is(kill, unix.ESRCH) {
			err = fmt.Errorf("signal %d: %w", v.pid, kill)
		}
		signalled = append(signalled, v.fd)
	}
	return signalled, err
}

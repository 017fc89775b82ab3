// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// freezerTick is how often the v1 freezer is asked for its state: it has no event, and reading is what makes it look.
const freezerTick = time.Millisecond

// Freeze stops every process of the leaf and returns when all stand still. If the context ends before that, the leaf is
// thawed again and the error says so. On v1 a frozen process does not even die; Kill thaws, and a Freeze that meets it
// gives way with [ErrKilled].
func (l *Leaf) Freeze(ctx context.Context) error {
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	dir, ok := l.dir(Freezer)
	if !ok {
		return &LimitError{Controller: Freezer, Err: fmt.Errorf("leaf %s can't be frozen", l.name)}
	}
	// A Thaw in the middle would undo what is waited for, and the wait have no end.
	l.steady.Lock()
	defer l.steady.Unlock()
	caller := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer l.standBy(cancel)()
	err := l.freeze(ctx, dir, l.giveWay)
	switch {
	case gone(err): // others may remove an empty leaf, as libcontainer does
		return fmt.Errorf("%s: %w", l.name, ErrDeleted)
	case errors.Is(err, ErrKilled), err != nil && ctx.Err() != nil && caller.Err() == nil:
		return fmt.Errorf("%s: %w", l.name, ErrKilled) // which thaws as it needs
	case err != nil:
		if thawed := l.thaw(dir); thawed != nil {
			return fmt.Errorf("freeze control group %s: %w, and thawing it again: %w", l.name, err, thawed)
		}
		return fmt.Errorf("freeze control group %s: %w", l.name, err)
	}
	return nil
}

// giveWay is asked before each writing of the frozen state: after a Kill has begun nobody but itself may freeze, or what
// it has signalled and thawed would never die.
func (l *Leaf) giveWay() error {
	if l.kills > 0 {
		return ErrKilled
	}
	return nil
}

// standBy has Kill call cancel when it begins, until the returned function is called.
func (l *Leaf) standBy(cancel func()) (leave func()) {
	l.freezing.Lock()
	defer l.freezing.Unlock()
	if l.freezes == nil {
		l.freezes = map[int]func(){}
	}
	l.lastFreeze++
	me := l.lastFreeze
	l.freezes[me] = cancel
	return func() {
		l.freezing.Lock()
		defer l.freezing.Unlock()
		delete(l.freezes, me)
	}
}

// ownFreeze is giveWay of Kill.
func ownFreeze() error { return nil }

// freeze has all processes stand still. may is asked with the lock of freezing held.
func (l *Leaf) freeze(ctx context.Context, dir string, may func() error) error {
	set := func(file, state string) error {
		l.freezing.Lock()
		defer l.freezing.Unlock()
		if err := may(); err != nil {
			return err
		}
		return write(dir, file, state)
	}
	if l.host.unified(Freezer) {
		if err := set("cgroup.freeze", "1"); err != nil {
			return err
		}
		return awaitEvent(ctx, dir, "frozen", 1)
	}
	tick := time.NewTicker(freezerTick)
	defer tick.Stop()
	for {
		// Written every time: kernels before 5.15 could miss a process that was forked in between.
		if err := set("freezer.state", "FROZEN"); err != nil {
			return err
		}
		state, err := read(dir, "freezer.state")
		if err != nil || state == "FROZEN" {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Thaw lets the processes of the leaf and of all groups below it run again and returns when they may.
func (l *Leaf) Thaw(ctx context.Context) error {
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	dir, ok := l.dir(Freezer)
	if !ok {
		return &LimitError{Controller: Freezer, Err: fmt.Errorf("leaf %s can't be thawed", l.name)}
	}
	l.steady.Lock()
	defer l.steady.Unlock()
	err := l.thaw(dir)
	if err == nil && l.host.unified(Freezer) {
		err = awaitEvent(ctx, dir, "frozen", 0)
	}
	if err == nil && !l.host.unified(Freezer) {
		var state string
		if state, err = read(dir, "freezer.state"); err == nil && state != "THAWED" {
			err = fmt.Errorf("it stays %s, since a group above it is frozen", state)
		}
	}
	if err != nil {
		return fmt.Errorf("thaw control group %s: %w", l.name, err)
	}
	return nil
}

// thaw undoes freezing of the leaf itself and of every group below it. On v1 that has happened when it returns.
func (l *Leaf) thaw(dir string) error {
	file, state := "freezer.state", "THAWED"
	if l.host.unified(Freezer) {
		file, state = "cgroup.freeze", "0"
	}
	tree, err := groups(dir)
	if err != nil {
		return err
	}
	for _, g := range tree {
		if err := write(g, file, state); err != nil && !gone(err) {
			return fmt.Errorf("%s: %w", filepath.Join(g, file), err)
		}
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Event is something that happened to a leaf.
type Event uint8

// What [Leaf.Watch] reports.
const (
	OOM        Event = iota + 1 // memory ran out and the kernel is killing, or has killed, a process of the leaf
	PidsLimit                   // a fork or a new thread was refused
	eventKinds                  // one more than there are
)

// String returns "out-of-memory" or "pids-limit".
func (e Event) String() string {
	return [...]string{OOM: "out-of-memory", PidsLimit: "pids-limit"}[e]
}

// Watch reports events of the given kinds, or without any of all, until the context ends; then the channel is closed and
// nothing of the watch is left. Events before Watch are reported at once, on v1 those of the pids limit a moment later.
// Several of a kind may be reported as one, and one twice, but none is lost, however slow the reader; only what happens in the
// last instant before the context ends is for [Leaf.Stats] to tell. Where the leaf has neither memory nor pids control, there
// is nothing to report.
//
// v2 raises inotify events on memory.events and pids.events. On v1 memory is an eventfd that is registered in
// cgroup.event_control for memory.oom_control (Documentation/admin-guide/cgroup-v1/memory.rst, 9 and 10); the kernel signals
// it before it kills, so Stats may count the victim a moment later. pids.events of v1 is read ten times a second: since
// Linux 6.10 the kernel is silent there.
func (l *Leaf) Watch(ctx context.Context, kinds ...Event) (<-chan Event, error) {
	if err := l.enter(); err != nil {
		return nil, err
	}
	defer l.leave()
	w := &watch{ctx: ctx, bells: l.parent.bells, events: make(chan Event, eventKinds-1)}
	if err := l.attach(w, kinds); err != nil {
		w.end()
		return nil, fmt.Errorf("watch control group %s: %w", l.name, err)
	}
	context.AfterFunc(ctx, w.end)
	return w.events, nil
}

// attach hangs the watch on what this host has to tell of events.
func (l *Leaf) attach(w *watch, kinds []Event) error {
	wanted := func(e Event) bool { return len(kinds) == 0 || slices.Contains(kinds, e) }
	if dir, ok := l.dir(Pids); ok && wanted(PidsLimit) {
		c := &counter{watch: w, event: PidsLimit, dir: dir, file: "pids.events", key: "max"}
		if l.host.Version != V2 {
			w.bells.visit(c)
		} else if err := w.bells.hang(c); err != nil {
			return err
		}
	}
	dir, ok := l.dir(Memory)
	if !ok || !wanted(OOM) {
		return nil
	}
	if l.host.Version == V2 {
		return w.bells.hang(&counter{watch: w, event: OOM, dir: dir, file: "memory.events", key: "oom_kill"})
	}
	control := l.oom // which Delete may close
	var err error
	if w.bell, err = oomEventfd(dir, control); err != nil {
		return err
	}
	w.running.Go(func() { w.listen(control) })
	return nil
}

// watch is one Watch. It has a goroutine of its own only for an eventfd, and while its reader is slow.
type watch struct {
	ctx    context.Context
	bells  *bells
	events chan Event // room for one of each kind
	bell   *os.File   // v1: of memory; nil if that is not watched

	descriptors []int32 // bells.mu; v2: of its counters

	running sync.WaitGroup
	mu      sync.Mutex
	late    [eventKinds]int // mu; events that wait for the reader: none, one, or more
	ended   bool            // mu
}

// report passes an event on and does not wait.
func (w *watch) report(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return
	}
	if w.late[e] > 0 {
		w.late[e] = 2 // the reader may have taken the one that waited
		return
	}
	select {
	case w.events <- e:
	default:
		w.late[e] = 1
		w.running.Go(func() { w.deliver(e) })
	}
}

// deliver waits for a slow reader.
func (w *watch) deliver(e Event) {
	for {
		select {
		case w.events <- e:
		case <-w.ctx.Done():
			return
		}
		w.mu.Lock()
		w.late[e]--
		done := w.late[e] == 0
		w.mu.Unlock()
		if done {
			return
		}
	}
}

// listen reports what the eventfd of memory rings for: before the counter grows, and a last time when the leaf is removed.
func (w *watch) listen(control *os.File) {
	if text, err := readAt(control); err == nil {
		if n, _ := value(text, "oom_kill"); n > 0 {
			w.report(OOM)
		}
	}
	var count [8]byte
	for {
		if _, err := w.bell.Read(count[:]); err != nil {
			return // closed
		}
		if _, err := readAt(control); err == nil {
			w.report(OOM)
		}
	}
}

// end takes the watch away and closes its channel.
func (w *watch) end() {
	w.bells.forget(w)
	if w.bell != nil {
		w.bell.Close()
	}
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	w.running.Wait()
	close(w.events)
}

// oomEventfd returns an eventfd that the kernel signals when the v1 memory group dir runs out of memory, and when the group
// is removed. control is its memory.oom_control.
func oomEventfd(dir string, control *os.File) (*os.File, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	bell := os.NewFile(uintptr(fd), "eventfd")
	if err := write(dir, "cgroup.event_control", fmt.Sprintf("%d %d", fd, control.Fd())); err != nil {
		bell.Close()
		return nil, err
	}
	return bell, nil
}

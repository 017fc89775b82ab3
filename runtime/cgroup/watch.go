// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Event is something that happened to a leaf.
type Event uint8

// What [Leaf.Watch] reports.
const (
	OOM       Event = iota + 1 // memory ran out and the kernel is killing, or has killed, a process of the leaf
	PidsLimit                  // a fork or a new thread was refused
)

// String returns "out-of-memory" or "pids-limit".
func (e Event) String() string {
	return [...]string{OOM: "out-of-memory", PidsLimit: "pids-limit"}[e]
}

// counter is a number in a file of the leaf whose growth is an event.
type counter struct {
	event          Event
	dir, file, key string
	last           uint64
}

// grown reports whether the number has grown since the last call. A file that is gone has not.
func (c *counter) grown() bool {
	n, err := readValue(c.dir, c.file, c.key)
	if err != nil || n <= c.last {
		return false
	}
	c.last = n
	return true
}

// pidsTick is how often pids.events is looked at on v1, which has no event for it.
const pidsTick = 100 * time.Millisecond

// Watch reports events of the given kinds, or without any of all, until the context ends; then the channel is closed and
// nothing of the watch is left. Events before
// Watch are reported at once. Several of a kind may be reported as one, and one twice, but none is lost, however slow the
// reader; only what happens in the last instant before the context ends is for [Leaf.Stats] to tell. Where the leaf has
// neither memory nor pids control, there is nothing to report.
//
// v2 raises inotify events on memory.events and pids.events. On v1 memory is an eventfd that is registered in
// cgroup.event_control for memory.oom_control (Documentation/admin-guide/cgroup-v1/memory.rst, 9 and 10); the kernel signals
// it before it kills, so Stats may count the victim a moment later. pids.events of v1 is read ten times a second: since
// Linux 6.10 the kernel is silent there.
func (l *Leaf) Watch(ctx context.Context, kinds ...Event) (<-chan Event, error) {
	sources, err := l.sources(kinds)
	if err != nil {
		return nil, fmt.Errorf("watch control group %s: %w", l.name, err)
	}
	events := make(chan Event)
	var running sync.WaitGroup
	for _, s := range sources {
		running.Go(func() { s.run(ctx, events) })
	}
	go func() {
		running.Wait()
		<-ctx.Done()
		close(events)
	}()
	return events, nil
}

// sources opens what this host has to tell of events.
func (l *Leaf) sources(kinds []Event) ([]source, error) {
	wanted := func(e Event) bool { return len(kinds) == 0 || slices.Contains(kinds, e) }
	var pids, memory *counter
	if dir, ok := l.dir(Pids); ok && wanted(PidsLimit) {
		pids = &counter{event: PidsLimit, dir: dir, file: "pids.events", key: "max"}
	}
	if dir, ok := l.dir(Memory); ok && wanted(OOM) {
		memory = &counter{event: OOM, dir: dir, file: "memory.oom_control", key: "oom_kill"}
	}
	var all []source
	if l.host.Version == V2 {
		var files []string
		var counters []*counter
		if memory != nil {
			memory.file = "memory.events"
		}
		for _, c := range []*counter{pids, memory} {
			if c != nil {
				counters = append(counters, c)
				files = append(files, filepath.Join(c.dir, c.file))
			}
		}
		n, err := newInotify(files...)
		return append(all, source{bell: n.f, counters: counters}), err
	}
	if pids != nil {
		if _, err := os.Lstat(filepath.Join(pids.dir, pids.file)); err != nil {
			return nil, err
		}
		all = append(all, source{counters: []*counter{pids}})
	}
	if memory != nil {
		bell, err := oomEventfd(memory.dir)
		if err != nil {
			return nil, err
		}
		all = append(all, source{bell: bell, counters: []*counter{memory}, early: true})
	}
	return all, nil
}

// source is counters and the descriptor that rings when they may have grown; without one they are looked at regularly.
type source struct {
	bell     *os.File
	counters []*counter
	early    bool // it rings before the counter grows, and a last time when the leaf is removed
}

// run passes on events until ctx ends.
func (s source) run(ctx context.Context, to chan<- Event) {
	wait := func() error { return await(ctx, s.bell) }
	if s.bell != nil {
		defer s.bell.Close()
	} else {
		tick := time.NewTicker(pidsTick)
		defer tick.Stop()
		wait = func() error {
			select {
			case <-tick.C:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	for rung := false; ; rung = true {
		for _, c := range s.counters {
			happened := c.grown()
			if s.early && rung {
				_, err := os.Lstat(filepath.Join(c.dir, c.file))
				happened = err == nil
			}
			if !happened {
				continue
			}
			select {
			case to <- c.event:
			case <-ctx.Done():
				return
			}
		}
		if wait() != nil {
			return
		}
	}
}

// oomEventfd returns an eventfd that the kernel signals when the v1 memory group dir runs out of memory, and when the group
// is removed.
func oomEventfd(dir string) (*os.File, error) {
	control, err := os.Open(filepath.Join(dir, "memory.oom_control"))
	if err != nil {
		return nil, err
	}
	defer control.Close() // needed for the registration only
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

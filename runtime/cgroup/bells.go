// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// counter is a number in a file of a leaf whose growth is an event.
type counter struct {
	watch          *watch
	event          Event
	dir, file, key string

	mu   sync.Mutex
	last uint64 // mu
}

// look reports the event if the number has grown since the last look. A file that is gone has not.
func (c *counter) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := readValue(c.dir, c.file, c.key)
	if err != nil || n <= c.last {
		return
	}
	c.last = n
	c.watch.report(c.event)
}

// pidsTick is how often pids.events is looked at on v1, which has no event for it.
const pidsTick = 100 * time.Millisecond

// bells is what all watches of a parent's leaves hang on: on v2 one inotify instance with one goroutine, since a user may
// have only so many and closing one waits for all processors; on v1 one timer, that runs while there is a watch. The zero
// value is ready.
type bells struct {
	mu      sync.Mutex
	inotify inotify              // mu; nothing before the first v2 watch
	hung    map[int32][]*counter // mu; v2: by watch descriptor
	visited []*counter           // mu; v1
	timer   *time.Timer          // mu; v1; nil before the first watch
}

// hang has c looked at now and whenever its v2 file changes.
func (b *bells) hang(c *counter) error {
	if err := b.add(c); err != nil {
		return err
	}
	c.look()
	return nil
}

// add begins the watching of c's file.
func (b *bells) add(c *counter) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.inotify.f == nil {
		n, err := newInotify()
		if err != nil {
			return err
		}
		b.inotify, b.hung = n, map[int32][]*counter{}
		go b.listen(n)
	}
	wd, err := b.inotify.add(c.dir + "/" + c.file)
	if err != nil {
		return err
	}
	b.hung[wd] = append(b.hung[wd], c) // one of two watches of a file gets the number that the other has
	c.watch.descriptors = append(c.watch.descriptors, wd)
	return nil
}

// listen looks at the counters whose files have changed until the instance is closed.
func (b *bells) listen(n inotify) {
	buf := make([]byte, 64*unix.SizeofInotifyEvent) // files' events have no names
	for {
		size, err := n.f.Read(buf)
		if err != nil {
			return
		}
		for event := buf[:size]; len(event) >= unix.SizeofInotifyEvent; {
			wd := int32(binary.NativeEndian.Uint32(event))
			mask, name := binary.NativeEndian.Uint32(event[4:]), binary.NativeEndian.Uint32(event[12:])
			event = event[min(len(event), unix.SizeofInotifyEvent+int(name)):]
			for _, c := range b.of(wd, mask&unix.IN_Q_OVERFLOW != 0) {
				c.look()
			}
		}
	}
}

// of returns the counters of a watch descriptor, or all of them.
func (b *bells) of(wd int32, all bool) []*counter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !all {
		return slices.Clone(b.hung[wd])
	}
	var every []*counter
	for _, some := range b.hung {
		every = append(every, some...)
	}
	return every
}

// visit has c looked at on every tick.
func (b *bells) visit(c *counter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.visited = append(b.visited, c)
	if b.timer == nil {
		b.timer = time.AfterFunc(pidsTick, b.round)
	} else if len(b.visited) == 1 {
		b.timer.Reset(pidsTick)
	}
}

// round is one tick.
func (b *bells) round() {
	b.mu.Lock()
	all := slices.Clone(b.visited)
	b.mu.Unlock()
	for _, c := range all {
		c.look()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.visited) > 0 {
		b.timer.Reset(pidsTick)
	}
}

// forget takes away all that a watch has here.
func (b *bells) forget(w *watch) {
	its := func(c *counter) bool { return c.watch == w }
	b.mu.Lock()
	defer b.mu.Unlock()
	b.visited = slices.DeleteFunc(b.visited, its)
	for _, wd := range w.descriptors {
		if b.hung == nil {
			return // closed
		}
		if b.hung[wd] = slices.DeleteFunc(b.hung[wd], its); len(b.hung[wd]) == 0 {
			delete(b.hung, wd)
			b.inotify.remove(wd)
		}
	}
}

// close ends the watching: nothing is reported any more.
func (b *bells) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.visited = nil
	if b.inotify.f != nil {
		b.inotify.f.Close()
		b.inotify.f, b.hung = nil, nil
	}
}

// SPDX-License-Identifier: Apache-2.0

package cgroup

import "fmt"

// Present is what a leaf uses at this moment, including all groups below it.
// What this host does not count is zero.
type Present struct {
	Memory uint64 // bytes
	Pids   uint64 // processes and threads
}

// Present reads it. It costs two small files, which Stats doesn't read: who
// ends a call needs them not.
func (l *Leaf) Present() (Present, error) {
	if err := l.enter(); err != nil {
		return Present{}, err
	}
	defer l.leave()
	var p Present
	memory := "memory.usage_in_bytes"
	if l.host.Version == V2 {
		memory = "memory.current"
	}
	for _, f := range []struct {
		controller Controller
		name       string
		to         *uint64
	}{{Memory, memory, &p.Memory}, {Pids, "pids.current", &p.Pids}} {
		dir, ok := l.dir(f.controller)
		if !ok {
			continue
		}
		var err error
		if *f.to, _, err = l.peak(dir, f.name); err != nil {
			return Present{}, fmt.Errorf("present use of control group %s: %w", l.name, err)
		}
	}
	return p, nil
}

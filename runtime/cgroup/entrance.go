// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Entrance is how a process gets into the leaf by itself, without the pause of some ten milliseconds that writing to
// cgroup.procs may take: that waits until nobody on the whole host forks or execs.
//
//   - tasks are the open `tasks` files of every v1 hierarchy: a process of one thread, just started, writes "0" to each
//     and is in. It is alone and moves itself, so the kernel needs to wait for nobody.
//   - unified is the leaf in the v2 hierarchy, as clone3(2) takes it with CLONE_INTO_CGROUP; nil where none is mounted.
//     cgroup.threads would refuse, and cgroup.procs has the pause.
//
// So on V1 there are only tasks, on V2 only unified, and on Hybrid both, and a process must use all there are. Both kinds
// are close-on-exec. The caller closes them; they keep nobody from deleting the leaf.
func (l *Leaf) Entrance() (tasks []*os.File, unified *os.File, err error) {
	if err := l.enter(); err != nil {
		return nil, nil, err
	}
	defer l.leave()
	tasks = make([]*os.File, 0, len(l.dirs)+2)
	defer func() {
		if err == nil {
			return
		}
		for _, f := range tasks {
			f.Close()
		}
		if unified != nil {
			unified.Close()
		}
		tasks, unified, err = nil, nil, fmt.Errorf("entrance of control group %s: %w", l.name, err)
	}()
	for i, dir := range l.dirs {
		if l.host.Hierarchies[i].Unified {
			if unified, err = openFile(dir, unix.O_PATH|unix.O_DIRECTORY); err != nil {
				return tasks, unified, err
			}
			continue
		}
		f, err := openFile(dir+"/tasks", unix.O_WRONLY)
		if err != nil {
			return tasks, unified, err
		}
		tasks = append(tasks, f)
	}
	if !l.box {
		return tasks, unified, nil
	}
	for _, s := range l.parent.shared {
		f, err := openFile(s.dir+"/tasks", unix.O_WRONLY)
		if gone(err) {
			if err = l.parent.share(); err == nil {
				f, err = openFile(s.dir+"/tasks", unix.O_WRONLY)
			}
		}
		if err != nil {
			return tasks, unified, err
		}
		tasks = append(tasks, f)
	}
	return tasks, unified, nil
}

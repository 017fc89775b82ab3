// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// sharedGroup is the group beside the leaves that those of CreateBox have in common in a v1 hierarchy. No leaf can be called
// so, and Sweep passes it by.
const sharedGroup = "_boxes"

// openBoxes finds out how leaves of CreateBox live on this host, and makes the groups that they share.
func (p *Parent) openBoxes() error {
	half := false
	if root, ok := p.host.v2Mount(); ok && p.host.Version == Hybrid {
		half = true // Linux 5.14; the root group has neither file, the parent has both or not
		for _, file := range []string{"cgroup.kill", "cgroup.freeze"} {
			var st unix.Stat_t
			half = half && unix.Stat(root+p.path+"/"+file, &st) == nil
		}
	}
	var shared []Hierarchy
	p.boxes, shared = p.host.forBoxes(half)
	for _, t := range shared {
		p.shared = append(p.shared, sharing{t.Mount + p.path + "/" + sharedGroup, slices.Contains(t.Controllers, v1Names[Devices])})
	}
	return p.share()
}

// sharing is a group that leaves have in common.
type sharing struct {
	dir     string // absolute
	devices bool   // it binds them by device rules
}

// sharesDevices reports whether the device rules of a leaf of CreateBox are those of a shared group.
func (p *Parent) sharesDevices() bool {
	return slices.ContainsFunc(p.shared, func(s sharing) bool { return s.devices })
}

// share makes the shared groups as they must be, where they aren't. Another process that has the same parent may take them
// away when it closes that and they are empty.
func (p *Parent) share() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.shared {
		if err := os.Mkdir(s.dir, 0o755); err == nil {
			p.made = append(p.made, s.dir)
		} else if errors.Is(err, fs.ErrNotExist) {
			if err := os.MkdirAll(s.dir, 0o755); err != nil {
				return err
			}
		} else if !errors.Is(err, fs.ErrExist) {
			return err
		}
		if s.devices {
			if err := restrict(s.dir); err != nil {
				return fmt.Errorf("device rules of %s: %w", s.dir, err)
			}
		}
	}
	return nil
}

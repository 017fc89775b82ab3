// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"os"
	"path"
	"path/filepath"

	"github.com/clawsup/clawsup/runtime/wire"
)

// Rules says what Build shows in Landlock's terms. Landlock follows mounts,
// not paths: a link needs no rule, and a rule for a mount point holds for
// what is mounted there. The private directory has none.
func (t *Tree) Rules() []wire.Rule {
	rules := []wire.Rule{
		{Path: "/proc", Access: wire.Read},
		{Path: "/dev", Access: wire.Read},
	}
	if t.Rootfs == "" {
		rules = append(rules, wire.Rule{Path: "/etc", Access: wire.Read})
	}
	for _, d := range devices {
		rules = append(rules, wire.Rule{Path: wire.Text("/dev/" + d.name), Access: wire.Device})
	}
	for _, dir := range t.systemTargets() {
		rules = append(rules, wire.Rule{Path: wire.Text(dir), Access: wire.Execute})
	}
	for _, file := range t.Read {
		rules = append(rules, wire.Rule{Path: wire.Text(file), Access: wire.Execute})
	}
	for _, b := range t.Binds {
		access := wire.Execute
		switch {
		case b.Writable && b.Sockets:
			access = wire.Full
		case b.Writable:
			access = wire.Write
		case b.Sockets:
			access = wire.Connect
		}
		rules = append(rules, wire.Rule{Path: wire.Text(b.Target), Access: access})
	}
	for _, m := range t.Tmpfs {
		rules = append(rules, wire.Rule{Path: wire.Text(m.Target), Access: wire.Full})
	}
	return rules
}

// systemTargets lists the top-level directories that system shows as mounts.
func (t *Tree) systemTargets() []string {
	dir, names := "/", SystemDirs
	if t.Rootfs != "" {
		dir, names = t.Rootfs, nil
		entries, _ := os.ReadDir(t.Rootfs) // Build reports the error
		for _, e := range entries {
			if !ownPlaces[e.Name()] {
				names = append(names, e.Name())
			}
		}
	}
	var targets []string
	for _, name := range names {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err == nil && info.Mode()&os.ModeSymlink == 0 {
			targets = append(targets, path.Join("/", name))
		}
	}
	return targets
}

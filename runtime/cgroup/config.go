// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"github.com/opencontainers/cgroups"
	_ "github.com/opencontainers/cgroups/devices" // without it libcontainer can't write device rules and refuses to
	device "github.com/opencontainers/cgroups/devices/config"
)

// allowed are the character devices that a sandbox may open, for reading and writing; it may make none, and it gets no
// block device. Whether they exist in its /dev is another layer's matter.
var allowed = []struct{ major, minor int64 }{
	{1, 3},                 // /dev/null
	{1, 5},                 // /dev/zero
	{1, 7},                 // /dev/full
	{1, 8},                 // /dev/random
	{1, 9},                 // /dev/urandom
	{5, 0},                 // /dev/tty: leads to the controlling terminal of who opens it, so to none but its own
	{5, 2},                 // /dev/ptmx: programs that run others in a terminal (script, expect, ssh); a private devpts behind it
	{136, device.Wildcard}, // /dev/pts/*: the kernel serves them from the devpts that they lie in, which is the private one
}

// Config returns what libcontainer needs to put a container into this leaf: its path and device rules, and no limits,
// which Create has set. libcontainer takes an absolute path from the root of every hierarchy, refuses a leaf that has
// processes, and its own Destroy removes the leaf.
func (l *Leaf) Config() *cgroups.Cgroup {
	rules := []*device.Rule{{Type: device.WildcardDevice, Major: device.Wildcard, Minor: device.Wildcard, Permissions: "rwm"}}
	for _, d := range allowed {
		rules = append(rules, &device.Rule{Type: device.CharDevice, Major: d.major, Minor: d.minor, Permissions: "rw", Allow: true})
	}
	return &cgroups.Cgroup{Path: l.path, Resources: &cgroups.Resources{Devices: rules}}
}

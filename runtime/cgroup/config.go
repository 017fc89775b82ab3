// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"github.com/opencontainers/cgroups"
	_ "github.com/opencontainers/cgroups/devices" // without it libcontainer can't write device rules and refuses to
	device "github.com/opencontainers/cgroups/devices/config"
)

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

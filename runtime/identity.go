// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"github.com/clawsup/clawsup/runtime/netns/origin"
	"github.com/clawsup/clawsup/runtime/rootfs"
)

// tool is who the tool is on the host.
func (h *Host) tool(spec *Spec, s *slot) Identity {
	if spec.Tool != nil {
		return *spec.Tool
	}
	return Identity{h.hostID(s, ToolUID), h.hostID(s, ToolGID)}
}

// tree is the file system that the spec describes, but for clawsup-init.
func (h *Host) tree(spec *Spec, s *slot) *rootfs.Tree {
	root, tool := h.hostID(s, 0), h.tool(spec, s)
	t := treeOf(spec)
	t.InitUID, t.InitGID, t.ToolUID, t.ToolGID = root, root, tool.UID, tool.GID
	return t
}

// treeOf is the same without anybody's identity.
func treeOf(spec *Spec) *rootfs.Tree {
	t := &rootfs.Tree{
		Rootfs: spec.Rootfs, Read: spec.Read, Binds: spec.Binds, Tmpfs: spec.Tmpfs,
		Hostname: Hostname, HostNetwork: spec.Network == NetworkHost,
	}
	if spec.Network == NetworkEgress {
		t.Resolver = origin.Resolver
	}
	return t
}

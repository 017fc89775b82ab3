// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"crypto/sha256"

	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/runtime/wire"
)

// Key says what a template or a box is good for: those of equal keys are made
// alike, byte for byte.
type Key [sha256.Size]byte

// Keys gives that of the template and that of the box, which is of all that the
// box is prepared with. They look at nothing but the spec.
func (spec *Spec) Keys() (template, box Key, err error) {
	shared, own, err := treeOf(spec).Split()
	if err != nil {
		return Key{}, Key{}, failed(StepMount, err)
	}
	template = spec.templateKey(shared, own)
	return template, spec.key(template, own), nil
}

func (spec *Spec) templateKey(shared *rootfs.Tree, own []rootfs.Own) Key {
	m := make(wire.Message, 0, 16<<10)
	flag := func(on bool) {
		n := uint64(0)
		if on {
			n = 1
		}
		m.Number(n)
	}
	m.Number(uint64(spec.Layers.Enforce))
	m.Number(uint64(spec.Layers.ABI))
	m.Text(spec.Stamp)
	m.Text(spec.Rootfs)
	flag(spec.ProcPids)
	m.Number(uint64(spec.Network))
	m.Text(string(spec.Filter))
	for _, r := range spec.rlimits() {
		m.Number(uint64(r.Resource))
		m.Number(r.Value)
	}
	m.Texts(shared.Read)
	m.Number(uint64(len(shared.Binds)))
	for i := range shared.Binds {
		bindKey(&m, &shared.Binds[i])
	}
	// Their places are in the template's root, and its rules are for them.
	m.Number(uint64(len(own)))
	for i := range own {
		o := &own[i]
		m.Text(o.Target)
		flag(o.Tmpfs != nil)
		flag(o.Bind != nil && o.Bind.Writable)
		flag(o.Bind != nil && o.Bind.Sockets)
	}
	return sha256.Sum256(m)
}

func (spec *Spec) key(template Key, own []rootfs.Own) Key {
	m := make(wire.Message, 0, 1<<10)
	m.Text(string(template[:]))
	for i := range own {
		o := &own[i]
		if o.Bind != nil {
			bindKey(&m, o.Bind)
			continue
		}
		t := o.Tmpfs
		exec := uint64(0)
		if t.Exec {
			exec = 1
		}
		for _, n := range []uint64{uint64(t.Size), uint64(t.Files), exec} {
			m.Number(n)
		}
	}
	g := &spec.Group
	for _, n := range []int64{g.Memory, g.Pids, int64(g.CPU * 1e6), g.DiskRead, g.DiskWrite, int64(spec.CPUTime)} {
		m.Number(uint64(n))
	}
	if t := spec.Tool; t != nil {
		m.Number(uint64(t.UID))
		m.Number(uint64(t.GID))
	}
	return sha256.Sum256(m)
}

func bindKey(m *wire.Message, b *rootfs.Bind) {
	m.Text(b.Source)
	m.Text(b.Target)
	var flags uint64
	for i, on := range []bool{b.Writable, b.Sockets, b.Recurse, b.Owner != nil, b.Upper != nil, b.Apart} {
		if on {
			flags |= 1 << i
		}
	}
	m.Number(flags)
	m.Number(b.Identity.Dev)
	m.Number(b.Identity.Ino)
	if b.Owner != nil {
		m.Number(uint64(b.Owner.UID))
		m.Number(uint64(b.Owner.GID))
	}
}

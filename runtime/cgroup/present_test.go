// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"context"
	"testing"
)

func TestPresent(t *testing.T) {
	h := realHost(t)
	need(t, h, Pids)
	leaf := newLeaf(t, testParent(t, h), "present", Limits{Pids: 16})
	if p, err := leaf.Present(); err != nil || p.Pids != 0 {
		t.Errorf("of nobody: %+v, %v", p, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events, err := leaf.Watch(ctx)
	must(t, err)
	startChild(t, leaf, "bomb").start()
	expect(t, events, PidsLimit)
	p, err := leaf.Present()
	must(t, err)
	if p.Pids == 0 || p.Pids > 16 || h.Usable(Memory) && p.Memory == 0 {
		t.Errorf("of a bomb: %+v", p)
	}
	must(t, leaf.Kill(patience(t)))
	must(t, leaf.Delete())
	if _, err := leaf.Present(); err == nil {
		t.Error("a leaf that is gone told what it uses")
	}
}

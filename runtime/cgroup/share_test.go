// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
)

// TestFreezeGivesWay: freezing without end beside a Kill keeps nobody from
// dying, and nothing is done to a leaf that was deleted.
func TestFreezeGivesWay(t *testing.T) {
	for version, h := range hosts(t) {
		t.Run(version, func(t *testing.T) { freezeGivesWay(t, h) })
	}
}

func freezeGivesWay(t *testing.T, h Host) {
	p := testParent(t, h)
	leaf := newLeaf(t, p, "leaf", Limits{})
	bomb := startChild(t, leaf, "bomb")
	if !limitBomb(t, leaf, bomb.Process.Pid) {
		t.Skip("no pids control for a fork bomb")
	}
	bomb.start()
	awaitFull(t, leaf)
	ctx, stop := context.WithCancel(context.Background())
	var freezers sync.WaitGroup
	for range 4 {
		freezers.Go(func() {
			for ctx.Err() == nil {
				if err := leaf.Freeze(ctx); err != nil && !errors.Is(err, ErrKilled) && !errors.Is(err, ErrDeleted) && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
	}
	must(t, leaf.Kill(patience(t)))
	must(t, leaf.Delete())
	stop()
	freezers.Wait()
	again := newLeaf(t, p, "leaf", Limits{})
	for name, err := range map[string]error{
		"freeze": leaf.Freeze(context.Background()), "thaw": leaf.Thaw(context.Background()), "limit": leaf.Limit(Limits{}),
	} {
		if !errors.Is(err, ErrDeleted) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := leaf.Stats(); !errors.Is(err, ErrDeleted) {
		t.Error(err)
	}
	must(t, leaf.Kill(context.Background()))
	must(t, leaf.Delete())
	if _, err := again.Stats(); err != nil {
		t.Errorf("the next leaf of the name: %v", err)
	}
}

// TestFind takes over what another has made, and only that.
func TestFind(t *testing.T) {
	for version, h := range hosts(t) {
		t.Run(version, func(t *testing.T) { find(t, h) })
	}
}

func find(t *testing.T, h Host) {
	p := testParent(t, h)
	leaf := newLeaf(t, p, "leaf", Limits{})
	startChild(t, leaf, "sleep").start()
	found, err := p.Find("leaf")
	must(t, err)
	if _, err := found.Stats(); err != nil {
		t.Error(err)
	}
	must(t, found.Kill(patience(t)))
	must(t, found.Delete())
	if _, err := p.Find("leaf"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("found again: %v", err)
	}
	for _, name := range []string{"", "..", "a/b", supervisorGroup} {
		if _, err := p.Find(name); err == nil {
			t.Errorf("%q was found", name)
		}
	}
}

// TestWatchOneKind hears nothing of the other.
func TestWatchOneKind(t *testing.T) {
	for version, h := range hosts(t) {
		t.Run(version, func(t *testing.T) { watchOneKind(t, h) })
	}
}

func watchOneKind(t *testing.T, h Host) {
	p := testParent(t, h)
	leaf := newLeaf(t, p, "leaf", Limits{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	_, err := leaf.Watch(ctx, OOM)
	must(t, err)
	for _, c := range append(p.bells.of(0, true), p.bells.visited...) {
		if c.event != OOM {
			t.Errorf("%v is watched", c.event)
		}
	}
	w := &watch{ctx: ctx, bells: p.bells, events: make(chan Event)}
	must(t, leaf.attach(w, []Event{PidsLimit}))
	defer w.end()
	if w.bell != nil {
		t.Error("memory is watched")
	}
}

// TestHolds is about names alone.
func TestHolds(t *testing.T) {
	leaf := func(name string) bool { return name == "box" }
	plain, scope := &Parent{path: "/a.slice"}, &Parent{path: "/a.slice/a-1.scope", unit: true}
	for path, want := range map[string][2]bool{
		"/a.slice/box":                         {true, false},
		"/a.slice/box (deleted)":               {true, false},
		"/a.slice/box/deep":                    {true, false},
		"/a.slice/a-1.scope/box":               {false, true},
		"/a.slice/a-boxes.scope/box (deleted)": {false, true},
		"/a.slice/a-boxes.scope/supervisor":    {false, false},
		"/a.slice/d.service":                   {false, false},
		"/a.slice":                             {false, false},
		"/":                                    {false, false},
		"/b.slice/box":                         {false, false},
		"/x/a.slice/box":                       {false, false},
	} {
		if got := [2]bool{plain.Holds(path, leaf), scope.Holds(path, leaf)}; got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

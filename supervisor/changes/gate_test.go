// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/clawsup/clawsup/runtime/rootfs"
)

func gatesIn(t testing.TB) *gates {
	t.Helper()
	g, err := openGates(filepath.Join(t.TempDir(), "trees"))
	must(t, err)
	t.Cleanup(func() { _ = g.dir.Close() })
	return g
}

// line makes one of directories that don't exist: the tree, and up to the root.
func line(inodes ...uint64) []rootfs.Identity {
	var all []rootfs.Identity
	for _, ino := range inodes {
		all = append(all, rootfs.Identity{Dev: 1, Ino: ino})
	}
	return append(all, rootfs.Identity{Dev: 1, Ino: 2})
}

// gone is a context that allows no waiting.
func gone() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(ErrBusy)
	return ctx
}

func TestWhoMeets(t *testing.T) {
	const writing, commit = "writing", "commit"
	a, inA, inInA, other := line(10), line(11, 10), line(12, 11, 10), line(20)
	for _, c := range []struct {
		first  string
		one    []rootfs.Identity
		second string
		two    []rootfs.Identity
		both   bool
	}{
		{writing, a, writing, a, true},
		{writing, a, writing, inA, true},
		{writing, inA, writing, a, true},
		{writing, a, commit, a, false},
		{writing, a, commit, inA, false},
		{writing, a, commit, inInA, false},
		{writing, inA, commit, a, false},
		{writing, inInA, commit, a, false},
		{writing, a, commit, other, true},
		{commit, a, writing, a, false},
		{commit, a, writing, inInA, false},
		{commit, inInA, writing, a, false},
		{commit, other, writing, a, true},
		{commit, a, commit, a, false},
		{commit, a, commit, inA, false},
		{commit, inInA, commit, a, false},
		{commit, a, commit, other, true},
		{commit, line(31, 30), commit, line(32, 30), true},
		{commit, line(31, 30), writing, line(32, 30), true},
		{commit, line(31, 30), writing, line(30), false},
	} {
		g := gatesIn(t)
		enter := func(how string, line []rootfs.Identity) (*gate, error) {
			if how == writing {
				gate, _, err := g.write(gone(), line)
				return gate, err
			}
			return g.commit(gone(), line)
		}
		name := fmt.Sprintf("%s %v, %s %v", c.first, c.one, c.second, c.two)
		before := descriptors(t)
		first, err := enter(c.first, c.one)
		must(t, err)
		second, err := enter(c.second, c.two)
		if c.both != (err == nil) || err != nil && !errors.Is(err, ErrBusy) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			second.close()
		}
		first.close()
		if second, err = enter(c.second, c.two); err != nil {
			t.Errorf("%s, afterwards: %v", name, err)
		} else {
			second.close()
		}
		if n := descriptors(t); n != before {
			t.Errorf("%s: %d descriptors, %d before", name, n, before)
		}
	}
}

// TestTurn: a commit that waits is not kept waiting by calls that begin after
// it, and goes on when the ones before it end.
func TestTurn(t *testing.T) {
	g := gatesIn(t)
	tree := line(11, 10)
	first, _, err := g.write(gone(), tree)
	must(t, err)
	committed := make(chan *gate)
	go func() {
		c, err := g.commit(t.Context(), tree)
		if err != nil {
			t.Error(err)
		}
		committed <- c
	}()
	// It has its turn when the turn can't be had.
	turn := gateName(tree[0], "turn")
	for {
		l, err := g.turn(gone(), turn)
		if errors.Is(err, ErrBusy) {
			break
		}
		must(t, err)
		l.release()
	}
	if _, _, err := g.write(gone(), tree); !errors.Is(err, ErrBusy) {
		t.Errorf("a call begins in front of a commit: %v", err)
	}
	if _, _, err := g.write(gone(), append(line(12)[:1], tree...)); !errors.Is(err, ErrBusy) {
		t.Errorf("a call in the tree begins in front of a commit: %v", err)
	}
	if second, _, err := g.write(gone(), line(20)); err != nil {
		t.Errorf("a call elsewhere: %v", err)
	} else {
		second.close()
	}
	begun := make(chan error)
	go func() {
		w, _, err := g.write(t.Context(), tree)
		if err == nil {
			w.close()
		}
		begun <- err
	}()
	first.close()
	(<-committed).close()
	must(t, <-begun)
}

// TestMoment: a call knows of every commit that touches what it sees.
func TestMoment(t *testing.T) {
	a, inA, inInA := line(10), line(11, 10), line(12, 11, 10)
	for _, c := range []struct {
		commit, call []rootfs.Identity
		known        bool
	}{
		{inA, inA, true}, {a, inA, true}, {inInA, inA, true}, {line(20), inA, false}, {line(13, 10), inA, false},
	} {
		g := gatesIn(t)
		w, _, err := g.write(gone(), c.call) // so that its files aren't new
		must(t, err)
		w.close()
		start, err := stamp()
		must(t, err)
		start, err = after(t.Context(), start)
		must(t, err)
		k, err := g.commit(gone(), c.commit)
		must(t, err)
		must(t, k.mark())
		k.close()
		w, since, err := g.write(gone(), c.call)
		must(t, err)
		w.close()
		if known := !since.Before(start); known != c.known {
			t.Errorf("commit to %v, call in %v: since %v, which is %v after the start", c.commit, c.call, since, since.Sub(start))
		}
	}
}

func TestGatesOfProcesses(t *testing.T) {
	g := gatesIn(t)
	_, say := child(t, "gate", g.dir.Name())
	if s := say(); s != "in" {
		t.Fatal(s)
	}
	if _, err := g.commit(gone(), line(10)); !errors.Is(err, ErrBusy) {
		t.Errorf("a commit under another process's call: %v", err)
	}
	w, _, err := g.write(gone(), line(10))
	must(t, err)
	w.close()
}

// inside is for a child: it writes in a tree, and stays.
func inside(dir string) error {
	g, err := openGates(dir)
	if err != nil {
		return err
	}
	if _, _, err := g.write(context.Background(), line(11, 10)); err != nil {
		return err
	}
	return sayAndStay("in")
}

func BenchmarkGate(b *testing.B) {
	g := gatesIn(b)
	tree := line(15, 14, 13, 12, 11, 10)
	for b.Loop() {
		w, _, err := g.write(gone(), tree)
		must(b, err)
		w.close()
	}
}

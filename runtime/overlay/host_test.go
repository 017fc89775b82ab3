// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/rootfs"
)

// host is what this process and its layers take of it.
type host struct {
	mounts      int
	descriptors int
	devices     int // that have an image below dir
}

func hostNow(t *testing.T, dir string) (h host) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	h.mounts = strings.Count(string(mounts), "\n")
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	h.descriptors = len(descriptors)
	for _, image := range loops(t) {
		if strings.HasPrefix(image, dir) {
			h.devices++
		}
	}
	return h
}

// awaitHost waits until the host is as it was. Threads end after what they did
// was reported.
func awaitHost(t *testing.T, dir string, want host) {
	t.Helper()
	for end := time.Now().Add(waitLimit); ; time.Sleep(time.Millisecond) {
		got := hostNow(t, dir)
		if got == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("of the host is taken %+v, and was %+v", got, want)
		}
	}
}

// Nothing stays, after success as after any failure.
func TestNothingStays(t *testing.T) {
	dir := t.TempDir()
	m := &Maker{Stage: mkdir(t, dir, "stage"), Program: "/bin/true", Blanks: mkdir(t, dir, "blanks")}
	w := workspace(t, openDir(t), "echo old > file")
	lower, err := os.Open(w)
	if err != nil {
		t.Fatal(err)
	}
	defer lower.Close()
	proc, err := os.Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	image := filepath.Join(dir, "layer.img")
	make := func(t *testing.T) *Layer {
		l, err := m.Make(image, small, owner)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	fails := func(t *testing.T, what string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s succeeds", what)
		}
	}
	broken := func(change func(m *Maker)) *Maker {
		other := *m
		change(&other)
		return &other
	}
	if err := make(t).Discard(); err != nil {
		t.Fatal(err)
	}
	awaitDetached(t, image)
	before := hostNow(t, dir)
	for _, c := range []struct {
		name string
		do   func(t *testing.T)
	}{
		{"made and discarded", func(t *testing.T) {
			l := make(t)
			tree := mount(t, l, w, owner, tool)
			if err := errors.Join(unix.Close(tree), l.Discard()); err != nil {
				t.Error(err)
			}
		}},
		{"closed, opened, discarded", func(t *testing.T) {
			if err := make(t).Close(); err != nil {
				t.Fatal(err)
			}
			l, err := m.Open(image)
			if err != nil {
				t.Fatal(err)
			}
			f, err := l.Upper()
			if err := errors.Join(err, f.Close(), l.Discard()); err != nil {
				t.Error(err)
			}
		}},
		{"the wrong workspace", func(t *testing.T) {
			l := make(t)
			_, err := l.Mount(int(proc.Fd()), owner, tool)
			fails(t, "Mount", err)
			_, err = l.Mount(-1, owner, tool)
			fails(t, "Mount", err)
			if err := l.Discard(); err != nil {
				t.Error(err)
			}
		}},
		{"no program", func(t *testing.T) {
			l := make(t)
			l.maker = broken(func(m *Maker) { m.Program = "/nowhere" })
			_, err := l.Mount(int(lower.Fd()), owner, tool)
			fails(t, "Mount", err)
			if err := l.Discard(); err != nil {
				t.Error(err)
			}
		}},
		{"no stage", func(t *testing.T) {
			l := make(t)
			l.maker = broken(func(m *Maker) { m.Stage = "/nowhere" })
			_, err := l.Mount(int(lower.Fd()), owner, tool)
			fails(t, "Mount", err)
			if err := l.Discard(); err != nil {
				t.Error(err)
			}
		}},
		{"no blanks", func(t *testing.T) {
			_, err := broken(func(m *Maker) { m.Blanks = "/nowhere" }).Make(image, small, owner)
			fails(t, "Make", err)
		}},
		{"nowhere for the image", func(t *testing.T) {
			_, err := m.Make("/nowhere/layer.img", small, owner)
			fails(t, "Make", err)
		}},
		{"a false owner", func(t *testing.T) {
			_, err := m.Make(image, small, rootfs.Owner{UID: -7, GID: 1 << 40})
			fails(t, "Make", err)
		}},
		{"a destroyed file system", func(t *testing.T) {
			if err := make(t).Close(); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(image, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			// The superblock's tail and the group descriptors, after magic and state.
			_, err = f.WriteAt([]byte(strings.Repeat("x", 8192)), 1024+0x40)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
			_, err = m.Open(image)
			fails(t, "Open", err)
			if err := os.Remove(image); err != nil {
				t.Error(err)
			}
		}},
		{"checked", func(t *testing.T) { m.Check(dir, small, w, "/proc") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.do(t)
			awaitHost(t, dir, before)
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
				t.Errorf("%v are there: %v", entries, err)
			}
		})
	}
}

// Two hundred layers are open and mounted at once, more than the host has loop
// devices to begin with.
func TestManyAtOnce(t *testing.T) {
	many := 200
	if testing.Short() {
		many = 40
	}
	m, dir := testMaker(t), t.TempDir()
	w := workspace(t, openDir(t), "echo old > file")
	lower, err := os.Open(w)
	if err != nil {
		t.Fatal(err)
	}
	defer lower.Close()
	layers, trees := make([]*Layer, many), make([]int, many)
	var each sync.WaitGroup
	for i := range many {
		trees[i] = -1
		each.Go(func() {
			l, err := m.Make(filepath.Join(dir, fmt.Sprint(i)), small, owner)
			if err != nil {
				t.Error(err)
				return
			}
			layers[i] = l
			tree, err := l.Mount(int(lower.Fd()), owner, rootfs.Owner{UID: 100_000 + i%100, GID: 100_000 + i%100})
			if err != nil {
				t.Error(err)
				return
			}
			trees[i] = tree
			if err := os.WriteFile(fmt.Sprintf("/proc/self/fd/%d/file", tree), fmt.Append(nil, i), 0o600); err != nil {
				t.Error(err)
			}
		})
	}
	each.Wait()
	for i, l := range layers {
		if l == nil || trees[i] < 0 {
			continue
		}
		each.Go(func() {
			f, err := l.Upper()
			if err != nil {
				t.Error(err)
				return
			}
			got, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d/file", f.Fd()))
			if err != nil || string(got) != fmt.Sprint(i) {
				t.Errorf("layer %d holds %q: %v", i, got, err)
			}
			if err := errors.Join(f.Close(), unix.Close(trees[i])); err != nil {
				t.Error(err)
			}
			if i%2 == 0 {
				err = l.Close()
			} else {
				err = l.Discard()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	each.Wait()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != many/2 {
		t.Errorf("%d images are left: %v", len(entries), err)
	}
	for end := time.Now().Add(waitLimit); hostNow(t, dir).devices > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d devices stay", hostNow(t, dir).devices)
		}
	}
	m.swaps.mu.Lock()
	defer m.swaps.mu.Unlock()
	if want := min(many, swapsKept); len(m.swaps.kept) != want {
		t.Errorf("%d user namespaces are kept, not %d", len(m.swaps.kept), want)
	}
}

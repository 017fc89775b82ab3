// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRestrictDevices opens devices from inside, whose nodes are all there, and makes one.
func TestRestrictDevices(t *testing.T) {
	for name, h := range hosts(t) {
		if h.half { // a part of a host that has its device rules elsewhere
			continue
		}
		t.Run(name, func(t *testing.T) {
			need(t, h, Devices)
			p := testParent(t, h)
			leaf := newLeaf(t, p, "devices", Limits{})
			must(t, leaf.RestrictDevices())
			bound(t, func(mode string, args ...string) child { return startChild(t, leaf, mode, args...) })
			must(t, leaf.RestrictDevices()) // once more
			must(t, leaf.Delete())
			if err := leaf.RestrictDevices(); !errors.Is(err, ErrDeleted) {
				t.Error(err)
			}
		})
	}
}

// bound has a process of a leaf try devices.
func bound(t *testing.T, start func(mode string, args ...string) child) {
	t.Helper()
	c := start("open", "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/ptmx", "/dev/kmsg")
	c.start()
	for _, want := range []unix.Errno{0, 0, 0, 0, 0, 0, unix.EPERM} {
		var name string
		var got int
		if _, err := fmt.Fscanln(c.output, &name, &got); err != nil || unix.Errno(got) != want {
			t.Errorf("opening %s: %v, want %v (%v)", name, unix.Errno(got), want, err)
		}
	}
	io.Copy(io.Discard, c.output)
	must(t, c.Wait())
	c = start("node", filepath.Join(t.TempDir(), "null"))
	c.start()
	if said, err := c.output.ReadString('\n'); said != unix.EPERM.Error()+"\n" {
		t.Errorf("making a node of an allowed device: %q, %v", said, err)
	}
	must(t, c.Wait())
}

func TestOnlyAllowed(t *testing.T) {
	const whole = "c 1:3 rw\nc 136:* rw\nc 1:5 rw\nc 1:7 rw\nc 1:8 rw\nc 1:9 rw\nc 5:0 rw\nc 5:2 rw"
	for _, c := range []struct {
		shown string
		good  bool
	}{
		{whole, true}, {whole + "\nb 8:0 r", false}, {whole[:len(whole)-9], false}, {"a *:* rwm", false}, {"", false}, {whole + "m", false},
	} {
		if err := onlyAllowed(c.shown); (err == nil) != c.good {
			t.Errorf("%q: %v", c.shown, err)
		}
	}
}

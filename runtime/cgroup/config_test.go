// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/cgroups/manager"
	"golang.org/x/sys/unix"
)

// TestConfig hands a leaf to the code that libcontainer uses: it must find everything made, join it, set its device rules,
// and change no limit. Then it removes the leaf, which must not disturb Delete.
func TestConfig(t *testing.T) {
	h := realHost(t)
	need(t, h, Devices, Pids)
	p := testParent(t, h)
	leaf := newLeaf(t, p, "container", Limits{Pids: 30})
	before := existing(leaf)
	if !slices.Equal(before, leaf.dirs) {
		t.Fatalf("made %q of %q", before, leaf.dirs)
	}
	m, err := manager.New(leaf.Config())
	must(t, err)
	var joins []string
	for _, dir := range m.GetPaths() {
		dir, err := filepath.EvalSymlinks(dir)
		must(t, err) // also: it exists already
		joins = append(joins, dir)
	}
	for _, dir := range joins {
		if !slices.Contains(leaf.dirs, dir) {
			t.Errorf("libcontainer joins %s, which is not of the leaf", dir)
		}
	}

	names := []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/ptmx", "/dev/kmsg"}
	want := []unix.Errno{0, 0, 0, 0, 0, 0, unix.EPERM}
	if disks, err := DevicesBehind("/"); err == nil && len(disks) > 0 {
		names, want = append(names, diskNode(t, disks[0])), append(want, unix.EPERM)
	}
	for i, name := range names {
		f, err := os.Open(name) // out here it can be opened, so that a refusal in there is the leaf's
		if i == 7 && err != nil {
			t.Logf("not tried, since it is refused out here too: %v", err)
			names = names[:i]
			break
		}
		must(t, err)
		f.Close()
	}
	c := startChild(t, nil, "open", names...)
	must(t, m.Apply(c.Process.Pid))
	must(t, m.Set(leaf.Config().Resources))
	c.start()
	for i, name := range names {
		var got int
		var shown string
		if _, err := fmt.Fscanln(c.output, &shown, &got); err != nil || shown != name || unix.Errno(got) != want[i] {
			t.Errorf("opening %s: %v, want %v (%v)", name, unix.Errno(got), want[i], err)
		}
	}
	io.Copy(io.Discard, c.output)
	must(t, c.Wait())
	pids, _ := leaf.dir(Pids)
	if max, err := read(pids, "pids.max"); max != "30" || err != nil {
		t.Errorf("pids.max is %q after libcontainer, %v", max, err)
	}
	must(t, m.Destroy())
	must(t, leaf.Delete())
}

// diskNode returns the path of the node of a disk.
func diskNode(t *testing.T, d Device) string {
	text, err := os.ReadFile("/sys/dev/block/" + d.String() + "/uevent")
	must(t, err)
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "DEVNAME="); ok {
			return filepath.Join("/dev", name)
		}
	}
	t.Fatalf("disk %v has no node", d)
	return ""
}

// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
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

	dir := t.TempDir()
	kmsg, disk := filepath.Join(dir, "kmsg"), filepath.Join(dir, "disk")
	must(t, unix.Mknod(kmsg, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 11))))
	names := []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/ptmx", kmsg}
	want := []unix.Errno{0, 0, 0, 0, 0, 0, unix.EPERM}
	if disks, err := DevicesBehind("/"); err == nil && len(disks) > 0 {
		must(t, unix.Mknod(disk, unix.S_IFBLK|0o600, int(unix.Mkdev(disks[0].Major, disks[0].Minor))))
		names, want = append(names, disk), append(want, unix.EPERM)
	}
	c := startChild(t, nil, "open", names...)
	must(t, m.Apply(c.Process.Pid))
	must(t, m.Set(leaf.Config().Resources))
	c.start()
	for i, name := range names {
		if _, err := os.Stat(name); err != nil {
			t.Errorf("no %s to try", name)
		}
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

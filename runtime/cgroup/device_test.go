// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDevicesBehind(t *testing.T) {
	tmp := t.TempDir()
	must(t, unix.Mount("none", tmp, "tmpfs", 0, "size=64k"))
	t.Cleanup(func() { unix.Unmount(tmp, unix.MNT_DETACH) })
	for _, path := range []string{tmp, "/proc/self/status", "/sys"} {
		if d, err := DevicesBehind(path); err != nil || len(d) != 0 {
			t.Errorf("%s: %v, %v", path, d, err)
		}
	}
	if _, err := DevicesBehind(filepath.Join(tmp, "missing")); err == nil {
		t.Error("a missing path has a device")
	}
	disks, err := DevicesBehind("/")
	must(t, err)
	for _, d := range disks {
		if _, err := os.Stat("/sys/dev/block/" + d.String() + "/queue"); err != nil {
			t.Errorf("%v is no whole disk: %v", d, err)
		}
	}
}

// TestMountSource finds the source of a mount by file, not by path.
func TestMountSource(t *testing.T) {
	tmp := t.TempDir()
	must(t, unix.Mount("/dev/some/disk", tmp, "tmpfs", 0, "size=64k"))
	t.Cleanup(func() { unix.Unmount(tmp, unix.MNT_DETACH) })
	fd, err := unix.Open(tmp, unix.O_PATH|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	if source, err := mountSource(fd); source != "/dev/some/disk" || err != nil {
		t.Errorf("%q, %v", source, err)
	}
	if d, err := DevicesBehind(tmp); err != nil || len(d) != 0 {
		t.Errorf("a source that does not exist: %v, %v", d, err)
	}
}

func TestWholeDisk(t *testing.T) {
	sys := t.TempDir()
	part := filepath.Join(sys, "devices", "sda", "sda1")
	must(t, os.MkdirAll(part, 0o755))
	for name, text := range map[string]string{
		"devices/sda/dev": "8:0\n", "devices/sda/sda1/dev": "8:1\n", "devices/sda/sda1/partition": "1\n",
	} {
		must(t, os.WriteFile(filepath.Join(sys, name), []byte(text), 0o644))
	}
	must(t, os.Symlink("devices/sda", filepath.Join(sys, "8:0")))
	must(t, os.Symlink("devices/sda/sda1", filepath.Join(sys, "8:1")))
	for _, minor := range []uint32{0, 1} {
		if d, err := wholeDisk(sys, Device{8, minor}); err != nil || d != (Device{8, 0}) {
			t.Errorf("8:%d: %v, %v", minor, d, err)
		}
	}
}

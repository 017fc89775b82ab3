// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// overlayDir is a directory on an overlay.
func overlayDir(t testing.TB) string {
	t.Helper()
	base := tmpfs(t, "size=1m")
	at := openDir(t)
	options := "lowerdir=" + mkdir(t, base, "l") + ",upperdir=" + mkdir(t, base, "u") + ",workdir=" + mkdir(t, base, "w")
	if err := unix.Mount("overlay", at, "overlay", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return at
}

// imageDir is the root of a file system in an image.
func imageDir(t testing.TB, kind string, size int64, mkfs ...string) string {
	t.Helper()
	program, err := exec.LookPath(mkfs[0])
	if err != nil {
		t.Skipf("%s is not installed", mkfs[0])
	}
	image := filepath.Join(t.TempDir(), kind)
	f, err := os.OpenFile(image, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program, append(mkfs[1:], image)...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	device, err := attach(f)
	if err != nil {
		t.Fatal(err)
	}
	device, err = forReading(device)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	at := openDir(t)
	if err := unix.Mount(device.Name(), at, kind, 0, ""); err != nil {
		if errors.Is(err, unix.ENODEV) {
			t.Skipf("the kernel has no %s", kind)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(at, 0o755); err != nil {
		t.Fatal(err)
	}
	return at
}

// Workspaces on the file systems that people have.
func TestLowers(t *testing.T) {
	m := testMaker(t)
	for _, c := range []struct {
		name string
		make func(t testing.TB) string
	}{
		{"the disk", openDir},
		{"tmpfs", func(t testing.TB) string {
			if running().before(version{6, 3}) {
				t.Skip("before Linux 6.3, tmpfs has no id-mapped mounts")
			}
			return tmpfs(t, "size=1m")
		}},
		{"ext4", func(t testing.TB) string {
			return imageDir(t, "ext4", 8<<20, "mke2fs", "-q", "-t", "ext4", "-b", "4096")
		}},
		{"xfs", func(t testing.TB) string { return imageDir(t, "xfs", 512<<20, "mkfs.xfs", "-q", "-s", "size=4096") }},
		{"btrfs", func(t testing.TB) string { return imageDir(t, "btrfs", 256<<20, "mkfs.btrfs", "-q") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := workspace(t, c.make(t), "mkdir -p mydir/sub; echo old > file; echo x > mydir/sub/x; touch gone")
			before := snapshot(t, w)
			l := makeLayer(t, m, small)
			inside(t, l, w, "echo more >> file; rm gone; mv mydir moved; echo y >> moved/sub/x; mkdir gone; [ $(stat -c %u file) = $(id -u) ]")
			if after := snapshot(t, w); after != before {
				t.Errorf("the workspace was\n%s\nand is\n%s", before, after)
			}
			if got, want := upper(t, l, "cat file moved/sub/x; stat -c %u:%g file moved/sub/x gone"),
				"old\nmore\nx\ny\n"+strings.Repeat("51000:52000\n", 3); got != want {
				t.Errorf("the layer holds %q, not %q", got, want)
			}
		})
	}
}

// A workspace that nobody may write to can be below a layer: what becomes of the
// layer is decided later.
func TestReadOnlyLower(t *testing.T) {
	m, w := testMaker(t), workspace(t, openDir(t), "echo old > file")
	if err := errors.Join(unix.Mount(w, w, "", unix.MS_BIND, ""), unix.Mount("", w, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(w, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	l := makeLayer(t, m, small)
	inside(t, l, w, "echo new > file")
	if got := upper(t, l, "cat file"); got != "new\n" {
		t.Errorf("the layer holds %q", got)
	}
}

// What can't be below a layer is refused in words, and leaves nothing behind.
func TestRefused(t *testing.T) {
	m := testMaker(t)
	l := makeLayer(t, m, small)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	gone := filepath.Join(t.TempDir(), "gone")
	deleted, err := os.Open(mkdir(t, gone))
	if err != nil {
		t.Fatal(err)
	}
	defer deleted.Close()
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]string{
		overlayDir(t):                         "is on overlay, which has no id-mapped mounts",
		"/proc/self":                          "is on proc",
		"/sys/kernel":                         "is on sysfs",
		"/dev/pts":                            "no id-mapped mounts", // not in the table: the kernel says so
		file:                                  "no directory",
		"/proc/self/fd/" + itoa(deleted.Fd()): "deleted",
	} {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if _, err := l.Mount(fd, owner, tool); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", path, err)
		}
		if err := unix.Close(fd); err != nil {
			t.Fatal(err)
		}
	}
	// The layer is as good as before.
	inside(t, l, workspace(t, openDir(t), ":"), "touch new")
}

func TestRefusal(t *testing.T) {
	const says = "the workspace is on "
	for _, c := range []struct {
		magic  uint32
		kernel version
		want   string
	}{
		{unix.EXT4_SUPER_MAGIC, version{5, 12}, ""},
		{unix.EXT4_SUPER_MAGIC, version{5, 11}, says + "ext4, which has no id-mapped mounts before Linux 5.12; this is 5.11: " + doMove},
		{unix.TMPFS_MAGIC, version{6, 1}, says + "tmpfs, which has no id-mapped mounts before Linux 6.3; this is 6.1: " + doMove},
		{unix.TMPFS_MAGIC, version{6, 3}, ""},
		{unix.TMPFS_MAGIC, version{7, 0}, ""},
		{unix.BTRFS_SUPER_MAGIC, version{6, 1}, ""},
		{unix.OVERLAYFS_SUPER_MAGIC, version{99, 0}, says + "overlay, which has no id-mapped mounts: " + doMove},
		{unix.NFS_SUPER_MAGIC, version{99, 0}, says + "nfs, which has no id-mapped mounts: " + doMove},
		{0x12345678, version{5, 12}, ""},
	} {
		got := ""
		if err := refusal(c.magic, c.kernel); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%#x on %v: %q, not %q", c.magic, c.kernel, got, c.want)
		}
	}
}

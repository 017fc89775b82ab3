// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/rootfs"
)

// The owner of workspaces, and the ids that tools run with.
var (
	owner = rootfs.Owner{UID: 51000, GID: 52000}
	tool  = rootfs.Owner{UID: 61234, GID: 62345}
)

var small = Size{Bytes: 4 << 20, Files: 100}

// openDir is a temporary directory that everybody may enter.
func openDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func mkdir(t testing.TB, path ...string) string {
	t.Helper()
	dir := filepath.Join(path...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// testMaker is a maker of the test's own.
func testMaker(t testing.TB) *Maker {
	t.Helper()
	dir := t.TempDir()
	m := New(mkdir(t, dir, "stage"), "/bin/true", mkdir(t, dir, "blanks"))
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func makeLayer(t testing.TB, m *Maker, size Size) *Layer {
	t.Helper()
	l, err := m.Make(filepath.Join(t.TempDir(), "layer.img"), size, owner)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Discard() })
	return l
}

// workspace is a directory of owner's with a script run in it as owner.
func workspace(t testing.TB, dir, script string) string {
	t.Helper()
	if err := os.Chown(dir, owner.UID, owner.GID); err != nil {
		t.Fatal(err)
	}
	if out, err := shell(dir, owner, script); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// shell runs a script in a directory as somebody.
func shell(dir string, as rootfs.Owner, script string) (string, error) {
	c := exec.Command("/bin/sh", "-euc", script)
	c.Dir = dir
	c.Env = []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL=C"}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(as.UID), Gid: uint32(as.GID)}}
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.String(), err
}

// inside mounts the layer over lower for the time that a script takes, in a
// mount namespace of its own, where it runs as the tool.
func inside(t testing.TB, l *Layer, lower string, script string) string {
	t.Helper()
	out, err := insideAs(t, l, lower, owner, tool, script)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

func insideAs(t testing.TB, l *Layer, lower string, owner, tool rootfs.Owner, script string) (out string, err error) {
	t.Helper()
	tree := mount(t, l, lower, owner, tool)
	defer unix.Close(tree)
	at := openDir(t)
	err = rootfs.OnOwnThread(func() (err error) {
		if err := rootfs.Isolate(); err != nil {
			return err
		}
		if err := unix.MoveMount(tree, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return err
		}
		out, err = shell(at, tool, script)
		return err
	})
	return out, err
}

// mount mounts the layer over a directory by name.
func mount(t testing.TB, l *Layer, lower string, owner, tool rootfs.Owner) int {
	t.Helper()
	fd, err := unix.Open(lower, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	tree, err := l.Mount(fd, owner, tool)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// upper runs a script as root in what was written.
func upper(t testing.TB, l *Layer, script string) string {
	t.Helper()
	f, err := l.Upper()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := exec.Command("/bin/sh", "-euc", "cd /proc/self/fd/3; "+script)
	c.ExtraFiles = []*os.File{f}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

func itoa(fd uintptr) string { return strconv.Itoa(int(fd)) }

// snapshot is all that can be seen of a tree.
func snapshot(t testing.TB, dir string) string {
	t.Helper()
	c := exec.Command("/bin/sh", "-euc", `find . -printf "%p %y %m %U:%G %i %n %s %t %l\n" | sort; find . -type f -print0 | sort -z | xargs -0r cat`)
	c.Dir = dir
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// tmpfs mounts one, which is there until the test has ended.
func tmpfs(t testing.TB, options string) string {
	t.Helper()
	dir := openDir(t)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options+",mode=0755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// attachedTo counts the loop devices of an image.
func attachedTo(t testing.TB, image string) (n int) {
	t.Helper()
	for _, file := range loops(t) {
		if strings.TrimSuffix(file, " (deleted)") == image {
			n++
		}
	}
	return n
}

// loops gives what is attached to loop devices.
func loops(t testing.TB) (files []string) {
	t.Helper()
	names, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		file, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, strings.TrimSpace(string(file)))
	}
	return files
}

// awaitDetached waits until no loop device has the image: who started a process
// meanwhile may have had a copy of a descriptor for a moment.
func awaitDetached(t testing.TB, image string) {
	t.Helper()
	for end := time.Now().Add(waitLimit); attachedTo(t, image) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s stays attached", image)
		}
	}
}

func splitLines(s string) func(func(string) bool) {
	return strings.SplitSeq(strings.TrimSpace(s), "\n")
}

// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/rootfs"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openDir(t testing.TB, dir string) int {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// descriptors counts what this process has open.
func descriptors(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(list)
}

func TestLock(t *testing.T) {
	dir := openDir(t, t.TempDir())
	must(t, makeFIFO(dir, "x"))
	for _, c := range []struct {
		first, second part
		both          bool
	}{
		{shared, shared, true},
		{shared, alone, false},
		{alone, shared, false},
		{alone, alone, false},
		{own(rootfs.Identity{Ino: 7}), own(rootfs.Identity{Ino: 9}), true},
		{own(rootfs.Identity{Ino: 7}), own(rootfs.Identity{Ino: 7}), false},
		{own(rootfs.Identity{Ino: ^uint64(0)}), shared, false},
		{shared, own(rootfs.Identity{Dev: 1 << 30, Ino: 7}), false},
	} {
		l, err := try(dir, "x", c.first)
		must(t, err)
		m, err := try(dir, "x", c.second)
		if c.both != (err == nil) || err != nil && !errors.Is(err, errTaken) {
			t.Errorf("%+v: %v", c, err)
		}
		if m != nil {
			m.release()
		}
		l.release()
		if m, err = try(dir, "x", alone); err != nil {
			t.Fatalf("after %+v: %v", c, err)
		}
		m.release()
	}
}

// TestWaiters: who waits is woken, whoever holds the lock and however that
// ends, and who gives up leaves nothing.
func TestWaiters(t *testing.T) {
	path := t.TempDir()
	dir := openDir(t, path)
	must(t, makeFIFO(dir, "x"))
	before := descriptors(t)
	threads := runtime.NumGoroutine()

	l, err := try(dir, "x", alone)
	must(t, err)
	ctx, cancel := context.WithCancelCause(t.Context())
	over := make(chan error)
	go func() {
		m, err := take(ctx, dir, "x", shared)
		if m != nil {
			m.release()
		}
		over <- err
	}()
	reason := errors.New("enough")
	cancel(reason)
	if err := <-over; !errors.Is(err, reason) {
		t.Errorf("given up: %v", err)
	}

	const waiters = 20
	for range waiters {
		go func() {
			m, err := take(t.Context(), dir, "x", alone)
			if err == nil {
				m.release()
			}
			over <- err
		}()
	}
	l.release()
	for range waiters {
		must(t, <-over)
	}
	if n := descriptors(t); n != before {
		t.Errorf("%d descriptors, %d before", n, before)
	}
	for range 10_000 {
		if runtime.NumGoroutine() <= threads {
			break
		}
		time.Sleep(time.Millisecond) // there is no event for a goroutine's end
	}
	if n := runtime.NumGoroutine(); n > threads {
		t.Errorf("%d goroutines, %d before", n, threads)
	}
}

// TestWaiterOfTheDead: the lock of a process that is killed is free, and who
// waits for it is told.
func TestWaiterOfTheDead(t *testing.T) {
	path := t.TempDir()
	dir := openDir(t, path)
	must(t, makeFIFO(dir, "x"))
	for range 20 {
		holder, say := child(t, "hold", filepath.Join(path, "x"))
		if line := say(); line != "held" {
			t.Fatal(line)
		}
		over := make(chan error)
		go func() {
			m, err := take(t.Context(), dir, "x", alone)
			if err == nil {
				m.release()
			}
			over <- err
		}()
		if _, err := try(dir, "x", shared); !errors.Is(err, errTaken) {
			t.Fatal(err)
		}
		must(t, holder.Process.Kill())
		must(t, <-over)
		_ = holder.Wait()
	}
}

// hold is for a child: it takes a lock and stays.
func hold(path string) error {
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if _, err := try(dir, filepath.Base(path), alone); err != nil {
		return err
	}
	return sayAndStay("held")
}

func TestNoLock(t *testing.T) {
	path := t.TempDir()
	dir := openDir(t, path)
	must(t, os.WriteFile(filepath.Join(path, "file"), nil, 0o600))
	must(t, makeFIFO(dir, "x"))
	must(t, os.Symlink("x", filepath.Join(path, "link")))
	for _, name := range []string{"file", "link", "none"} {
		if l, err := try(dir, name, shared); err == nil || errors.Is(err, errTaken) {
			t.Errorf("%s: %v %v", name, l, err)
		}
	}
}

// child starts this test program in a role, and gives what it says, line by
// line.
func child(t testing.TB, role string, args ...string) (*exec.Cmd, func() string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), roleKey+"="+role)
	cmd.Stderr = os.Stderr
	_, err := cmd.StdinPipe() // open until this process ends
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, lines(out)
}

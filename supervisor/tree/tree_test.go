// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, dir string) int {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// nest makes a tree of many levels as a tool does: a directory, and what was
// there is moved into it.
func nest(t *testing.T, dir string, levels int) {
	t.Helper()
	fd := open(t, dir)
	must(t, unix.Mkdirat(fd, "0", 0o700))
	for i := 1; i < levels; i++ {
		over := strconv.Itoa(i)
		must(t, unix.Mkdirat(fd, over, 0o700))
		must(t, unix.Renameat(fd, strconv.Itoa(i-1), fd, over+"/d"))
	}
}

// descriptors gives how many files this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(entries)
}

func TestRemoveDeep(t *testing.T) {
	levels := 100_000
	if testing.Short() {
		levels = 20_000
	}
	var most unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &most))
	few := unix.Rlimit{Cur: uint64(descriptors(t)) + 32, Max: most.Max}
	parent := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(parent, "gone", "a"), 0o700))
	nest(t, filepath.Join(parent, "gone", "a"), levels)
	fd := open(t, parent)
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &few))
	defer func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &most)) }()
	must(t, Remove(context.Background(), fd, "gone"))
	if _, err := os.Lstat(filepath.Join(parent, "gone")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestRemoveTakesNothingElse(t *testing.T) {
	parent, canary := t.TempDir(), filepath.Join(t.TempDir(), "canary")
	must(t, os.WriteFile(canary, []byte("alive"), 0o600))
	gone := filepath.Join(parent, "gone")
	must(t, os.MkdirAll(filepath.Join(gone, "d", "1"), 0o700)) // a name that Remove itself would give
	must(t, os.Mkdir(filepath.Join(gone, "1"), 0o700))
	must(t, os.Symlink(filepath.Dir(canary), filepath.Join(gone, "link")))
	must(t, os.Symlink(filepath.Dir(canary), filepath.Join(gone, "d", "link")))
	must(t, os.Link(canary, filepath.Join(gone, "d", "hard")))
	must(t, unix.Mkfifo(filepath.Join(gone, "d", "fifo"), 0o600))
	must(t, os.Symlink(filepath.Dir(canary), filepath.Join(parent, "away")))
	fd := open(t, parent)
	if err := Remove(context.Background(), fd, "away"); err == nil {
		t.Error("it went through a link")
	}
	must(t, Remove(context.Background(), fd, "gone"))
	if text, err := os.ReadFile(canary); err != nil || string(text) != "alive" {
		t.Error(string(text), err)
	}
	if err := Remove(context.Background(), fd, "gone"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestRemoveIsTakenUp(t *testing.T) {
	parent := t.TempDir()
	must(t, os.Mkdir(filepath.Join(parent, "gone"), 0o700))
	nest(t, filepath.Join(parent, "gone"), 100)
	fd := open(t, parent)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Remove(ctx, fd, "gone"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// What an attempt that was killed has moved up is under the same numbers.
	must(t, os.Mkdir(filepath.Join(parent, "gone", "1"), 0o700))
	must(t, Remove(context.Background(), fd, "gone"))
}

func TestEach(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for i := range 2000 {
		name := strconv.Itoa(i)
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
		want = append(want, name)
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	for range 2 { // each from its beginning
		var got []string
		must(t, Each(fd, func(name string) error { got = append(got, name); return nil }))
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%d names of %d", len(got), len(want))
		}
	}
	stop := errors.New("stop")
	if err := Each(fd, func(string) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
}

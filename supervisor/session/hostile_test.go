// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// nest makes a tree of many levels as a tool does: a directory, and what was
// there is moved into it.
func nest(t *testing.T, dir string, levels int) {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Mkdirat(fd, "0", 0o700))
	for i := 1; i < levels; i++ {
		over := strconv.Itoa(i)
		must(t, unix.Mkdirat(fd, over, 0o700))
		must(t, unix.Renameat(fd, strconv.Itoa(i-1), fd, over+"/d"))
	}
}

// fill makes empty files.
func fill(t *testing.T, dir string, files int) {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	for i := range files {
		must(t, unix.Mknodat(fd, strconv.Itoa(i), unix.S_IFREG|0o600, 0))
	}
}

func TestDeepTreeGoesAway(t *testing.T) {
	levels := 30_000
	if testing.Short() {
		levels = 5_000
	}
	var most unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &most))
	few := unix.Rlimit{Cur: 1024, Max: most.Max}
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &few))
	defer func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &most)) }()
	dir, c := filepath.Join(t.TempDir(), "sessions"), &clock{time.Unix(1e9, 0).UTC()}
	s := open(t, dir, c)
	claw := Owner{Agent: "claw"}
	a, err := s.Use(t.Context(), claw, "a")
	must(t, err)
	nest(t, s.Workspace(a.ID), levels)
	nest(t, s.Tmp(a.ID), 2*maxLevels) // too large both, and not less than nothing together
	s.Leave(a.ID)
	var refused *Error
	if _, err := s.Use(t.Context(), claw, "a"); !errors.As(err, &refused) || !strings.Contains(err.Error(), "more than is counted") {
		t.Errorf("a tree too deep to be counted: %v", err)
	}
	must(t, s.Remove(a.ID))
	settled(t, s)
	if notes := s.Notes(); notes != nil {
		t.Error(notes)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left: %v %v", entries, err)
	}
}

func TestLeftoversDoNotKeepItFromStarting(t *testing.T) {
	dir, c := filepath.Join(t.TempDir(), "sessions"), &clock{time.Unix(1e9, 0).UTC()}
	stuck := filepath.Join(dir, leaving+"s-stuck", "workspace", "mounted")
	must(t, os.MkdirAll(stuck, 0o700))
	nest(t, filepath.Join(dir, leaving+"s-stuck", "workspace"), 5000)
	must(t, unix.Mount("tmpfs", stuck, "tmpfs", 0, "size=64k"))
	mounted := true
	defer func() {
		if mounted {
			_ = unix.Unmount(stuck, unix.MNT_DETACH)
		}
	}()
	canary := filepath.Join(stuck, "canary")
	must(t, os.WriteFile(canary, nil, 0o600))
	s := open(t, dir, c)
	settled(t, s)
	if notes := s.Notes(); len(notes) != 1 || !strings.Contains(notes[0], "s-stuck") {
		t.Errorf("nobody is told: %q", notes)
	}
	if a, err := s.Use(t.Context(), Owner{Agent: "claw"}, "a"); err != nil {
		t.Errorf("%+v %v", a, err)
	}
	if _, err := os.Stat(canary); err != nil {
		t.Errorf("what was mounted there was emptied: %v", err)
	}
	must(t, unix.Unmount(stuck, unix.MNT_DETACH))
	mounted = false
	c.now = c.now.Add(retryEvery)
	_, err := s.Expire()
	must(t, err)
	settled(t, s)
	if notes := s.Notes(); notes != nil {
		t.Errorf("after it was unmounted: %q", notes)
	}
}

func TestNobodyWaitsForRemoval(t *testing.T) {
	dir, c := filepath.Join(t.TempDir(), "sessions"), &clock{time.Unix(1e9, 0).UTC()}
	s := open(t, dir, c)
	big, err := s.Use(t.Context(), Owner{Agent: "claw"}, "big")
	must(t, err)
	other, err := s.Use(t.Context(), Owner{Agent: "other"}, "small")
	must(t, err)
	s.Leave(other.ID)
	files := 200_000
	if testing.Short() {
		files = 20_000
	}
	fill(t, s.Workspace(big.ID), files)
	s.Leave(big.ID)
	must(t, s.Remove(big.ID))
	work := s.remover.idle()
	if again, err := s.Use(t.Context(), Owner{Agent: "other"}, "small"); err != nil || again.ID != other.ID {
		t.Errorf("%+v %v", again, err)
	}
	if list := s.List(); len(list) != 1 {
		t.Errorf("%+v", list)
	}
	select {
	case <-work:
		t.Error("the files were gone first: somebody waited, or there were too few")
	default:
	}
	settled(t, s)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("left: %v %v", entries, err)
	}
}

func TestRemovalGoesOnAfterARestart(t *testing.T) {
	dir, c := filepath.Join(t.TempDir(), "sessions"), &clock{time.Unix(1e9, 0).UTC()}
	s := open(t, dir, c)
	a, err := s.Use(t.Context(), Owner{Agent: "claw"}, "a")
	must(t, err)
	fill(t, s.Workspace(a.ID), 1000)
	s.Leave(a.ID)
	s.cancel() // the process is going down
	must(t, s.Remove(a.ID))
	settled(t, s)
	if _, err := os.Stat(filepath.Join(dir, leaving+a.ID)); err != nil {
		t.Fatalf("it was removed by a store that had ended: %v", err)
	}
	s = open(t, dir, c)
	if list := s.List(); len(list) != 0 {
		t.Errorf("it came back: %+v", list)
	}
	settled(t, s)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left: %v %v", entries, err)
	}
}

func TestNobodyWaitsForAnothersMeasurement(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "sessions"), &clock{time.Unix(1e9, 0).UTC()})
	claw, other := Owner{Agent: "claw"}, Owner{Agent: "other"}
	a, err := s.Use(t.Context(), claw, "a")
	must(t, err)
	for range measurers { // as if trees without end were being measured
		s.measurers <- struct{}{}
	}
	must(t, os.WriteFile(filepath.Join(s.Workspace(a.ID), "f"), make([]byte, 2<<20), 0o600))
	s.Leave(a.ID)
	if b, err := s.Use(t.Context(), other, "b"); err != nil {
		t.Errorf("another's: %+v %v", b, err)
	}
	if again, err := s.Use(t.Context(), claw, "a"); err != nil || again.Bytes != 0 {
		t.Errorf("by the size that is known: %+v %v", again, err)
	}
	for range measurers {
		<-s.measurers
	}
	s.background.Wait()
	// Its calls are still at work, and it is measured all the same.
	var refused *Error
	if _, err := s.Use(t.Context(), claw, "a"); !errors.As(err, &refused) {
		t.Errorf("above its size: %v", err)
	}
}

func TestUseWaitsForItsMeasurement(t *testing.T) {
	dir, c := filepath.Join(t.TempDir(), "sessions"), &clock{time.Unix(1e9, 0).UTC()}
	s := open(t, dir, c)
	claw := Owner{Agent: "claw"}
	a, err := s.Use(t.Context(), claw, "a")
	must(t, err)
	// Empty files, and yet more than a session may hold.
	fill(t, s.Workspace(a.ID), 2000)
	s.Leave(a.ID)
	var refused *Error
	if _, err := s.Use(t.Context(), claw, "a"); !errors.As(err, &refused) || !strings.Contains(err.Error(), "2048000 bytes") {
		t.Errorf("2000 files without a block: %v", err)
	}
	// Who makes room is let in, without a call that ends in between.
	must(t, os.RemoveAll(s.Workspace(a.ID)))
	must(t, os.Mkdir(s.Workspace(a.ID), 0o700))
	s.mu.Lock()
	s.sessions[a.ID].rest = time.Time{}
	s.mu.Unlock()
	if _, err := s.Use(t.Context(), claw, "a"); err != nil {
		t.Errorf("after there was room: %v", err)
	}
	fill(t, s.Workspace(a.ID), 2000)
	// A daemon that was killed during the call knows an old size.
	must(t, s.Flush())
	s = open(t, dir, c)
	if _, err := s.Use(t.Context(), claw, "a"); !errors.As(err, &refused) {
		t.Errorf("after a kill: %v", err)
	}
}

func TestMeasureGivesUp(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 2000)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := size(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("%d %v", n, err)
	}
	if n, err := size(t.Context(), dir, dir); err != nil || n != 2*2000*minEntry {
		t.Errorf("%d %v", n, err)
	}
	s := open(t, filepath.Join(t.TempDir(), "sessions"), &clock{time.Unix(1e9, 0).UTC()})
	a, err := s.Use(t.Context(), Owner{}, "a")
	must(t, err)
	must(t, os.Remove(s.Tmp(a.ID)))
	s.Leave(a.ID)
	if got, err := s.Use(t.Context(), Owner{}, "a"); err == nil {
		t.Errorf("a session that can't be measured is used: %+v", got)
	}
}

// TestMeasureWhileItChanges has a tool change what is being counted.
func TestMeasureWhileItChanges(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "large"), make([]byte, 8<<20), 0o600))
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.MkdirAll(filepath.Join(dir, "d", "e"), 0o700)
			_ = os.RemoveAll(filepath.Join(dir, "d"))
			_ = os.Symlink(outside, filepath.Join(dir, "d"))
			_ = os.Remove(filepath.Join(dir, "d"))
		}
	}()
	for range 2000 {
		if n, err := size(t.Context(), dir); err != nil || n > 1<<20 {
			t.Errorf("%d %v", n, err)
			break
		}
	}
	close(stop)
	<-ended
}

func TestRoom(t *testing.T) {
	dir, c := t.TempDir(), &clock{time.Unix(1e9, 0).UTC()}
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16m,nr_inodes=1000"))
	defer func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) }()
	s := open(t, filepath.Join(dir, "sessions"), c)
	bounds := s.options.Bounds
	bounds.Reserve, bounds.Max = 4<<20, 1<<30
	s.Reload(bounds)
	a, err := s.Use(t.Context(), Owner{}, "a")
	must(t, err)
	file := filepath.Join(s.Workspace(a.ID), "f")
	must(t, os.WriteFile(file, make([]byte, 13<<20), 0o600))
	var refused *Error
	if err := s.Room(); !errors.As(err, &refused) || !strings.Contains(err.Error(), "less than the reserve") {
		t.Errorf("with 3 of 16 MiB free: %v", err)
	}
	if _, err := s.Use(t.Context(), Owner{}, "b"); !errors.As(err, &refused) {
		t.Errorf("a session was made: %v", err)
	}
	if notes := s.Notes(); len(notes) != 1 {
		t.Errorf("nobody is told: %q", notes)
	}
	must(t, os.Remove(file))
	must(t, s.Room())
	if notes := s.Notes(); notes != nil {
		t.Errorf("there is room again: %q", notes)
	}
	fill(t, s.Workspace(a.ID), 960) // of 1000, which are few: a sixteenth stays
	if err := s.Room(); !errors.As(err, &refused) || !strings.Contains(err.Error(), "inodes") {
		t.Errorf("without inodes: %v", err)
	}
	bounds.Reserve = 0
	s.Reload(bounds)
	must(t, s.Room())
}

func TestEnough(t *testing.T) {
	for name, one := range map[string]struct {
		st   unix.Statfs_t
		want bool
	}{
		"as much as is wanted":        {unix.Statfs_t{Bsize: 4096, Bavail: 2560, Files: 1 << 20, Ffree: 640}, true},
		"a block less":                {unix.Statfs_t{Bsize: 4096, Bavail: 2559, Files: 1 << 20, Ffree: 640}, false},
		"an inode less":               {unix.Statfs_t{Bsize: 4096, Bavail: 2560, Files: 1 << 20, Ffree: 639}, false},
		"none for others than root":   {unix.Statfs_t{Bsize: 4096, Bfree: 9999, Files: 1 << 20, Ffree: 640}, false},
		"fragments":                   {unix.Statfs_t{Bsize: 1 << 20, Frsize: 4096, Bavail: 2559}, false},
		"inodes that nobody counts":   {unix.Statfs_t{Bsize: 4096, Bavail: 2560}, true},
		"few inodes, most of them":    {unix.Statfs_t{Bsize: 4096, Bavail: 2560, Files: 160, Ffree: 10}, true},
		"few inodes, nearly all used": {unix.Statfs_t{Bsize: 4096, Bavail: 2560, Files: 160, Ffree: 9}, false},
	} {
		if err := enough(&one.st, 10<<20); (err == nil) != one.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

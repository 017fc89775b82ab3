// SPDX-License-Identifier: Apache-2.0

package changeset

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Somebody on the host swaps directories for links, and files for others,
// while the workspace is read. Nothing outside is ever looked at, and no walk
// fails or hangs.
func TestWalkRace(t *testing.T) {
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	outside := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(outside, "e"), 0o700))
	for _, name := range []string{"a", "e/a", "e/b", "f"} {
		must(t, os.WriteFile(filepath.Join(outside, name), []byte("canary"), 0o600))
	}
	s := prepare(t, "mkdir -p d/e g/e m/e; for f in d/a d/e/a d/e/b g/a g/e/a g/e/b m/a m/e/a f h; do echo $f >$f; done; mkfifo fifo")
	s.call("echo x >>d/a; rm d/e/b; echo y >>d/e/a; rm -r g; mv m n; rm n/e/a; rm f; echo z >>h")
	must(t, os.Symlink(outside, filepath.Join(s.lower, "link")))
	must(t, os.Symlink(filepath.Join(outside, "f"), filepath.Join(s.lower, "linkf")))

	ctx, cancel := context.WithCancel(t.Context())
	var hostile sync.WaitGroup
	swaps := 0
	hostile.Go(func() {
		swap := func(a, b string) {
			if err := unix.Renameat2(unix.AT_FDCWD, filepath.Join(s.lower, a), unix.AT_FDCWD, filepath.Join(s.lower, b), unix.RENAME_EXCHANGE); err == nil {
				swaps++
			}
		}
		for ctx.Err() == nil {
			for _, name := range []string{"d", "g", "m", "d/e", "g/e"} {
				swap(name, "link")
				swap(name, "link")
			}
			for _, name := range []string{"f", "h", "g/a"} {
				swap(name, "linkf")
				swap(name, "linkf")
				swap(name, "fifo")
				swap(name, "fifo")
			}
			_ = os.Rename(filepath.Join(s.lower, "f"), filepath.Join(s.lower, "f2"))
			_ = os.Rename(filepath.Join(s.lower, "f2"), filepath.Join(s.lower, "f"))
		}
	})
	var st unix.Stat_t
	must(t, unix.Stat(outside, &st))
	conflicts, entries := 0, 0
	for range rounds {
		set, err := s.try(nil)
		if err != nil {
			t.Error(err)
			break
		}
		entries += len(set.Entries)
		for i := range set.Entries {
			e := &set.Entries[i]
			if e.Notes.Has(Conflict) {
				conflicts++
			}
			if e.Before.Digest == sum("canary") || e.Before.Ino == st.Ino || strings.Contains(string(e.Path), "canary") {
				t.Fatalf("it looked outside: %+v", e)
			}
		}
	}
	cancel()
	hostile.Wait()
	t.Logf("%d rounds, %d swaps, %d entries, %d conflicts", rounds, swaps, entries, conflicts)
	if swaps == 0 || conflicts == 0 {
		t.Error("nothing happened")
	}
}

// A file that is written while it is read is a conflict, whatever its clock says.
func TestWalkWrittenMeanwhile(t *testing.T) {
	s := prepare(t, "head -c 64M /dev/zero >a; echo b >b").call("rm a b")
	ctx, cancel := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	writer.Go(func() {
		f, err := os.OpenFile(filepath.Join(s.lower, "a"), os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		for i := int64(0); ctx.Err() == nil; i++ {
			if _, err := f.WriteAt([]byte(fmt.Sprint(i)), i%(64<<20)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	set, err := s.try(func(l *Layer) { l.Begin = time.Now().Add(time.Hour) })
	cancel()
	writer.Wait()
	must(t, err)
	want(t, set, "deleted a conflict \n deleted b")
}

// A walk that hashes ends soon after its context does.
func TestWalkCancelledWithin(t *testing.T) {
	s := prepare(t, "").call("truncate -s 8G a")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	l := Layer{Upper: open(t, s.upper), Lower: open(t, s.lower)}
	defer unix.Close(l.Upper)
	defer unix.Close(l.Lower)
	if _, err := Walk(ctx, l); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// A lease on a file of the workspace, which makes who opens it wait, holds
// nothing up.
func TestWalkLease(t *testing.T) {
	s := prepare(t, "echo a >a; echo b >b").call("rm a; echo x >>b")
	for _, name := range []string{"a", "b"} {
		f, err := os.OpenFile(filepath.Join(s.lower, name), os.O_RDWR, 0)
		must(t, err)
		defer f.Close()
		_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK)
		must(t, err)
	}
	want(t, s.walk(), "deleted a conflict \n created b conflict")
}

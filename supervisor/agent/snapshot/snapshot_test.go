// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// owner is somebody who is not root.
const owner = 54321

var wide = Bounds{Entries: MaxEntries}

// place gives a shelf and a state directory of owner's.
func place(t *testing.T) (*Shelf, string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("these tests are root's")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state")
	must(t, os.Mkdir(state, 0o700))
	must(t, os.Chown(state, owner, owner))
	shelf, err := OpenShelf(filepath.Join(dir, "snapshots"))
	must(t, err)
	return shelf, state
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, file, text string) {
	t.Helper()
	must(t, os.WriteFile(file, []byte(text), 0o640))
	must(t, os.Chown(file, owner, owner))
}

func take(t *testing.T, s *Shelf, state string, why Why) Snapshot {
	t.Helper()
	draft, err := s.Copy(context.Background(), state, wide)
	must(t, err)
	snap, err := draft.Keep(why, time.Now())
	must(t, err)
	return snap
}

func (s *Shelf) tree(snap Snapshot) string { return filepath.Join(s.dir, snap.Name, treeName) }

func stat(t *testing.T, file string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(file, &st))
	return st
}

// entries lists the names in a directory.
func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func TestCopyKeepsWhatItShould(t *testing.T) {
	shelf, state := place(t)
	canary := filepath.Join(t.TempDir(), "canary")
	must(t, os.WriteFile(canary, []byte("secret"), 0o600))
	before := stat(t, canary)

	write(t, filepath.Join(state, "plain"), "text")
	must(t, os.Mkdir(filepath.Join(state, "dir"), 0o755))
	must(t, os.Chmod(filepath.Join(state, "dir"), 0o2751|fs.ModeSetgid|fs.ModeSticky))
	write(t, filepath.Join(state, "dir", "new\nline \xff"), "odd name")
	must(t, os.Symlink(canary, filepath.Join(state, "out")))
	must(t, os.Symlink(filepath.Dir(canary), filepath.Join(state, "outdir")))
	must(t, errors.Join(os.Lchown(filepath.Join(state, "out"), owner, owner), os.Lchown(filepath.Join(state, "outdir"), owner, owner)))
	write(t, filepath.Join(state, "setuid"), "#!/bin/sh\n")
	must(t, unix.Chmod(filepath.Join(state, "setuid"), 0o6755))
	must(t, unix.Mkfifo(filepath.Join(state, "fifo"), 0o600))
	must(t, unix.Mknod(filepath.Join(state, "device"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	socket, err := net.Listen("unix", filepath.Join(state, "socket"))
	must(t, err)
	defer socket.Close()
	sparse, err := os.Create(filepath.Join(state, "sparse"))
	must(t, err)
	_, err = sparse.WriteAt([]byte("in the middle"), 64<<20)
	must(t, errors.Join(err, sparse.Truncate(1<<30), sparse.Close()))
	past := time.Unix(1e9, 123456789)
	must(t, os.Chtimes(filepath.Join(state, "plain"), past, past))
	must(t, os.Chtimes(filepath.Join(state, "dir"), past, past))

	snap := take(t, shelf, state, Start)
	if c := snap.Count; c.Entries != 7 || c.Special != 3 || c.LeftOut() != 3 {
		t.Errorf("counted %+v", c)
	}
	copied := shelf.tree(snap)
	if st := stat(t, copied); st.Uid != owner || st.Mode&0o7777 != 0o700 {
		t.Errorf("the top has owner %d and mode %o", st.Uid, st.Mode)
	}
	text, err := os.ReadFile(filepath.Join(copied, "dir", "new\nline \xff"))
	if err != nil || string(text) != "odd name" {
		t.Errorf("%q, %v", text, err)
	}
	if st := stat(t, filepath.Join(copied, "dir")); st.Mode&0o7777 != 0o1751 || st.Mtim.Nano() != past.UnixNano() {
		t.Errorf("dir has mode %o and time %d", st.Mode, st.Mtim.Nano())
	}
	if st := stat(t, filepath.Join(copied, "plain")); st.Uid != owner || st.Gid != owner || st.Mode&0o7777 != 0o640 || st.Mtim.Nano() != past.UnixNano() {
		t.Errorf("plain is %+v", st)
	}
	if st := stat(t, filepath.Join(copied, "setuid")); st.Mode&0o7777 != 0o755 || st.Uid != owner {
		t.Errorf("setuid has owner %d and mode %o", st.Uid, st.Mode)
	}
	for _, name := range []string{"out", "outdir"} {
		if st := stat(t, filepath.Join(copied, name)); st.Mode&unix.S_IFMT != unix.S_IFLNK || st.Uid != owner {
			t.Errorf("%s is no link of its owner's any more", name)
		}
	}
	for _, name := range []string{"fifo", "device", "socket"} {
		if _, err := os.Lstat(filepath.Join(copied, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was copied: %v", name, err)
		}
	}
	if st := stat(t, filepath.Join(copied, "sparse")); st.Size != 1<<30 || st.Blocks*512 > 1<<20 {
		t.Errorf("the sparse file has %d bytes on %d of the disk", st.Size, st.Blocks*512)
	}
	middle := make([]byte, 13)
	f, err := os.Open(filepath.Join(copied, "sparse"))
	must(t, err)
	defer f.Close()
	if _, err := f.ReadAt(middle, 64<<20); err != nil || string(middle) != "in the middle" {
		t.Errorf("%q, %v", middle, err)
	}
	if after := stat(t, canary); after != before {
		t.Errorf("the canary was touched: %+v, before %+v", after, before)
	}
	if st := stat(t, shelf.dir); st.Uid != 0 || st.Mode&0o7777 != 0o700 {
		t.Errorf("the shelf has owner %d and mode %o", st.Uid, st.Mode)
	}
}

// A directory that becomes a link to outside, and back, while it is copied.
func TestCopyWhileLinksAreSwappedIn(t *testing.T) {
	shelf, state := place(t)
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "file"), []byte("secret"), 0o600))
	for i := range 50 {
		dir := filepath.Join(state, fmt.Sprintf("d%02d", i))
		must(t, os.Mkdir(dir, 0o755))
		write(t, filepath.Join(dir, "file"), "mine")
	}
	must(t, os.Symlink(outside, filepath.Join(state, "link")))
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			dir := filepath.Join(state, fmt.Sprintf("d%02d", i%50))
			_ = unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, filepath.Join(state, "link"), unix.RENAME_EXCHANGE)
			_ = unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, filepath.Join(state, "link"), unix.RENAME_EXCHANGE)
		}
	}()
	defer func() { close(stop); <-stopped }()
	rounds := 40
	if testing.Short() {
		rounds = 4
	}
	for range rounds {
		draft, err := shelf.Copy(context.Background(), state, wide)
		must(t, err)
		err = filepath.WalkDir(filepath.Join(shelf.dir, draft.name), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(path)
			if bytes.Contains(text, []byte("secret")) {
				t.Errorf("%s came from outside", path)
			}
			return err
		})
		must(t, errors.Join(err, draft.Discard()))
	}
	if left := entries(t, shelf.dir); len(left) > 0 {
		t.Errorf("drafts left: %v", left)
	}
}

func TestBounds(t *testing.T) {
	shelf, state := place(t)
	for i := range 10 {
		write(t, filepath.Join(state, fmt.Sprint(i)), strings.Repeat("x", 100_000))
	}
	sparse, err := os.Create(filepath.Join(state, "sparse"))
	must(t, err)
	must(t, errors.Join(sparse.Truncate(1<<40), sparse.Close()))
	for _, b := range []Bounds{{Entries: 10}, {Entries: 11, Bytes: 900_000}} {
		var over *BoundError
		if _, err := Measure(context.Background(), state, b); !errors.As(err, &over) {
			t.Errorf("measured within %+v: %v", b, err)
		}
		if _, err := shelf.Copy(context.Background(), state, b); !errors.As(err, &over) {
			t.Errorf("%+v: %v", b, err)
		}
		if left := entries(t, shelf.dir); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
	draft, err := shelf.Copy(context.Background(), state, Bounds{Entries: 11, Bytes: 1_100_000})
	must(t, err)
	if got, err := Measure(context.Background(), state, wide); err != nil || got != draft.Count {
		t.Errorf("measured %+v, copied %+v: %v", got, draft.Count, err)
	}
	must(t, draft.Discard())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := shelf.Copy(ctx, state, wide); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestManyNames(t *testing.T) {
	shelf, state := place(t)
	many := 100_000
	if testing.Short() {
		many = 3_000
	}
	dir, err := unix.Open(state, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	defer unix.Close(dir)
	for i := range many {
		fd, err := unix.Openat(dir, fmt.Sprintf("%06d", i), unix.O_CREAT|unix.O_WRONLY, 0o600)
		must(t, err)
		unix.Close(fd)
	}
	draft, err := shelf.Copy(context.Background(), state, wide)
	must(t, err)
	if draft.Count.Entries != many {
		t.Errorf("copied %d", draft.Count.Entries)
	}
	must(t, draft.Discard())
	if left := entries(t, shelf.dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// nest makes directories in each other, deeper than a process has descriptors.
func nest(t *testing.T, dir string, levels int) {
	t.Helper()
	at, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	for range levels {
		must(t, unix.Mkdirat(at, "d", 0o700))
		next, err := unix.Openat(at, "d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(t, err)
		unix.Close(at)
		at = next
	}
	fd, err := unix.Openat(at, "bottom", unix.O_CREAT|unix.O_WRONLY, 0o600)
	must(t, err)
	unix.Close(fd)
	unix.Close(at)
}

func TestDeepDirectories(t *testing.T) {
	shelf, state := place(t)
	levels := 30_000
	if testing.Short() {
		levels = 1_500
	}
	nest(t, state, levels)
	write(t, filepath.Join(state, "beside"), "text")
	first := take(t, shelf, state, Start)
	if first.Count.Deep != 1 || first.Count.Entries != MaxDepth {
		t.Errorf("counted %+v", first.Count)
	}
	// The deep tree is exchanged and buried.
	if _, err := shelf.Restore(context.Background(), first.Name, state, time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := entries(t, filepath.Dir(state)); len(got) != 2 {
		t.Errorf("beside the state directory there is %v", got)
	}
	if got := entries(t, state); len(got) != 2 {
		t.Errorf("the state directory has %v", got)
	}
}

func TestMountedTreesStayOut(t *testing.T) {
	shelf, state := place(t)
	mounted := filepath.Join(state, "mounted")
	must(t, os.Mkdir(mounted, 0o755))
	must(t, unix.Mount("tmpfs", mounted, "tmpfs", 0, "size=64k"))
	defer func() { must(t, unix.Unmount(mounted, unix.MNT_DETACH)) }()
	must(t, os.WriteFile(filepath.Join(mounted, "file"), []byte("secret"), 0o600))
	snap := take(t, shelf, state, Daily)
	if snap.Count.Mounted != 1 || len(entries(t, shelf.tree(snap))) != 0 {
		t.Errorf("counted %+v", snap.Count)
	}
}

func TestRestore(t *testing.T) {
	shelf, state := place(t)
	write(t, filepath.Join(state, "file"), "good")
	good := take(t, shelf, state, Start)
	write(t, filepath.Join(state, "file"), "bad")
	write(t, filepath.Join(state, "more"), "worse")
	inode := stat(t, state).Ino

	present, err := shelf.Restore(context.Background(), good.Name, state, time.Now())
	must(t, err)
	text, err := os.ReadFile(filepath.Join(state, "file"))
	must(t, err)
	if got := entries(t, state); string(text) != "good" || len(got) != 1 {
		t.Errorf("restored %q and %v", text, got)
	}
	if st := stat(t, state); st.Ino == inode || st.Uid != owner || st.Mode&0o7777 != 0o700 {
		t.Errorf("the state directory is %+v", st)
	}
	// What was there can be had again.
	if _, err := shelf.Restore(context.Background(), present.Name, state, time.Now()); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(state, "more")); err != nil || string(text) != "worse" {
		t.Errorf("%q, %v", text, err)
	}
	list, err := shelf.List()
	must(t, err)
	if len(list) != 3 || list[2].Name != good.Name || list[1].Why != Restore || list[1].Name != present.Name {
		t.Errorf("list: %+v", list)
	}
	must(t, shelf.Prune(1, good.Name))
	if got := entries(t, shelf.dir); len(got) != 2 || got[0] != good.Name {
		t.Errorf("after pruning: %v", got)
	}
	for _, name := range []string{"../state", "", "20000101T000000.000Z-start"} {
		if _, err := shelf.Restore(context.Background(), name, state, time.Now()); err == nil {
			t.Errorf("restored %q", name)
		}
	}
	if text, err := os.ReadFile(filepath.Join(state, "more")); err != nil || string(text) != "worse" {
		t.Errorf("after refusals: %q, %v", text, err)
	}
}

func TestRestoreRefusesAParentOfOthers(t *testing.T) {
	shelf, state := place(t)
	snap := take(t, shelf, state, Start)
	must(t, os.Chmod(filepath.Dir(state), 0o777))
	if _, err := shelf.Restore(context.Background(), snap.Name, state, time.Now()); err == nil || !strings.Contains(err.Error(), "belong to root") {
		t.Errorf("restored: %v", err)
	}
}

func TestWhatACrashLeaves(t *testing.T) {
	shelf, state := place(t)
	write(t, filepath.Join(state, "file"), "text")
	_, err := shelf.Copy(context.Background(), state, wide) // and no more
	must(t, err)
	stage := filepath.Join(filepath.Dir(state), stagePrefix+"state")
	must(t, os.Mkdir(stage, 0o700))
	must(t, os.Rename(state, filepath.Join(stage, treeName)))
	must(t, os.Mkdir(state, 0o700))
	if _, err := OpenShelf(shelf.dir); err != nil {
		t.Fatal(err)
	}
	must(t, Sweep(state))
	if got := entries(t, shelf.dir); len(got) != 0 {
		t.Errorf("on the shelf: %v", got)
	}
	if got := entries(t, filepath.Dir(state)); len(got) != 2 {
		t.Errorf("beside the state directory: %v", got)
	}
}

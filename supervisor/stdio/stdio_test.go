// SPDX-License-Identifier: Apache-2.0

package stdio

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close(); _ = w.Close() })
	return r, w
}

func file(t *testing.T, name string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(name, flags, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// sockets are a connected pair, as an agent would pass.
func sockets(t *testing.T) (a, b *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, b = os.NewFile(uintptr(fds[0]), "a"), os.NewFile(uintptr(fds[1]), "b")
	t.Cleanup(func() { _ = a.Close(); _ = b.Close() })
	return a, b
}

func isPipe(t *testing.T, f *os.File) bool {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()&os.ModeNamedPipe != 0
}

// TestDirect: pipes and files are handed through, not copied.
func TestDirect(t *testing.T) {
	r, _ := pipe(t)
	_, w := pipe(t)
	regular := file(t, filepath.Join(t.TempDir(), "f"), os.O_CREATE|os.O_RDWR)
	s, err := Connect(r, w, regular, false)
	if err != nil {
		t.Fatal(err)
	}
	if s.Streams.In != r || s.Streams.Out != w || s.Streams.Err != regular {
		t.Errorf("not the caller's own: %+v", s.Streams)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := w.WriteString("still open"); err != nil {
		t.Error(err)
	}
}

// TestRelayed: the box gets a pipe for everything else.
func TestRelayed(t *testing.T) {
	ours, theirs := sockets(t)
	full := file(t, "/dev/full", os.O_WRONLY)
	s, err := Connect(theirs, theirs, full, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{s.Streams.In, s.Streams.Out, s.Streams.Err} {
		if !isPipe(t, f) {
			t.Error("a stream of the box is not a pipe")
		}
	}
	if _, err := ours.WriteString("question"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Shutdown(int(ours.Fd()), unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(s.Streams.In); err != nil || string(got) != "question" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := s.Streams.Out.WriteString("answer"); err != nil {
		t.Fatal(err)
	}
	// Nobody takes what goes to the full device: the writer is told.
	for err = nil; err == nil; {
		_, err = s.Streams.Err.WriteString("lost")
	}
	var lost *LostError
	if err := s.Close(context.Background()); !errors.As(err, &lost) || lost.Stream != 2 || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("%v, want that standard error has no space", err)
	}
	buf := make([]byte, 100)
	if n, err := ours.Read(buf); err != nil || string(buf[:n]) != "answer" {
		t.Errorf("%q, %v", buf[:n], err)
	}
}

// TestReaderGone: who doesn't listen any more has lost nothing.
func TestReaderGone(t *testing.T) {
	r, _ := pipe(t)
	ours, theirs := sockets(t)
	s, err := Connect(r, theirs, theirs, false)
	if err != nil {
		t.Fatal(err)
	}
	_ = ours.Close()
	for err = nil; err == nil; {
		_, err = s.Streams.Out.WriteString("more")
	}
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestNoInput(t *testing.T) {
	_, w := pipe(t)
	null := file(t, os.DevNull, os.O_RDONLY)
	for _, in := range []*os.File{nil, null} {
		s, err := Connect(in, w, w, false)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(s.Streams.In); err != nil || len(got) != 0 {
			t.Errorf("%q, %v", got, err)
		}
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

// TestCloseGivesUp: a reader that never reads does not hold a stopped call.
func TestCloseGivesUp(t *testing.T) {
	_, theirs := sockets(t)
	r, w := pipe(t)
	s, err := Connect(r, theirs, w, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(int(theirs.Fd()), unix.SOL_SOCKET, unix.SO_SNDBUF, 1); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(s.Streams.Out, endless{}) }()
	for room := 1; room > 0; { // until the pipe holds more than the socket ever can
		if room, err = unix.Poll([]unix.PollFd{{Fd: int32(s.Streams.Out.Fd()), Events: unix.POLLOUT}}, 0); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Close(ctx); err == nil {
		t.Error("what nobody reads was passed on")
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "file")
	ctx := context.Background()
	if err := os.WriteFile(name, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(name, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(filepath.Join(dir, "socket"), unix.S_IFSOCK|0o600, 0); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, says string }{
		{dir + "/missing", "no such file"},
		{dir + "/link", "symbolic link"},
		{dir, "directory"},
		{dir + "/socket", "neither a regular file nor a FIFO"},
		{"/dev/zero", "neither a regular file nor a FIFO"},
		{"/dev/ptmx", "neither a regular file nor a FIFO"},
		{dir + "/a\x1b[2J", `\x1b[2J`},
		{"", "no such file"},
	} {
		if _, err := Open(ctx, c.name); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v; want %q", c.name, err, c.says)
		}
	}
	f, err := Open(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || string(got) != "text" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := f.WriteString("x"); err == nil {
		t.Error("standard input can be written")
	}
	impatient, cancel := context.WithCancel(ctx)
	cancel()
	if err := unix.Mkfifo(filepath.Join(dir, "nobody"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(impatient, filepath.Join(dir, "nobody")); err == nil {
		t.Error("a FIFO without a writer was opened")
	}
	wrote := make(chan error, 1)
	go func() { wrote <- os.WriteFile(filepath.Join(dir, "fifo"), []byte("late"), 0o600) }()
	fifo, err := Open(ctx, filepath.Join(dir, "fifo"))
	if err != nil {
		t.Fatal(err)
	}
	defer fifo.Close()
	if got, err := io.ReadAll(fifo); err != nil || string(got) != "late" {
		t.Errorf("%q, %v", got, err)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
}

// TestInputEndsWithClose: what comes after Close is for who reads next, and the
// relay swallows none of it.
func TestInputEndsWithClose(t *testing.T) {
	out, err := file(t, filepath.Join(t.TempDir(), "out"), os.O_RDWR|os.O_CREATE), file(t, filepath.Join(t.TempDir(), "err"), os.O_RDWR|os.O_CREATE)
	for range 100 {
		in, there := sockets(t)
		s, fail := Connect(in, out, err, false)
		if fail != nil {
			t.Fatal(fail)
		}
		if _, fail := io.WriteString(there, "for the tool\n"); fail != nil {
			t.Fatal(fail)
		}
		b := make([]byte, 100)
		if n, fail := s.Streams.In.Read(b); string(b[:n]) != "for the tool\n" {
			t.Fatalf("%q, %v", b[:n], fail)
		}
		if fail := s.Close(t.Context()); fail != nil {
			t.Fatal(fail)
		}
		if _, fail := io.WriteString(there, "for the next\n"); fail != nil {
			t.Fatal(fail)
		}
		if n, fail := in.Read(b); string(b[:n]) != "for the next\n" {
			t.Fatalf("%q, %v", b[:n], fail)
		}
	}
}

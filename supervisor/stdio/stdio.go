// SPDX-License-Identifier: Apache-2.0

// Package stdio fits a caller's streams to what a sandbox takes.
//
// A sandbox takes pipes and regular files, and gets them as they are: their
// bytes never pass through this process. Everything else (a terminal, a
// socket, a device, a closed descriptor) is relayed through a pipe, so that
// nothing of the box ever holds it:
//
//	set, err := stdio.Connect(os.Stdin, os.Stdout, os.Stderr, false)
//	result := box.Run(ctx, call, set.Streams, signals)
//	err = set.Close(ctx)      // what was written is on its way when this returns
//
// Towards a terminal, bytes pass a visible.Writer, unless raw is asked for.
//
// What a relay can't write any more, the tool is told by the kernel: its next
// write fails. Close tells it too, as a *LostError, unless it is only that the
// reader went away. A relay of standard input takes nothing any more when Close
// has returned: what is typed then is for who asks next.
package stdio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Set is three streams that a sandbox takes.
type Set struct {
	Streams runtime.Stdio
	ours    []*os.File     // the box's ends of our pipes
	output  sync.WaitGroup // relays of stdout and stderr
	input   sync.WaitGroup // that of stdin
	over    *os.File       // closed when the relay of stdin is to end; nil without one

	mu   sync.Mutex
	lost *LostError // mu; the first
}

// LostError is output that was taken from the tool and could not be passed on.
type LostError struct {
	Stream int // 1 or 2
	Err    error
}

// Error says which stream, and why.
func (e *LostError) Error() string {
	name := "standard output"
	if e.Stream == 2 {
		name = "standard error"
	}
	return fmt.Sprintf("%s can't be written: %v", name, e.Err)
}

func (e *LostError) Unwrap() error { return e.Err }

// Connect fits the three streams. in may be nil: empty. The caller keeps its
// files open until Close. raw lets bytes through to a terminal unchanged.
func Connect(in, out, err *os.File, raw bool) (*Set, error) {
	s := &Set{}
	var fail error
	if s.Streams.In, fail = s.source(in); fail == nil {
		if s.Streams.Out, fail = s.target(1, out, raw); fail == nil {
			s.Streams.Err, fail = s.target(2, err, raw)
		}
	}
	if fail != nil {
		s.release()
		return nil, fail
	}
	return s, nil
}

// source gives what the tool reads from.
func (s *Set) source(in *os.File) (*os.File, error) {
	if in != nil && runtime.CheckStdio(0, in) == nil && !IsTerminal(in) {
		return in, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("pipe for standard input: %w", err)
	}
	s.ours = append(s.ours, r)
	if in == nil || IsTerminal(in) && !foreground(in) {
		// A background job that read its terminal would be stopped.
		return r, w.Close()
	}
	waits, over, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("pipe for standard input: %w", err), w.Close())
	}
	s.over = over
	s.input.Go(func() {
		// An error ends the tool's input, as the end does.
		_, _ = io.Copy(w, untilOver{in, waits})
		_ = w.Close()
		_ = waits.Close()
	})
	return r, nil
}

// untilOver reads in, as long as nobody has closed the other end of over. It
// begins no read that would wait (poll(2)).
type untilOver struct{ in, over *os.File }

func (u untilOver) Read(b []byte) (int, error) {
	ended := false
	err := onDescriptor(u.in, func(in int) {
		_ = onDescriptor(u.over, func(over int) {
			list := []unix.PollFd{{Fd: int32(in), Events: unix.POLLIN}, {Fd: int32(over), Events: unix.POLLIN}}
			for {
				_, err := unix.Poll(list, -1)
				if !errors.Is(err, unix.EINTR) {
					ended = err == nil && list[1].Revents != 0
					return
				}
			}
		})
	})
	if err != nil || ended {
		return 0, io.EOF
	}
	return u.in.Read(b)
}

// target gives what the tool writes to.
func (s *Set) target(n int, out *os.File, raw bool) (*os.File, error) {
	terminal := IsTerminal(out)
	if runtime.CheckStdio(n, out) == nil && !terminal {
		return out, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("pipe for stream %d: %w", n, err)
	}
	s.ours = append(s.ours, w)
	s.output.Go(func() {
		defer r.Close()
		var to io.WriteCloser = plain{out}
		if terminal && !raw {
			to = visible.NewWriter(out)
		}
		_, err := io.Copy(onlyWriter{to}, r)
		if err == nil {
			err = to.Close()
		}
		s.missed(n, err, terminal)
	})
	return w, nil
}

// plain passes output on and holds nothing back, so that nothing is to close.
type plain struct{ io.Writer }

func (plain) Close() error { return nil }

// missed notes that a stream could not be written to its end. A reader that
// went away (of a terminal: EIO, see tty_hung_up_p in the kernel) wants no more.
func (s *Set) missed(n int, err error, terminal bool) {
	if err == nil || errors.Is(err, unix.EPIPE) || terminal && errors.Is(err, unix.EIO) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost == nil {
		s.lost = &LostError{n, bare(err)}
	}
}

// bare drops the name that package os puts into its errors: ours, not the caller's.
func bare(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// passed is how the passing on of what the tool wrote ended.
func (s *Set) passed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost != nil {
		return s.lost
	}
	return nil
}

// grace is how long output may still take when its reader is out of patience.
const grace = time.Second

// Close waits until everything the tool wrote is passed on, or until a second
// after ctx is done. The error is a *LostError if a stream refused bytes.
func (s *Set) Close(ctx context.Context) error {
	s.release()
	done := make(chan struct{})
	go func() {
		s.output.Wait()
		s.input.Wait()
		close(done)
	}()
	select {
	case <-done:
		return s.passed()
	case <-ctx.Done():
	}
	select {
	case <-done:
		return s.passed()
	case <-time.After(grace):
		return errors.New("the rest of the output was given up")
	}
}

// release closes the box's ends, which ends the relays.
func (s *Set) release() {
	for _, f := range s.ours {
		_ = f.Close()
	}
	if s.over != nil {
		_ = s.over.Close()
	}
}

// onlyWriter hides ReadFrom: that would splice, and a terminal or a device of
// unknown kind is better written.
type onlyWriter struct{ io.Writer }

// IsTerminal reports whether f is a terminal.
func IsTerminal(f *os.File) bool {
	terminal := false
	_ = onDescriptor(f, func(fd int) { _, err := unix.IoctlGetTermios(fd, unix.TCGETS); terminal = err == nil })
	return terminal
}

// foreground reports whether this process may read the terminal f without
// being stopped (tcgetpgrp(3)).
func foreground(f *os.File) bool {
	yes := true
	_ = onDescriptor(f, func(fd int) {
		group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
		yes = err != nil || group == unix.Getpgrp()
	})
	return yes
}

// onDescriptor runs f on the descriptor without changing its mode, as Fd would.
func onDescriptor(file *os.File, f func(fd int)) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { f(int(fd)) })
}

// Open opens a file for standard input: a regular file or a FIFO, and not
// through a symbolic link at its end. A FIFO waits for its writer, until ctx
// is done.
func Open(ctx context.Context, name string) (*os.File, error) {
	type opened struct {
		f   *os.File
		err error
	}
	done := make(chan opened, 1)
	go func() {
		f, err := open(name)
		done <- opened{f, err}
	}()
	select {
	case o := <-done:
		return o.f, o.err
	case <-ctx.Done():
		return nil, fmt.Errorf("standard input %s: %w before there was a writer", visible.Text(name), ctx.Err())
	}
}

func open(name string) (*os.File, error) {
	fail := func(err error) (*os.File, error) {
		return nil, fmt.Errorf("standard input %s: %w", visible.Text(name), err)
	}
	fd, err := unix.Open(name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fail(err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFIFO:
	case unix.S_IFLNK:
		return fail(errors.New("it is a symbolic link; name the file that it leads to"))
	case unix.S_IFDIR:
		return fail(errors.New("it is a directory; name a file"))
	default:
		return fail(errors.New("it is neither a regular file nor a FIFO; pass it through a pipe"))
	}
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return fail(bare(err))
	}
	return f, nil
}

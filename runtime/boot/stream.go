// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/wire"
)

// streamSet is the relays between the tool's pipes and the caller's
// descriptors.
type streamSet struct {
	stdin  *relay
	stdout *relay
	stderr *relay
	output sync.WaitGroup // stdout and stderr
}

// newStreams joins the caller's descriptors and this side's ends of the
// tool's pipes.
func newStreams(caller []int, pipes [3]int, call *wire.Call) *streamSet {
	return &streamSet{
		stdin:  &relay{src: caller[0], dst: pipes[0], max: -1},
		stdout: &relay{src: pipes[1], dst: caller[1], max: call.StdoutMax},
		stderr: &relay{src: pipes[2], dst: caller[2], max: call.StderrMax},
	}
}

// start lets the bytes flow. exceeded is called when a cap was reached and
// the tool had more to say.
func (s *streamSet) start(exceeded func()) {
	go s.stdin.run(exceeded)
	for _, r := range []*relay{s.stdout, s.stderr} {
		s.output.Go(func() { r.run(exceeded) })
	}
}

// drain waits until the caller has everything and fills in the counts.
func (s *streamSet) drain(o *wire.Outcome) {
	s.output.Wait()
	o.Stdout, o.Stderr = s.stdout.passed, s.stderr.passed
	o.OutputLimit = s.stdout.exceeded || s.stderr.exceeded
	for name, r := range map[string]*relay{"standard output": s.stdout, "standard error": s.stderr} {
		if r.err != nil {
			o.OutputError = fmt.Sprintf("%s could not be passed on: %v", name, r.err)
		}
	}
}

// relay moves bytes from src to dst, at most max of them (negative: all).
type relay struct {
	src, dst int
	max      int64
	passed   int64
	exceeded bool
	err      error // the caller's descriptor refused, other than by being closed
}

// chunk is how much one splice may move: a pipe's usual whole capacity.
const chunk = 64 << 10

// run moves bytes until src ends, dst is gone, or the cap is reached with
// more to come. It closes both ends: whoever writes into a stream that
// nobody reads is told so by the kernel.
func (r *relay) run(exceeded func()) {
	move := splice
	if regular(r.dst) {
		move = newCopier()
	}
	for r.max < 0 || r.passed < r.max {
		want := int64(chunk)
		if r.max >= 0 {
			want = min(want, r.max-r.passed)
		}
		n, err := move(r.src, r.dst, int(want))
		r.passed += n
		if errors.Is(err, unix.EINVAL) {
			// A file opened for appending, some terminals and devices: splice(2).
			move = newCopier()
			continue
		}
		if err != nil && !errors.Is(err, unix.EPIPE) {
			r.err = err
		}
		if err != nil || n == 0 {
			break
		}
	}
	if r.max >= 0 && r.passed == r.max && more(r.src) {
		r.exceeded = true
		exceeded()
	}
	_ = unix.Close(r.src)
	_ = unix.Close(r.dst)
}

// more waits for the tool's next byte, or the end.
func more(fd int) bool {
	var b [1]byte
	for {
		n, err := unix.Read(fd, b[:])
		if !errors.Is(err, unix.EINTR) {
			return n > 0
		}
	}
}

// splice moves up to n bytes without looking at them. Zero and no error is the end.
func splice(src, dst, n int) (int64, error) {
	for {
		moved, err := unix.Splice(src, nil, dst, nil, n, unix.SPLICE_F_MOVE)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			// The caller's descriptor is in non-blocking mode, which is its
			// own affair: the mode is shared, so it is left as it is.
			if err := wait(src, dst); err != nil {
				return 0, err
			}
		default:
			return max(moved, 0), err
		}
	}
}

// regular tells a file, which stdout and stderr may share: write(2) takes the
// lock of its offset and splice(2) does not, so that one stream would
// overwrite the other.
func regular(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG
}

// copier moves bytes through a buffer where splice can't.
type copier struct{ buf []byte }

func newCopier() func(src, dst, n int) (int64, error) {
	return (&copier{buf: make([]byte, chunk)}).move
}

func (c *copier) move(src, dst, n int) (int64, error) {
	got, err := retry(src, unix.POLLIN, func() (int, error) { return unix.Read(src, c.buf[:n]) })
	if err != nil || got == 0 {
		return 0, err
	}
	for done := 0; done < got; {
		put, err := retry(dst, unix.POLLOUT, func() (int, error) { return unix.Write(dst, c.buf[done:got]) })
		if err == nil && put == 0 {
			err = unix.EIO
		}
		if err != nil {
			return int64(done), err
		}
		done += put
	}
	return int64(got), nil
}

func retry(fd int, events int16, f func() (int, error)) (int, error) {
	for {
		n, err := f()
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			if err := poll(unix.PollFd{Fd: int32(fd), Events: events}); err != nil {
				return 0, err
			}
		default:
			return n, err
		}
	}
}

// wait returns when src has something and then when dst has room.
func wait(src, dst int) error {
	if err := poll(unix.PollFd{Fd: int32(src), Events: unix.POLLIN}); err != nil {
		return err
	}
	return poll(unix.PollFd{Fd: int32(dst), Events: unix.POLLOUT})
}

func poll(p unix.PollFd) error {
	for {
		_, err := unix.Poll([]unix.PollFd{p}, -1)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

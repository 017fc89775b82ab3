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
	watch := []int{-1, -1}
	if call.Watch {
		watch = caller[3:5]
	}
	return &streamSet{
		stdin:  &relay{src: caller[0], dst: pipes[0], watch: -1, max: -1},
		stdout: &relay{src: pipes[1], dst: caller[1], watch: watch[0], max: call.StdoutMax},
		stderr: &relay{src: pipes[2], dst: caller[2], watch: watch[1], max: call.StderrMax},
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

// relay moves bytes from src to dst, at most max of them (negative: all), and
// shows them to watch as far as that has room (negative: there is none).
type relay struct {
	src, dst int
	watch    int
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
	switch kind := fileType(r.dst); {
	case kind == unix.S_IFREG:
		// stdout and stderr may share it: write(2) takes the lock of its offset
		// and splice(2) does not, so that one would overwrite the other.
		move = r.newCopier()
	case r.watch >= 0 && kind == unix.S_IFIFO:
		move = r.show
	case r.watch >= 0:
		move = r.newCopier()
	}
	if r.watch >= 0 {
		_ = unix.SetNonblock(r.watch, true)
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
			move = r.newCopier()
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
	r.blind()
}

// blind ends the watch.
func (r *relay) blind() {
	if r.watch >= 0 {
		_ = unix.Close(r.watch)
		r.watch = -1
	}
}

// show is splice after a tee(2) of the same bytes. What the watch has no room
// for is passed on all the same.
func (r *relay) show(src, dst, n int) (int64, error) {
	// tee doesn't wait, and splice would, for bytes that nobody then was shown.
	if err := poll(unix.PollFd{Fd: int32(src), Events: unix.POLLIN}); err != nil {
		return 0, err
	}
	if r.watch < 0 {
		return splice(src, dst, n)
	}
	teed, err := unix.Tee(src, r.watch, n, unix.SPLICE_F_NONBLOCK)
	if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
		r.blind() // who watched has left
	}
	if teed <= 0 {
		return splice(src, dst, n)
	}
	// These and no others, or the next tee would show some twice or not at all.
	for moved := int64(0); ; {
		n, err := splice(src, dst, int(teed-moved))
		moved += n
		if err != nil || n == 0 || moved == teed {
			return moved, err
		}
	}
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

// fileType is the type of what a descriptor leads to, as in st_mode.
func fileType(fd int) uint32 {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return 0
	}
	return st.Mode & unix.S_IFMT
}

// newCopier moves bytes through a buffer where splice can't.
func (r *relay) newCopier() func(src, dst, n int) (int64, error) {
	buf := make([]byte, chunk)
	return func(src, dst, n int) (int64, error) {
		got, err := retry(src, unix.POLLIN, func() (int, error) { return unix.Read(src, buf[:n]) })
		if err != nil || got == 0 {
			return 0, err
		}
		for done := 0; done < got; {
			put, err := retry(dst, unix.POLLOUT, func() (int, error) { return unix.Write(dst, buf[done:got]) })
			if err == nil && put == 0 {
				err = unix.EIO
			}
			if err != nil {
				return int64(done), err
			}
			done += put
		}
		// After the bytes themselves: who reads them back from a file takes
		// what comes here as the word that they are there.
		if r.watch >= 0 {
			if _, err := unix.Write(r.watch, buf[:got]); errors.Is(err, unix.EPIPE) {
				r.blind()
			}
		}
		return int64(got), nil
	}
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

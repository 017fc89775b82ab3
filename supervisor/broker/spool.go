// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime"
)

// streams are a call's three streams, and what the daemon has of them.
//
// A caller passes descriptors, and then their bytes never come here; or it
// doesn't, and then clawsup-init writes into files without a name, of which
// followers read. Either way clawsup-init also copies what passes into two
// pipes, as far as there is room, for who watches.
type streams struct {
	stdio runtime.Stdio
	files [3]*os.File // of stdio
	spool [2]*os.File // nil: the caller has the descriptors
	taps  [2]*tap
}

// spoolDir holds the files without a name: they are gone with the daemon.
func (b *Broker) spoolDir() string { return filepath.Join(b.supervisor.Config.StateDir, "spool") }

// connect makes the streams of a call. passed are the caller's three
// descriptors, or nil; then data is standard input.
func (b *Broker) connect(passed []*os.File, data []byte) (_ *streams, err error) {
	s := &streams{}
	defer func() {
		if err != nil {
			s.spare(passed)
		}
	}()
	if passed != nil {
		copy(s.files[:], passed)
		for n, f := range passed {
			if err := runtime.CheckStdio(n, f); err != nil {
				return nil, err
			}
		}
	} else if err := s.make(b.spoolDir(), data); err != nil {
		return nil, err
	}
	s.stdio = runtime.Stdio{In: s.files[0], Out: s.files[1], Err: s.files[2]}
	for i := range s.taps {
		if s.taps[i], s.stdio.Watch[i], err = newTap(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// make makes the three streams of a caller who passed none.
func (s *streams) make(dir string, data []byte) (err error) {
	if s.files[0], err = input(data); err != nil {
		return err
	}
	for i := range s.spool {
		fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return &os.PathError{Op: "open", Path: dir, Err: err}
		}
		s.spool[i] = os.NewFile(uintptr(fd), "spool")
		// A descriptor of its own, so that no offset is shared.
		if s.files[i+1], err = os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_WRONLY, 0); err != nil {
			return err
		}
	}
	return nil
}

// input gives a stream that holds data, or ends at once.
func input(data []byte) (*os.File, error) {
	if len(data) == 0 {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		return r, w.Close()
	}
	fd, err := unix.MemfdCreate("stdin", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "stdin")
	_, err = f.Write(data)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// release closes what the box has got by now, which ends the taps with the box.
func (s *streams) release() {
	for _, f := range append(s.files[:], s.stdio.Watch[:]...) {
		if f != nil {
			_ = f.Close()
		}
	}
}

// spare closes all but the caller's own descriptors, which accept closes.
func (s *streams) spare(passed []*os.File) {
	if len(passed) > 0 {
		s.files = [3]*os.File{}
	}
	s.release()
	s.close()
}

// close gives up what was kept for followers.
func (s *streams) close() {
	for i := range s.spool {
		if s.spool[i] != nil {
			_ = s.spool[i].Close()
		}
		if s.taps[i] != nil {
			s.taps[i].close()
		}
	}
}

// husk stands for the streams once they are closed: thousands of calls that
// have ended are kept, and not with what is left of theirs each.
func (s *streams) husk() *streams {
	if s.spool[0] == nil {
		return passedHusk
	}
	return keptHusk
}

var passedHusk, keptHusk = func() (*streams, *streams) {
	passed, kept := &streams{}, &streams{}
	for i := range kept.spool {
		f := os.NewFile(^uintptr(0)>>1, "closed") // no descriptor has that number
		_ = f.Close()
		kept.spool[i] = f
		passed.taps[i] = &tap{pipe: f, ended: true}
		kept.taps[i] = passed.taps[i]
	}
	return passed, kept
}()

// tap is the end of a pipe into which clawsup-init copies a stream. It is
// read while somebody listens, and else fills up.
type tap struct {
	pipe *os.File

	mu        sync.Mutex
	listeners map[chan<- []byte]bool // mu
	reading   bool                   // mu
	ended     bool                   // mu
}

// tapChunk is how much is read at once: a pipe's usual whole capacity.
const tapChunk = 64 << 10

func newTap() (*tap, *os.File, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, nil, fmt.Errorf("pipe: %w", err)
	}
	return &tap{pipe: os.NewFile(uintptr(p[0]), "tap"), listeners: map[chan<- []byte]bool{}}, os.NewFile(uintptr(p[1]), "tap"), nil
}

// listen sends to c what comes from now on, and what waits in the pipe first.
// Who doesn't take it in time misses it. c is closed when the stream ends.
func (t *tap) listen(c chan<- []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		close(c)
		return
	}
	t.listeners[c] = true
	if !t.reading {
		t.reading = true
		go t.read()
	}
}

// leave ends what listen began.
func (t *tap) leave(c chan<- []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.listeners[c] {
		delete(t.listeners, c)
		close(c)
	}
}

// read passes on until nobody listens any more or the stream ends.
func (t *tap) read() {
	buf := make([]byte, tapChunk)
	for {
		n, err := t.pipe.Read(buf)
		t.mu.Lock()
		for c := range t.listeners {
			if n > 0 {
				select {
				case c <- append([]byte(nil), buf[:n]...):
				default: // it is too slow, and misses this
				}
			}
			if err != nil {
				close(c)
				delete(t.listeners, c)
			}
		}
		t.ended = t.ended || err != nil
		t.reading = !t.ended && len(t.listeners) > 0
		reading := t.reading
		t.mu.Unlock()
		if !reading {
			return
		}
	}
}

func (t *tap) close() { _ = t.pipe.Close() }

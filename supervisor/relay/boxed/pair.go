// SPDX-License-Identifier: Apache-2.0

package boxed

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// relay is one listening socket with its connections.
type relay struct {
	id       int
	listener *os.File
	room     chan struct{} // one for each of its connections

	once sync.Once
	done chan struct{} // closed when it is dropped

	mu    sync.Mutex
	pairs map[*pair]bool // mu; nil once it is dropped
}

func (r *relay) close() {
	r.once.Do(func() {
		close(r.done)
		_ = r.listener.Close()
		r.mu.Lock()
		pairs := r.pairs
		r.pairs = nil
		r.mu.Unlock()
		for p := range pairs {
			p.close()
		}
	})
}

// accept takes connections while there is room for them.
func (s *server) accept(r *relay) {
	raw, err := r.listener.SyscallConn()
	if err != nil {
		return
	}
	for {
		select {
		case r.room <- struct{}{}:
		case <-r.done:
			return
		}
		var fd int
		var failed error
		err := raw.Read(func(at uintptr) bool {
			fd, _, failed = unix.Accept4(int(at), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			return failed != unix.EAGAIN && failed != unix.EINTR && failed != unix.ECONNABORTED
		})
		if err != nil {
			return // dropped
		}
		if failed != nil { // the socket, or this process, can't go on; clawsupd finds out by its pings
			<-r.room
			r.close()
			return
		}
		client := os.NewFile(uintptr(fd), "client")
		go func() {
			defer func() { <-r.room }()
			select {
			case s.room <- struct{}{}:
				defer func() { <-s.room }()
				s.relay(r, client)
			case <-r.done:
				_ = client.Close()
			}
		}()
	}
}

// relay moves bytes between a client and its peer until both are done.
func (s *server) relay(r *relay, client *os.File) {
	peer := s.dial(r)
	if peer == nil {
		_ = client.Close()
		return
	}
	p := &pair{ends: [2]*os.File{client, peer}}
	r.mu.Lock()
	dropped := r.pairs == nil
	if !dropped {
		r.pairs[p] = true
	}
	r.mu.Unlock()
	defer func() {
		p.close()
		r.mu.Lock()
		delete(r.pairs, p)
		r.mu.Unlock()
	}()
	if dropped || peer.SetWriteDeadline(time.Now().Add(dialLimit)) != nil || connected(peer) != nil || peer.SetWriteDeadline(time.Time{}) != nil {
		return
	}
	idle := time.AfterFunc(s.idle, p.close)
	defer idle.Stop()
	moved := func() { idle.Reset(s.idle) }
	var both sync.WaitGroup
	for from := range 2 {
		both.Go(func() {
			if move(p.ends[from], p.ends[1-from], moved) != nil {
				p.close() // a reset of one end is one of both
			}
		})
	}
	both.Wait()
}

// pair is two sockets that belong together.
type pair struct {
	once sync.Once
	ends [2]*os.File
}

func (p *pair) close() {
	p.once.Do(func() {
		_ = p.ends[0].Close()
		_ = p.ends[1].Close()
	})
}

// window is how many bytes are on their way at most: what a pipe holds.
const window = 64 << 10

// move moves bytes until the end of from, and passes the end on.
func move(from, to *os.File, moved func()) error {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return err
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	source, err := from.SyscallConn()
	if err != nil {
		return err
	}
	target, err := to.SyscallConn()
	if err != nil {
		return err
	}
	for {
		n, err := splice(source.Read, func(fd int) (int64, error) {
			return unix.Splice(fd, nil, pipe[1], nil, window, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		})
		if err != nil {
			return err
		}
		if n == 0 {
			return control(target, func(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) })
		}
		moved()
		for n > 0 {
			done, err := splice(target.Write, func(fd int) (int64, error) {
				return unix.Splice(pipe[0], nil, fd, nil, int(n), unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
			})
			if err != nil {
				return err
			}
			if done == 0 {
				return unix.EPIPE
			}
			n -= done
			moved()
		}
	}
}

// splice waits, by the file's read or write, until f does something.
func splice(wait func(func(uintptr) bool) error, f func(fd int) (int64, error)) (n int64, err error) {
	var failed error
	err = wait(func(fd uintptr) bool {
		for {
			n, failed = f(int(fd))
			if !errors.Is(failed, unix.EINTR) {
				break
			}
		}
		return !errors.Is(failed, unix.EAGAIN)
	})
	return n, errors.Join(err, failed)
}

func control(raw syscall.RawConn, f func(fd int) error) error {
	var failed error
	err := raw.Control(func(fd uintptr) { failed = f(int(fd)) })
	return errors.Join(err, failed)
}

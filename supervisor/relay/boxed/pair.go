// SPDX-License-Identifier: Apache-2.0

package boxed

import (
	"os"
	"sync"
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
func (s *Server) accept(r *relay) {
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
func (s *Server) relay(r *relay, client *os.File) {
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
	_ = Pass(client, peer, func(int, int64) error {
		idle.Reset(s.idle)
		return nil
	})
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

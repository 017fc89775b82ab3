// SPDX-License-Identifier: Apache-2.0

package boxed

import (
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// pipeSize is what a pipe holds, in bytes; what the kernel gives if that is too
	// much for one user (pipe(7), pipe-user-pages-soft) is less. It bounds what is on
	// its way of one direction.
	pipeSize = 256 << 10
	// sparePipes bounds those that are kept while nobody needs them.
	sparePipes = 64
)

// pipe is what splice(2) needs between two sockets. It is empty between uses.
type pipe struct{ r, w int }

// pool keeps pipes. There are two at most for each pair of sockets, and a few spare ones.
type pool struct {
	mu    sync.Mutex
	spare []*pipe // mu
}

var pipes pool

// take gives an empty pipe.
func (p *pool) take() (*pipe, error) {
	p.mu.Lock()
	if n := len(p.spare); n > 0 {
		got := p.spare[n-1]
		p.spare = p.spare[:n-1]
		p.mu.Unlock()
		return got, nil
	}
	p.mu.Unlock()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	_, _ = unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, pipeSize)
	return &pipe{fds[0], fds[1]}, nil
}

// give takes back an empty pipe.
func (p *pool) give(e *pipe) {
	p.mu.Lock()
	keep := len(p.spare) < sparePipes
	if keep {
		p.spare = append(p.spare, e)
	}
	p.mu.Unlock()
	if !keep {
		e.close()
	}
}

func (e *pipe) close() { _, _ = unix.Close(e.r), unix.Close(e.w) }

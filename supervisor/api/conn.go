// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// errGone ends the contexts of a client that went away.
var errGone = &Error{Code: CodeStopped, Message: "the client went away"}

// conn is one connection of a server. A goroutine reads, one writes, and each
// request that is worked on has one.
type conn struct {
	service *service
	socket  *net.UnixConn
	raw     syscall.RawConn
	opener  Peer
	pidfd   int // of the opener, or -1
	cgroup  int // the opener's, see openCgroup, or -1

	ctx context.Context // ends with the connection
	end context.CancelCauseFunc

	split    splitter
	admitted Peer // whom Admit let in last; the reader's
	faults   int  // frames that were no requests; the reader's

	requests sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond      // of mu: the fields below
	ids     map[string]bool // requests that are worked on
	out     []byte          // frames that wait for the writer
	writing int             // bytes that the writer is at
	closing bool            // nothing more will come into out
	dead    error           // nothing more can be sent, and why
}

func newConn(v *service, socket *net.UnixConn) (*conn, error) {
	c := &conn{service: v, socket: socket, pidfd: -1, cgroup: -1, ids: make(map[string]bool)}
	c.changed = sync.NewCond(&c.mu)
	var err, inner error
	if c.raw, err = socket.SyscallConn(); err != nil {
		return nil, err
	}
	err = c.raw.Control(func(fd uintptr) {
		if inner = authenticate(int(fd)); inner == nil {
			c.opener, c.pidfd, inner = peerOf(int(fd))
		}
	})
	if err = errors.Join(err, inner); err != nil {
		return nil, err
	}
	c.cgroup = openCgroup(c.opener.PID, c.pidfd)
	c.admitted = c.opener
	c.ctx, c.end = context.WithCancelCause(v.ctx)
	return c, nil
}

// close ends a connection that is served no more.
func (c *conn) close() {
	c.end(errGone)
	c.socket.Close()
	for _, fd := range []int{c.pidfd, c.cgroup} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// turnAway tells why a connection is not served. Nothing was sent yet, so the
// few bytes find room without waiting.
func (c *conn) turnAway(err error) {
	if frame, err := encode(answer{Version: version, ID: noID, Error: travelling(err)}); err == nil {
		_ = c.socket.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = c.socket.Write(frame)
	}
	c.close()
}

// serve works for a connection until it has ended.
func (c *conn) serve() {
	defer c.close()
	stop := context.AfterFunc(c.service.ctx, func() { _ = c.socket.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	written := make(chan struct{})
	go func() { c.write(); close(written) }()

	err := c.read()
	c.split.drop()
	_ = c.service.hold(c.opener.UID, -len(c.split.buf))
	c.split = splitter{}
	var fault *Error
	switch {
	case errors.Is(err, io.EOF):
		// The client sends no more, and may still read (shutdown(2)): it gets
		// its answers, unless it goes away.
		hangup := make(chan struct{})
		go func() {
			if c.awaitHangup() {
				c.end(errGone)
			}
			close(hangup)
		}()
		defer func() { <-hangup }()
		defer c.socket.Close()
	case errors.As(err, &fault):
		c.service.blame(c.opener, "", fault)
		c.reply(noID, nil, fault)
		c.end(fault)
	case c.service.ctx.Err() != nil:
		c.end(context.Cause(c.service.ctx))
	default:
		c.end(errGone)
	}
	c.requests.Wait()
	c.mu.Lock()
	c.closing = true
	c.changed.Broadcast()
	c.mu.Unlock()
	<-written
}

// awaitHangup returns true when the client has closed its end, and false when
// this end was closed, or a deadline was set. Only poll tells a closed end
// from one that is shut down for writing: POLLHUP (poll(2)).
func (c *conn) awaitHangup() bool {
	gone := false
	_ = c.raw.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd)}}
		n, _ := unix.Poll(p, 0)
		gone = n > 0 && p[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
		return gone
	})
	return gone
}

// read takes frames until the end. An Error is one that the client is to be told.
func (c *conn) read() error {
	oob := make([]byte, controlSize)
	for {
		room, grown := c.split.space()
		if err := c.service.hold(c.opener.UID, grown); err != nil {
			c.split.buf = c.split.buf[:len(c.split.buf)-grown] // what is counted is given back
			return err
		}
		n, oobn, flags, _, err := c.socket.ReadMsgUnix(room, oob)
		if err != nil {
			if errors.Is(err, io.EOF) && c.split.start < c.split.end {
				return &Error{Code: CodeRequest, Message: "the last frame has no newline"}
			}
			return err
		}
		if err := c.received(n, oob[:oobn], flags); err != nil {
			return err
		}
	}
}

// received takes what one receive gave.
func (c *conn) received(n int, oob []byte, flags int) error {
	ctl, err := parseControl(oob)
	if ctl.pidfd >= 0 {
		defer unix.Close(ctl.pidfd)
	}
	switch {
	case err != nil:
		closeAll(ctl.files)
		return err
	case flags&unix.MSG_CTRUNC != 0:
		closeAll(ctl.files)
		return &Error{Code: CodeRequest, Message: "too many descriptors came, or none is left", Hint: "a frame has three, or none"}
	case !ctl.known:
		closeAll(ctl.files)
		return &Error{Code: CodeUnavailable, Message: "the kernel does not say who sent this",
			Hint: "connect again; a socket unit of systemd needs PassCredentials=yes"}
	}
	if err := c.split.took(n, ctl.from, ctl.files); err != nil {
		return err
	}
	var peer *Peer // of all frames that end in what was received
	for {
		l, ok, err := c.split.next()
		if !ok || err != nil {
			return err
		}
		if peer == nil {
			peer = c.sender(l.from, ctl.pidfd)
		}
		if err := c.frame(l, *peer); err != nil {
			return err
		}
	}
}

// sender gives the peer of a frame. The pidfd is that of the very process that
// sent, where the kernel has SO_PASSPIDFD (Linux 6.5). Before, the opener's is
// good for the opener, and for another process it is opened by number, which
// is as sure as the number is.
func (c *conn) sender(from sender, pidfd int) *Peer {
	p := &Peer{UID: from.Uid, GID: from.Gid, PID: from.Pid}
	if from.Pid == c.opener.PID && c.cgroup >= 0 {
		// That the opener lives after it was read says that the number is still its.
		if p.Cgroup = readCgroup(c.cgroup, c.pidfd, c.opener.Cgroup); p.Cgroup != "" {
			return p
		}
	}
	if pidfd < 0 && from.Pid == c.opener.PID {
		pidfd = c.pidfd
	} else if pidfd < 0 {
		if fd, err := unix.PidfdOpen(int(from.Pid), 0); err == nil {
			defer unix.Close(fd)
			pidfd = fd
		}
	}
	p.Cgroup = cgroupOf(p.PID, pidfd)
	return p
}

// frame takes one frame: it begins a request, or answers what is wrong. With
// an error the connection ends.
func (c *conn) frame(l line, p Peer) error {
	e, wrong := parse(l.text)
	if wrong != nil {
		c.split.drop()
		c.refuse(p, e, wrong)
		if c.faults++; c.faults > MaxFaults {
			return &Error{Code: CodeRequest, Message: "too many frames that are no requests"}
		}
		return nil
	}
	fds, err := c.split.claim(l, e.Files)
	if err != nil {
		c.refuse(p, e, err)
		return nil
	}
	if err := c.start(l, e, fds, p); err != nil {
		closeAll(fds)
		c.refuse(p, e, err)
	}
	return nil
}

// refuse answers a frame that becomes no request.
func (c *conn) refuse(p Peer, e envelope, err error) {
	c.service.blame(p, e.Method, err)
	id := e.ID
	if id == nil {
		id = noID
	}
	c.reply(id, nil, err)
}

// start begins a request. With an error the descriptors are still the caller's.
func (c *conn) start(l line, e envelope, fds []int, p Peer) error {
	if p.UID != c.opener.UID {
		// Otherwise it would be enough to get a stronger process to write to
		// its standard error.
		return &Error{Code: CodeDenied, Message: "the frame is of another user than the connection",
			Hint: "connect as the user who asks"}
	}
	if p != c.admitted {
		if err := c.service.admit(p); err != nil {
			return err
		}
		c.admitted = p
	}
	handler := c.service.Methods[e.Method]
	if handler == nil {
		return &Error{Code: CodeMethod, Message: "there is no such method on this socket"}
	}
	size, id := len(l.text), string(e.ID)
	if err := c.service.hold(c.opener.UID, size); err != nil {
		return err
	}
	c.mu.Lock()
	busy, twice := len(c.ids) >= MaxRequests, c.ids[id]
	if !busy && !twice {
		c.ids[id] = true
	}
	c.mu.Unlock()
	if busy || twice {
		_ = c.service.hold(c.opener.UID, -size)
		if twice {
			return &Error{Code: CodeRequest, Message: "a request with this id is worked on already"}
		}
		return &Error{Code: CodeFull, Message: "the connection has too many requests that are worked on", Hint: "wait for an answer"}
	}
	r := &Request{Method: e.Method, Params: e.Params, Peer: p, Opener: c.opener, conn: c}
	for _, fd := range fds {
		r.Files = append(r.Files, os.NewFile(uintptr(fd), "stream"))
	}
	c.requests.Go(func() {
		result, err := handler(c.ctx, r)
		for _, f := range r.Files {
			f.Close()
		}
		if code := CodeOf(err); code == CodeParams || code == CodeDenied {
			c.service.blame(p, e.Method, err)
		}
		c.mu.Lock()
		delete(c.ids, id)
		c.mu.Unlock()
		_ = c.service.hold(c.opener.UID, -size)
		c.reply(e.ID, result, err)
	})
	return nil
}

// reply answers. It waits for room in the queue: it is the end of a request,
// and nobody waits for it.
func (c *conn) reply(id []byte, result any, err error) {
	a := answer{Version: version, ID: id, Result: result}
	if err != nil {
		a.Result, a.Error = nil, travelling(err)
	} else if result == nil {
		a.Result = Nothing{}
	}
	frame, err := encode(a)
	if err != nil {
		// of an id and an error nothing is too long
		frame, _ = encode(answer{Version: version, ID: id, Error: travelling(err)})
	}
	_ = c.enqueue(frame, true)
}

// enqueue puts a frame into the queue. If there is no room for it, wait says
// whether the caller waits or the connection ends.
func (c *conn) enqueue(frame []byte, wait bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.enqueueLocked(context.Background(), frame, wait)
}

// enqueueWait waits for room until the context ends.
func (c *conn) enqueueWait(ctx context.Context, frame []byte) error {
	defer context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.changed.Broadcast()
	})()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.enqueueLocked(ctx, frame, true)
}

// enqueueLocked does it. Preconditions: mu is held.
func (c *conn) enqueueLocked(ctx context.Context, frame []byte, wait bool) error {
	for c.dead == nil && ctx.Err() == nil && len(c.out)+c.writing > 0 && len(c.out)+c.writing+len(frame) > c.service.queue {
		if !wait {
			c.die(&Error{Code: CodeStopped, Message: "the client reads too slowly"})
			break
		}
		c.changed.Wait()
	}
	if c.dead != nil {
		return c.dead
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.service.hold(c.opener.UID, len(frame)); err != nil {
		c.die(err)
		return err
	}
	c.out = append(c.out, frame...)
	c.changed.Broadcast()
	return nil
}

// die ends a connection to which nothing more can be sent. Preconditions: mu is held.
func (c *conn) die(err error) {
	if c.dead == nil {
		c.dead = err
		c.end(err)
		c.socket.Close()
		c.changed.Broadcast()
	}
}

// write sends what is in the queue, until nothing more will come.
func (c *conn) write() {
	var batch []byte
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for len(c.out) == 0 && c.dead == nil && !c.closing {
			c.changed.Wait()
		}
		if c.dead != nil || len(c.out) == 0 {
			_ = c.service.hold(c.opener.UID, -len(c.out))
			c.out = nil
			if c.dead == nil {
				c.dead = errGone // for a handler that left something behind
			}
			return
		}
		if cap(batch) > firstBuffer {
			batch = nil // a long answer is rare
		}
		batch, c.out = c.out, batch[:0]
		c.writing = len(batch)
		c.mu.Unlock()
		_ = c.socket.SetWriteDeadline(time.Now().Add(c.service.writeTime))
		_, err := c.socket.Write(batch)
		c.mu.Lock()
		_ = c.service.hold(c.opener.UID, -len(batch))
		c.writing = 0
		c.changed.Broadcast()
		if err != nil {
			c.die(errGone)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The bounds of a server, where it names no others. What one user can make the
// daemon hold is MaxUserBytes and the first buffers of its connections.
const (
	// MaxConnections is how many connections a listener has at one time: one
	// for each live call of a client that waits for it, and some.
	MaxConnections = 512
	// MaxUserConnections is how many of them one user has. Then no user keeps
	// the others out.
	MaxUserConnections = 256
	// MaxUserBytes is how many bytes are held for the connections of one user:
	// frames half received, those of requests that are worked on, and what
	// waits to be sent.
	MaxUserBytes = 64 << 20
	// MaxRequests is how many requests of one connection are worked on at one
	// time. The next is refused with CodeFull, and not left unread: the reader
	// must see when the client goes away.
	MaxRequests = 32
	// MaxQueue is how many bytes wait to be sent to one client: four of the
	// longest frames.
	MaxQueue = 4 * (MaxFrame + 1)
	// MaxFaults is how many frames of one connection may be no request at all
	// before it is closed. A client that is in order sends none.
	MaxFaults = 16
	// WriteTime is how long what is in the queue may take to be sent. A client
	// that lives reads; one that is stopped must not keep memory.
	WriteTime = 10 * time.Second
	// EndTime is how long Serve waits for handlers and for the last answers
	// after its context has ended.
	EndTime = 5 * time.Second
)

// Handler answers one method. Its context ends when the connection or the
// server does. The result is encoded as JSON; with an error it is not looked
// at. A panic ends the daemon: what a half-done handler leaves behind is not
// to be guessed, and systemd starts it anew.
type Handler func(ctx context.Context, r *Request) (result any, err error)

// Server answers requests. It has no state: one Server may serve several
// listeners, and each counts its connections by itself.
type Server struct {
	Methods map[string]Handler

	// Admit says whether a peer may be here at all: asked for who connects,
	// and again for each frame whose sender is another process or in another
	// cgroup. Nil admits all. It may be called by several goroutines.
	Admit func(Peer) error

	// Refused is told of what the peer is to blame for: frames that are no
	// requests, unknown methods, parameters that are not the method's, all
	// that is denied, connections beyond the bounds. The method is empty where
	// it is not known. A hostile peer makes as many of these as it can, and
	// the connection waits for the call to return: it must be quick, and what
	// is written of it must be bounded. It may be called by several goroutines.
	Refused func(p Peer, method string, err error)

	// Bounds, with those above where they are 0.
	Connections, UserConnections, UserBytes, Queue int
	WriteTime                                      time.Duration
}

// service is one listener that is being served.
type service struct {
	*Server
	ctx context.Context

	connections, userConnections, userBytes, queue int
	writeTime                                      time.Duration

	mu    sync.Mutex
	live  int               // connections, guarded by mu
	users map[uint32]*share // guarded by mu

	all sync.WaitGroup // connections
}

// share is what one user has of a service.
type share struct {
	connections int // guarded by the service's mu
	bytes       int // guarded by the service's mu
}

// Serve answers on a listener until the context ends; then requests that are
// worked on have their contexts ended, are answered if they return soon, and
// Serve returns nil. The listener stays open: it is the caller's, and may be
// in systemd's descriptor store.
func (s *Server) Serve(ctx context.Context, l *net.UnixListener) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := errors.Join(raw.Control(func(fd uintptr) { inner = authenticate(int(fd)) }), inner); err != nil {
		return fmt.Errorf("%s: %w", l.Addr(), err)
	}
	ctx, cancel := context.WithCancel(ctx)
	v := &service{
		Server: s, ctx: ctx, users: make(map[uint32]*share),
		connections:     orElse(s.Connections, MaxConnections),
		userConnections: orElse(s.UserConnections, MaxUserConnections),
		userBytes:       orElse(s.UserBytes, MaxUserBytes),
		queue:           orElse(s.Queue, MaxQueue),
		writeTime:       orElse(s.WriteTime, WriteTime),
	}
	defer v.await()
	defer cancel()
	if err := l.SetDeadline(time.Time{}); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = l.SetDeadline(time.Unix(1, 0)) })()
	for {
		socket, err := l.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				socket.Close()
			}
			return nil
		case err == nil:
			v.take(socket)
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
			// nothing but time helps; connections wait in the listener's queue
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		default:
			return fmt.Errorf("%s: %w", l.Addr(), err)
		}
	}
}

func orElse[T comparable](v, other T) T {
	var zero T
	if v == zero {
		return other
	}
	return v
}

// await returns when all connections have ended, or when EndTime is over: a
// handler, or the close of a descriptor on somebody's own file system, may hang.
func (v *service) await() {
	done := make(chan struct{})
	go func() { v.all.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(EndTime):
	}
}

// take begins a connection, or turns it away.
func (v *service) take(socket *net.UnixConn) {
	c, err := newConn(v, socket)
	if err != nil {
		socket.Close()
		return
	}
	if err := v.enter(c.opener.UID); err != nil {
		v.blame(c.opener, "", err)
		c.turnAway(err)
		return
	}
	v.all.Go(func() {
		defer v.leave(c.opener.UID)
		// Not in the accepting goroutine: to know a user's groups may take time.
		if err := v.admit(c.opener); err != nil {
			v.blame(c.opener, "", err)
			c.turnAway(err)
			return
		}
		c.serve()
	})
}

// admit asks Admit.
func (v *service) admit(p Peer) error {
	if v.Admit == nil {
		return nil
	}
	err := v.Admit(p)
	if err == nil || CodeOf(err) != 0 {
		return err
	}
	return &Error{Code: CodeDenied, Message: err.Error()}
}

// blame tells Refused.
func (v *service) blame(p Peer, method string, err error) {
	if v.Refused != nil {
		v.Refused(p, method, err)
	}
}

// enter counts a connection.
func (v *service) enter(uid uint32) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	u := v.users[uid]
	switch {
	case v.live >= v.connections:
		return &Error{Code: CodeFull, Message: fmt.Sprintf("the socket has %d connections already", v.live)}
	case u != nil && u.connections >= v.userConnections:
		return &Error{Code: CodeFull, Message: fmt.Sprintf("user %d has %d connections already", uid, u.connections)}
	case u == nil:
		u = new(share)
		v.users[uid] = u
	}
	v.live++
	u.connections++
	return nil
}

// leave ends the count of a connection.
func (v *service) leave(uid uint32) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.live--
	if v.users[uid].connections--; v.users[uid].connections == 0 {
		delete(v.users, uid) // all that it held was given back
	}
}

// hold counts bytes that are kept for a user, or says that they are too many.
// A negative number gives back.
func (v *service) hold(uid uint32, n int) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	u := v.users[uid]
	if n > 0 && u.bytes+n > v.userBytes {
		return &Error{Code: CodeFull, Message: fmt.Sprintf("the connections of user %d hold %d bytes already", uid, u.bytes)}
	}
	u.bytes += n
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/relay/boxed"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// conn is a connection that a box made. What was read of it to find out what it is
// is read again first.
type conn struct {
	*net.TCPConn
	box    *box
	target target
	scheme string // http or https, once it is known
	head   []byte
	patience
}

var errConnections = &refusedError{packet.RefusedCap, "the call's bound of connections is reached"}

// newConn takes a socket over, if there is room for one more.
func (b *box) newConn(socket *net.TCPConn) (*conn, error) {
	c := &conn{TCPConn: socket, box: b}
	if !claim(&b.connections, &b.outlet.connections, 1) {
		boxed.Reset(socket)
		return nil, errConnections
	}
	c.start(c.TCPConn, func() {
		b.forget(c)
		give(&b.connections, &b.outlet.connections, 1)
	})
	b.keep(c)
	return c, nil
}

func (c *conn) Read(p []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(p, c.head)
		if c.head = c.head[n:]; len(c.head) == 0 {
			c.head = nil
		}
		return n, nil
	}
	n, err := c.TCPConn.Read(p)
	c.touch()
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.TCPConn.Write(p)
	c.touch()
	return n, err
}

// ReadFrom and WriteTo are not the socket's own: bytes are to be seen.
func (c *conn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(struct{ io.Writer }{c}, r) }
func (c *conn) WriteTo(w io.Writer) (int64, error)  { return io.Copy(w, struct{ io.Reader }{c}) }

func (c *conn) Close() error { return c.end() }

// reset closes it so that the program sees that it was refused.
func (c *conn) reset() {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// patience closes a socket that moves nothing for idleLimit, unless it is held.
type patience struct {
	socket io.Closer
	once   sync.Once
	ended  func()
	timer  *time.Timer
	last   atomic.Int64 // seconds (Unix) of the last byte, roughly
	held   atomic.Int32 // who waits for an answer of clawsupd
	failed error
}

func (p *patience) start(socket io.Closer, ended func()) {
	p.socket, p.ended = socket, ended
	p.last.Store(time.Now().Unix())
	p.timer = time.AfterFunc(idleLimit, func() {
		rest := idleLimit - time.Since(time.Unix(p.last.Load(), 0))
		switch {
		case p.held.Load() > 0:
			p.timer.Reset(idleLimit)
		case rest > 0:
			p.timer.Reset(rest)
		default:
			_ = p.end()
		}
	})
}

func (p *patience) touch() { p.last.Store(time.Now().Unix()) }

func (p *patience) end() error {
	p.once.Do(func() {
		p.timer.Stop()
		p.failed = p.socket.Close()
		p.ended()
	})
	return p.failed
}

// hold gives a context that ends when the program leaves the connection, while
// nobody reads from it. With speaks it also ends when there is something to read.
// rest ends the watch; nobody may read before that has returned. It says whether
// the program has said something.
func (c *conn) hold(ctx context.Context, speaks bool) (held context.Context, rest func() (spoke bool)) {
	held, cancel := context.WithCancel(ctx)
	events := int16(unix.POLLRDHUP | unix.POLLHUP | unix.POLLERR)
	if speaks {
		events |= unix.POLLIN
	}
	done := make(chan bool, 1)
	go func() {
		var got int16
		if raw, err := c.SyscallConn(); err == nil {
			_ = raw.Read(func(fd uintptr) bool {
				p := []unix.PollFd{{Fd: int32(fd), Events: events}}
				if n, err := unix.Poll(p, 0); err != nil || n == 0 {
					return false
				}
				got = p[0].Revents
				return got != 0
			})
		}
		cancel()
		done <- got&unix.POLLIN != 0 && got&(unix.POLLHUP|unix.POLLERR) == 0
	}()
	return held, func() bool {
		_ = c.SetReadDeadline(time.Unix(1, 0))
		spoke := <-done
		_ = c.SetReadDeadline(time.Time{})
		cancel()
		return spoke
	}
}

// ask asks clawsupd, while the connection is held.
func (c *conn) ask(ctx context.Context, q packet.Query) (packet.Verdict, error) {
	c.held.Add(1)
	defer c.held.Add(-1)
	defer c.touch()
	return c.box.outlet.Host.Ask(ctx, c.box.id, q)
}

// feed is a listener whose connections are given to it.
type feed struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newFeed() *feed { return &feed{conns: make(chan net.Conn), done: make(chan struct{})} }

func (f *feed) give(c net.Conn) {
	select {
	case f.conns <- c:
	case <-f.done:
		_ = c.Close()
	}
}

func (f *feed) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.done:
		return nil, net.ErrClosed
	}
}

func (f *feed) Close() error {
	f.once.Do(func() { close(f.done) })
	return nil
}

func (f *feed) Addr() net.Addr { return &net.TCPAddr{} }

// timedOut says whether an error is that of a deadline.
func timedOut(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

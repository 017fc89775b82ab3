// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// Conn is one end of the socket. It works on a bare descriptor, so that init
// needs no network package. One goroutine may read while another writes.
type Conn struct {
	fd int
}

// NewConn takes over fd, a connected stream socket in blocking mode.
func NewConn(fd int) *Conn { return &Conn{fd: fd} }

// Pair makes a connected pair, close-on-exec.
func Pair() (a, b int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("socketpair: %w", err)
	}
	return fds[0], fds[1], nil
}

// Close closes the descriptor.
func (c *Conn) Close() error { return unix.Close(c.fd) }

// Shutdown ends both directions and wakes a reader, leaving the descriptor open.
func (c *Conn) Shutdown() error { return unix.Shutdown(c.fd, unix.SHUT_RDWR) }

// AwaitEnd returns when the other end is closed, or when time is up.
func (c *Conn) AwaitEnd(limit time.Duration) {
	p := []unix.PollFd{{Fd: int32(c.fd)}} // POLLHUP needs no asking for: poll(2)
	for end := time.Now().Add(limit); ; {
		left := time.Until(end)
		if left <= 0 {
			return
		}
		if _, err := unix.Poll(p, int(left.Milliseconds())+1); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// Send writes v as one frame, with descriptors riding on its first byte.
func (c *Conn) Send(v any, fds ...int) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return c.SendRaw(body, fds...)
}

// SendRaw writes a frame whose JSON is made already.
func (c *Conn) SendRaw(body []byte, fds ...int) error {
	if len(body) > MaxFrame {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrFrame, len(body), MaxFrame)
	}
	frame := make([]byte, 4, 4+len(body))
	binary.BigEndian.PutUint32(frame, uint32(len(body)))
	frame = append(frame, body...)
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	for len(frame) > 0 {
		// MSG_NOSIGNAL: a peer that is gone is an error, not a SIGPIPE.
		n, err := unix.SendmsgN(c.fd, frame, rights, nil, unix.MSG_NOSIGNAL)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
		frame, rights = frame[n:], nil
	}
	return nil
}

// Receive reads one frame into v. At its end it returns io.EOF.
func (c *Conn) Receive(v any) error {
	body, fds, err := c.ReceiveRaw(0)
	closeAll(fds)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, v)
}

// ReceiveRaw reads one frame's JSON and exactly want descriptors with it,
// close-on-exec. Any other number of descriptors is an error and they are
// closed.
func (c *Conn) ReceiveRaw(want int) ([]byte, []int, error) {
	body, fds, err := c.ReceiveOptional(want)
	if err == nil && len(fds) != want {
		closeAll(fds)
		return nil, nil, fmt.Errorf("%w: %d descriptors, want %d", ErrFrame, len(fds), want)
	}
	return body, fds, err
}

// Move goes on with another descriptor, close-on-exec and above what
// a tool has; the old one stays open.
func (c *Conn) Move() (*Conn, error) {
	fd, err := unix.FcntlInt(uintptr(c.fd), unix.F_DUPFD_CLOEXEC, 16)
	if err != nil {
		return nil, fmt.Errorf("dup: %w", err)
	}
	return &Conn{fd: fd}, nil
}

// ReceiveCall reads one frame into call, and its descriptors. It returns the
// frame as well.
func (c *Conn) ReceiveCall(call *Call) ([]byte, []int, error) {
	body, fds, err := c.ReceiveOptional(MaxDescriptors)
	if err != nil {
		return nil, nil, err
	}
	if err = json.Unmarshal(body, call); err == nil && len(fds) != call.Descriptors() {
		err = fmt.Errorf("%w: %d descriptors, want %d", ErrFrame, len(fds), call.Descriptors())
	}
	if err != nil {
		closeAll(fds)
		return nil, nil, err
	}
	return body, fds, nil
}

// ReceiveOptional reads one frame's JSON and at most limit descriptors,
// close-on-exec.
func (c *Conn) ReceiveOptional(limit int) ([]byte, []int, error) {
	var head [4]byte
	oob := make([]byte, unix.CmsgSpace(4*max(limit, 1)))
	var n, oobn, flags int
	for {
		var err error
		n, oobn, flags, _, err = unix.Recvmsg(c.fd, head[:], oob, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("receive: %w", err)
		}
		break
	}
	if n == 0 {
		return nil, nil, io.EOF
	}
	fds, err := Rights(oob[:oobn])
	if err != nil {
		return nil, nil, err
	}
	if flags&unix.MSG_CTRUNC != 0 || len(fds) > limit {
		closeAll(fds)
		return nil, nil, fmt.Errorf("%w: more than %d descriptors", ErrFrame, limit)
	}
	if err := c.full(head[n:]); err != nil {
		closeAll(fds)
		return nil, nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > MaxFrame {
		closeAll(fds)
		return nil, nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrFrame, size, MaxFrame)
	}
	body := make([]byte, size)
	if err := c.full(body); err != nil {
		closeAll(fds)
		return nil, nil, err
	}
	return body, fds, nil
}

// full fills b or fails; an end in the middle of a frame is unexpected.
func (c *Conn) full(b []byte) error {
	for len(b) > 0 {
		n, err := unix.Read(c.fd, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		b = b[n:]
	}
	return nil
}

// Rights gives the descriptors of a control message.
func Rights(oob []byte) ([]int, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	var fds []int
	for _, m := range messages {
		got, err := unix.ParseUnixRights(&m)
		if err != nil {
			closeAll(fds)
			return nil, fmt.Errorf("receive: %w", err)
		}
		fds = append(fds, got...)
	}
	return fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

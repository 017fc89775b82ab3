// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Client is one connection to the daemon. Many goroutines may use it.
type Client struct {
	socket  *net.UnixConn
	notices chan Notification
	gone    chan struct{} // closed when the connection has ended
	closed  chan struct{} // closed by Close
	once    sync.Once     // of Close

	write sync.Mutex // of one frame

	mu      sync.Mutex
	next    int64                         // id; guarded by mu
	waiting map[int64]chan<- clientAnswer // guarded by mu; nil when the connection has ended
	ended   error                         // why it has; guarded by mu
}

// Notification is what the daemon tells while a method runs.
type Notification struct {
	Method string
	Params json.RawMessage
}

// clientAnswer is what a client reads: an answer or a notification.
type clientAnswer struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *Error          `json:"error"`
}

// Option changes how a client connects.
type Option func(*settings)

type settings struct {
	owner  uint32
	chosen bool
}

// OwnedBy takes a socket that this user, and nobody else, listens on. Without
// it the daemon must be root's: who listens gives the answers.
func OwnedBy(uid uint32) Option {
	return func(s *settings) { s.owner, s.chosen = uid, true }
}

// noticeBuffer is how many notifications a client keeps for who reads them.
const noticeBuffer = 64

// Dial connects. An Error says what to do: CodeUnavailable if there is no
// daemon, CodeDenied if the socket is not for this user or not root's.
func Dial(ctx context.Context, path string, options ...Option) (*Client, error) {
	var s settings
	for _, o := range options {
		o(&s)
	}
	var d net.Dialer
	socket, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, dialError(path, err)
	}
	c := &Client{
		socket:  socket.(*net.UnixConn),
		notices: make(chan Notification, noticeBuffer),
		gone:    make(chan struct{}),
		closed:  make(chan struct{}),
		waiting: make(map[int64]chan<- clientAnswer),
	}
	if err := c.check(path, s); err != nil {
		socket.Close()
		return nil, err
	}
	go c.read()
	return c, nil
}

// dialError says what to do.
func dialError(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return &Error{Code: CodeUnavailable, Message: "no daemon listens on " + path,
			Hint: "is clawsupd running? systemctl status clawsupd"}
	case errors.Is(err, fs.ErrPermission):
		return &Error{Code: CodeDenied, Message: "this user may not connect to " + path,
			Hint: "approval.sock is for who has a role in [roles] of clawsup.toml, by name or by group; admin.sock and call.sock are root's"}
	case errors.Is(err, unix.EAGAIN): // connect(2), of a Unix socket
		return &Error{Code: CodeFull, Message: "too many wait to connect to " + path}
	case len(path) > maxPath:
		return &Error{Code: CodeUnavailable, Message: fmt.Sprintf("%s: a socket's path has at most %d bytes", path, maxPath)}
	}
	return err
}

// check looks at who listens: the kernel keeps the credentials of listen(2)
// for SO_PEERCRED (unix(7)), which no change of the path can alter.
func (c *Client) check(path string, s settings) error {
	raw, err := c.socket.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var inner error
	err = raw.Control(func(fd uintptr) { cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(err, inner); err != nil {
		return err
	}
	if s.chosen && cred.Uid == s.owner || !s.chosen && isRoot(cred.Uid) {
		return nil
	}
	return &Error{Code: CodeDenied, Message: fmt.Sprintf("user %d listens on %s", cred.Uid, path),
		Hint: "a clawsupd is root's; remove what is there, or name the right socket"}
}

// isRoot says whether a user that the kernel names is the host's root. In a
// user namespace, as an agent's box has, that is a user without a number
// there, which the kernel gives the overflow uid (user_namespaces(7)). Who
// else has none can't be told, but the box has no socket of anybody else.
func isRoot(uid uint32) bool {
	if uid == 0 {
		return true
	}
	uidMap, err := os.ReadFile("/proc/self/uid_map")
	if err != nil || strings.Join(strings.Fields(string(uidMap)), " ") == "0 0 4294967295" {
		return false
	}
	overflow, err := os.ReadFile("/proc/sys/kernel/overflowuid")
	return err == nil && strings.TrimSpace(string(overflow)) == strconv.FormatUint(uint64(uid), 10)
}

// Call asks and waits for the answer, which is decoded into what result points
// to, if it is not nil. With files there are three: stdin, stdout and stderr;
// they stay the caller's. An Error is the daemon's. When the context ends, Call
// returns and what was asked for goes on: CallCancel ends a call, Close all
// that only lives as long as the connection.
func (c *Client) Call(ctx context.Context, method string, params, result any, files ...*os.File) error {
	if len(files) != 0 && len(files) != streams {
		return fmt.Errorf("%s: %d files; a call has %d or none", method, len(files), streams)
	}
	body, err := json.Marshal(params)
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	answered := make(chan clientAnswer, 1)
	c.mu.Lock()
	if c.waiting == nil {
		err := c.ended
		c.mu.Unlock()
		return err
	}
	c.next++
	id := c.next
	c.waiting[id] = answered
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
	}()

	frame, err := encode(envelope{Version: version, ID: strconv.AppendInt(nil, id, 10), Method: method, Params: body, Files: len(files)})
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	rights, err := rightsOf(files)
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	err = c.send(ctx, frame, rights)
	runtime.KeepAlive(files)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	// With an error the daemon may have closed the connection, and what it said
	// before tells more: it is waited for.
	if err != nil && !brokenPipe(err) {
		return fmt.Errorf("%s: %w", method, err)
	}
	var a clientAnswer
	select {
	case a = <-answered:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.gone:
		select {
		case a = <-answered: // it came just before
		default:
			return c.err()
		}
	}
	if a.Error != nil {
		return a.Error
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(a.Result, result); err != nil {
		return fmt.Errorf("%s: the daemon's answer: %w", method, err)
	}
	return nil
}

// brokenPipe says whether the daemon has closed its end.
func brokenPipe(err error) bool {
	return errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, net.ErrClosed)
}

// rightsOf makes the control message with which files travel.
func rightsOf(files []*os.File) ([]byte, error) {
	if len(files) == 0 {
		return nil, nil
	}
	var fds []int
	for _, f := range files {
		raw, err := f.SyscallConn() // Fd would change the file's mode
		if err != nil {
			return nil, err
		}
		if err := raw.Control(func(fd uintptr) { fds = append(fds, int(fd)) }); err != nil {
			return nil, err
		}
	}
	return unix.UnixRights(fds...), nil
}

// send writes one frame. If only a part of it could be written, the connection
// is of no more use and is closed.
func (c *Client) send(ctx context.Context, frame, rights []byte) error {
	c.write.Lock()
	defer c.write.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	set := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { _ = c.socket.SetWriteDeadline(time.Unix(1, 0)); close(set) })
	defer func() {
		if !stop() {
			<-set
			_ = c.socket.SetWriteDeadline(time.Time{})
		}
	}()
	n, _, err := c.socket.WriteMsgUnix(frame, rights, nil)
	if err == nil && n < len(frame) {
		_, err = c.socket.Write(frame[n:]) // the descriptors rode on the first bytes
	}
	if n > 0 && err != nil && !brokenPipe(err) {
		c.socket.Close()
	}
	return err
}

// read takes what the daemon sends until the connection ends.
func (c *Client) read() {
	lines := bufio.NewScanner(c.socket)
	lines.Buffer(make([]byte, firstBuffer), MaxFrame+2)
	var why error
	for why == nil && lines.Scan() {
		why = c.received(lines.Bytes())
	}
	if err := lines.Err(); why == nil {
		switch {
		case errors.Is(err, net.ErrClosed):
			why = errClosed
		case err == nil, errors.Is(err, unix.ECONNRESET):
			why = &Error{Code: CodeStopped, Message: "the daemon closed the connection",
				Hint: "it may have been restarted; systemctl status clawsupd"}
		default:
			why = fmt.Errorf("reading from the daemon: %w", err)
		}
	}
	c.socket.Close()
	c.mu.Lock()
	c.waiting, c.ended = nil, why
	c.mu.Unlock()
	close(c.gone)
	close(c.notices)
}

// received takes one frame. An error ends the connection.
func (c *Client) received(frame []byte) error {
	var a clientAnswer
	if err := json.Unmarshal(frame, &a); err != nil {
		return fmt.Errorf("reading from the daemon: %w", err)
	}
	if a.Method != "" {
		select {
		case c.notices <- Notification{Method: a.Method, Params: a.Params}:
			return nil
		case <-c.closed:
			return errClosed
		}
	}
	if a.ID == nil || bytes.Equal(a.ID, noID) {
		if a.Error != nil {
			return a.Error
		}
		return errors.New("reading from the daemon: an answer without an id")
	}
	id, err := strconv.ParseInt(string(a.ID), 10, 64)
	if err != nil {
		return fmt.Errorf("reading from the daemon: an answer with the id %q", a.ID)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if answered := c.waiting[id]; answered != nil {
		delete(c.waiting, id)
		answered <- a
	}
	return nil
}

// err gives why the connection has ended.
func (c *Client) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// Notifications gives what the daemon tells, in its order; it is closed when
// the connection ends. What is told before an answer is in it before Call
// returns. It must be read while a method runs that notifies: a client that
// doesn't is cut off.
func (c *Client) Notifications() <-chan Notification { return c.notices }

// Close ends the connection, and with it everything that waits on it.
func (c *Client) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.socket.Close()
}

var errClosed = &Error{Code: CodeStopped, Message: "the connection to the daemon was closed here"}

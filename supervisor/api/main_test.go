// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// refusal is what Refused was told.
type refusal struct {
	peer   Peer
	method string
	err    error
}

// served is a server on a socket of its own.
type served struct {
	path    string
	refused chan refusal
	stop    context.CancelFunc
	done    chan struct{}
}

// serve runs a server until the test ends.
func serve(t testing.TB, s *Server) *served {
	t.Helper()
	dir, err := os.MkdirTemp("", "clawsup-api-") // shorter than a test's own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	v := &served{path: filepath.Join(dir, "t.sock"), refused: make(chan refusal, 100), done: make(chan struct{})}
	l, err := Listen(v.path, 0o666, -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	if s.Refused == nil {
		s.Refused = func(p Peer, method string, err error) {
			select {
			case v.refused <- refusal{p, method, err}:
			default:
			}
		}
	}
	var ctx context.Context
	ctx, v.stop = context.WithCancel(context.Background())
	go func() {
		defer close(v.done)
		if err := s.Serve(ctx, l); err != nil {
			t.Error(err)
		}
		l.Close()
	}()
	t.Cleanup(func() { v.stop(); <-v.done })
	return v
}

// dial connects as a client.
func (v *served) dial(t testing.TB) *Client {
	t.Helper()
	c, err := Dial(t.Context(), v.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// bare connects without a client.
func (v *served) bare(t testing.TB) *net.UnixConn {
	t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: v.path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// await gives what comes from a channel, or fails.
func await[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(30 * time.Second):
		t.Fatalf("no %s", what)
		panic("unreachable")
	}
}

type word struct {
	Word string `json:"word"`
}

func echo(_ context.Context, r *Request) (any, error) {
	var w word
	if err := r.Decode(&w); err != nil {
		return nil, err
	}
	return w, nil
}

func TestCall(t *testing.T) {
	v := serve(t, &Server{Methods: map[string]Handler{
		"echo": echo,
		"fail": func(context.Context, *Request) (any, error) { return nil, errors.New("no disk") },
		"conflict": func(context.Context, *Request) (any, error) {
			return nil, &Error{Code: CodeConflict, Message: "it changed", Hint: "look again", Data: word{"new"}}
		},
		"none": func(context.Context, *Request) (any, error) { return nil, nil },
		"who":  func(_ context.Context, r *Request) (any, error) { return r.Peer, nil },
	}})
	c := v.dial(t)
	var got word
	if err := c.Call(t.Context(), "echo", word{"héllo \x1b\n"}, &got); err != nil || got.Word != "héllo \x1b\n" {
		t.Errorf("%+v, %v", got, err)
	}
	if err := c.Call(t.Context(), "none", Nothing{}, nil); err != nil {
		t.Error(err)
	}
	err := c.Call(t.Context(), "fail", Nothing{}, nil)
	if CodeOf(err) != CodeInternal || err.Error() != "no disk" {
		t.Errorf("%v", err)
	}
	err = c.Call(t.Context(), "conflict", Nothing{}, nil)
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeConflict || err.Error() != "it changed; look again" || string(e.Data.(json.RawMessage)) != `{"word":"new"}` {
		t.Errorf("%v", err)
	}
	var p Peer
	cgroup, _ := os.ReadFile("/proc/self/cgroup")
	if err := c.Call(t.Context(), "who", Nothing{}, &p); err != nil || p.UID != 0 || p.PID != int32(os.Getpid()) || p.Cgroup != string(cgroup) {
		t.Errorf("%+v, %v", p, err)
	}
	if err := c.Call(t.Context(), "gone", Nothing{}, nil); CodeOf(err) != CodeMethod {
		t.Errorf("%v", err)
	}
	if r := await(t, v.refused, "refusal"); r.method != "gone" || CodeOf(r.err) != CodeMethod {
		t.Errorf("%+v", r)
	}
	err = c.Call(t.Context(), "echo", map[string]any{"word": "x", "approved": true}, nil)
	if CodeOf(err) != CodeParams || err.Error() != "echo: unknown field approved" {
		t.Errorf("%v", err)
	}
	if r := await(t, v.refused, "refusal"); r.method != "echo" || CodeOf(r.err) != CodeParams || r.peer.PID != int32(os.Getpid()) {
		t.Errorf("%+v", r)
	}
}

func TestCallsSideBySide(t *testing.T) {
	const n = MaxRequests
	var all sync.WaitGroup
	all.Add(n)
	v := serve(t, &Server{Methods: map[string]Handler{"meet": func(context.Context, *Request) (any, error) {
		all.Done()
		all.Wait() // for all of them
		return nil, nil
	}}})
	c := v.dial(t)
	errs := make(chan error, n)
	for range n {
		go func() { errs <- c.Call(t.Context(), "meet", Nothing{}, nil) }()
	}
	for range n {
		if err := await(t, errs, "answer"); err != nil {
			t.Error(err)
		}
	}
}

// pair is a connection without a listener.
func pair(t testing.TB) (client, server *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = c.(*net.UnixConn)
	}
	return ends[0], ends[1]
}

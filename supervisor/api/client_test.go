// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/supervisor/raw"
)

func TestDialErrors(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(dir, "dead")
	l, err := Listen(dead, 0o600, -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	for path, want := range map[string]string{
		filepath.Join(dir, "none"):     "systemctl status clawsupd",
		dead:                           "systemctl status clawsupd",
		"/" + strings.Repeat("a", 200): "at most 107 bytes",
	} {
		if _, err := Dial(t.Context(), path); CodeOf(err) != CodeUnavailable || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if got := output(t, child(t, "dial", stranger, dead)); !strings.HasPrefix(got, "denied this user may not connect") || !strings.Contains(got, "[roles]") {
		t.Errorf("%s", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Dial(ctx, dead); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestImpostor: a socket on which somebody else listens gives no answers.
func TestImpostor(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chown(dir, stranger, stranger); err != nil {
		t.Fatal(err)
	}
	// its parent too must let the stranger through
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	ready(t, child(t, "impostor", stranger, path))
	if err := os.Chown(path, 0, 0); err != nil { // the name says nothing
		t.Fatal(err)
	}
	if _, err := Dial(t.Context(), path); CodeOf(err) != CodeDenied || !strings.Contains(err.Error(), "user 4242 listens") {
		t.Errorf("%v", err)
	}
	if _, err := Dial(t.Context(), path, OwnedBy(0)); CodeOf(err) != CodeDenied {
		t.Errorf("%v", err)
	}
	c, err := Dial(t.Context(), path, OwnedBy(stranger))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// fake answers a client with what it is told.
func fake(t *testing.T, answer string) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = c.Read(make([]byte, firstBuffer))
		_, _ = c.Write([]byte(answer))
	}()
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestClientOfRubbish: an answer that is none is an error, and never a result.
func TestClientOfRubbish(t *testing.T) {
	for _, test := range []struct{ answer, want string }{
		{"", "closed the connection"},
		{"x\n", "reading from the daemon"},
		{`{"jsonrpc":"2.0","id":null,"result":{"word":"x"}}` + "\n", "without an id"},
		{`{"jsonrpc":"2.0","id":null,"error":{"code":6,"message":"full"}}` + "\n", "full"},
		{`{"jsonrpc":"2.0","id":"1","result":{"word":"x"}}` + "\n", "with the id"},
		{`{"jsonrpc":"2.0","id":7,"result":{"word":"x"}}` + "\n", "closed the connection"},
		{`{"jsonrpc":"2.0","id":1,"result":7}` + "\n", "the daemon's answer"},
		{strings.Repeat("x", MaxFrame+3), "too long"},
	} {
		var got word
		c := fake(t, test.answer)
		if err := c.Call(t.Context(), "echo", Nothing{}, &got); err == nil || !strings.Contains(err.Error(), test.want) || got.Word != "" {
			t.Errorf("%.60q: %+v, %v", test.answer, got, err)
		}
	}
}

// TestClientEnds: a call returns with its context, the connection lives, and
// Close ends all of it.
func TestClientEnds(t *testing.T) {
	began, ended := make(chan error, 9), make(chan error, 9)
	v := serve(t, &Server{Methods: map[string]Handler{"wait": until(began, ended), "echo": echo}})
	c := v.dial(t)
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan error, 2)
	go func() { answered <- c.Call(ctx, "wait", Nothing{}, nil) }()
	await(t, began, "request")
	cancel()
	if err := await(t, answered, "return"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if err := c.Call(ctx, "echo", word{"x"}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if err := c.Call(t.Context(), "echo", word{"x"}, nil); err != nil {
		t.Errorf("the connection: %v", err)
	}
	go func() { answered <- c.Call(t.Context(), "wait", Nothing{}, nil) }()
	await(t, began, "request")
	c.Close()
	if err := await(t, answered, "return"); CodeOf(err) != CodeStopped {
		t.Errorf("%v", err)
	}
	for range 2 {
		await(t, ended, "handler's end")
	}
	if _, open := <-c.Notifications(); open {
		t.Error("a notification after the end")
	}
	if err := c.Call(t.Context(), "echo", word{"x"}, nil); CodeOf(err) != CodeStopped {
		t.Errorf("%v", err)
	}
	c.Close()
}

// TestCloseUnread: Close ends a client whose notifications nobody reads.
func TestCloseUnread(t *testing.T) {
	v := serve(t, &Server{Methods: map[string]Handler{"flow": func(ctx context.Context, r *Request) (any, error) {
		for {
			if err := r.Send(ctx, "flow", word{strings.Repeat("x", 1000)}); err != nil {
				return nil, err
			}
		}
	}}})
	c := v.dial(t)
	answered := make(chan error, 1)
	go func() { answered <- c.Call(t.Context(), "flow", Nothing{}, nil) }()
	for len(c.Notifications()) < cap(c.Notifications()) {
		runtime.Gosched()
	}
	c.Close()
	if err := await(t, answered, "return"); CodeOf(err) != CodeStopped {
		t.Errorf("%v", err)
	}
}

// TestBytes: an argument of any bytes arrives as it was.
func TestBytes(t *testing.T) {
	v := serve(t, &Server{Methods: map[string]Handler{"submit": func(_ context.Context, r *Request) (any, error) {
		var s Submit
		err := r.Decode(&s)
		return s.Args, err
	}}})
	want := []raw.String{"", "a b\n\x00", "\xff\xfe", "\xed\xa0\x80", "\ufffd", "<&>\u2028"}
	var got []raw.String
	if err := v.dial(t).Call(t.Context(), "submit", Submit{Args: want}, &got); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// BenchmarkRoundTrip is one small request and its answer.
func BenchmarkRoundTrip(b *testing.B) {
	c := serve(b, &Server{Methods: map[string]Handler{"echo": echo}}).dial(b)
	for b.Loop() {
		if err := c.Call(b.Context(), "echo", word{"x"}, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkConnect is a connection of its own for each.
func BenchmarkConnect(b *testing.B) {
	v := serve(b, &Server{Methods: map[string]Handler{"echo": echo}})
	for b.Loop() {
		c, err := Dial(b.Context(), v.path)
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Call(b.Context(), "echo", word{"x"}, nil); err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}

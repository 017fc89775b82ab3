// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// frameOf is a request as it is sent.
func frameOf(id int, method, params string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`+"\n", id, method, params)
}

// line reads one frame.
func readLine(t testing.TB, r *bufio.Reader) string {
	t.Helper()
	text, err := r.ReadString('\n')
	if err != nil {
		t.Fatalf("%q, %v", text, err)
	}
	return text
}

// rest reads until the connection ends, in whichever way.
func rest(t testing.TB, c net.Conn) string {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the connection does not end; %.200q", text)
	}
	return string(text)
}

// until is a handler that works until its context ends, and says so.
func until(began, ended chan error) Handler {
	return func(ctx context.Context, _ *Request) (any, error) {
		began <- nil
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return nil, context.Cause(ctx)
	}
}

// TestLongLine: a line of 4 GiB ends after the first of them.
func TestLongLine(t *testing.T) {
	v := serve(t, &Server{Methods: map[string]Handler{"echo": echo}})
	c := v.bare(t)
	written := 0
	for block := bytes.Repeat([]byte("x"), MaxFrame); written < 4<<30; {
		n, err := c.Write(block)
		written += n
		if err != nil {
			if !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("%v", err)
			}
			break
		}
	}
	if written > 8<<20 { // a frame, and what the kernel's buffers hold
		t.Errorf("%d bytes were taken", written)
	}
	if got := rest(t, c); !strings.Contains(got, `"id":null,"error":{"code":-32600,"message":"a frame has more than 1048576 bytes"`) {
		t.Errorf("answer %q", got)
	}
	await(t, v.refused, "refusal")
}

// TestLongestFrame goes through in both directions, and no byte more.
func TestLongestFrame(t *testing.T) {
	v := serve(t, &Server{Methods: map[string]Handler{
		"echo": echo,
		"long": func(context.Context, *Request) (any, error) { return word{strings.Repeat("x", MaxFrame)}, nil },
	}})
	c := v.dial(t)
	room := MaxFrame - len(`{"jsonrpc":"2.0","id":1,"method":"echo","params":{"word":""}}`)
	var got word
	if err := c.Call(t.Context(), "echo", word{strings.Repeat("x", room)}, &got); err != nil || len(got.Word) != room {
		t.Errorf("%d bytes, %v", len(got.Word), err)
	}
	if err := c.Call(t.Context(), "echo", word{strings.Repeat("x", room+1)}, &got); err == nil || !strings.Contains(err.Error(), "1048577 bytes") {
		t.Errorf("%v", err)
	}
	if err := c.Call(t.Context(), "long", Nothing{}, &got); CodeOf(err) != CodeInternal {
		t.Errorf("%v", err)
	}
}

// TestRubbish: what is no request is answered, until it is too much.
func TestRubbish(t *testing.T) {
	v := serve(t, &Server{Methods: map[string]Handler{"echo": echo}})
	c := v.bare(t)
	r := bufio.NewReader(c)
	for _, test := range []struct{ frame, want string }{
		{"\n", `"id":null,"error":{"code":-32700`},
		{strings.Repeat("[", 100_000) + "\n", `"id":null,"error":{"code":-32700`},
		{"\xff\x00\n", `"id":null,"error":{"code":-32700`},
		{`[` + frameOf(1, "echo", "{}")[:20] + "\n", `"code":-32700`},
		{`{"jsonrpc":"2.0","id":3,"method":"echo","result":{"ok":true}}` + "\n", `"id":3,"error":{"code":-32600,"message":"unknown field result"`},
		{frameOf(4, "echo", `{"word":"w"}`), `{"jsonrpc":"2.0","id":4,"result":{"word":"w"}}`},
		{frameOf(5, "echo", `{"word":"w","approved":true}`), `"id":5,"error":{"code":-32602,"message":"echo: unknown field approved"`},
		{frameOf(6, "echo", `{"word":{"a":1,"a":1}}`), `"code":-32700,"message":"params.word.a is there twice"`},
	} {
		if _, err := io.WriteString(c, test.frame); err != nil {
			t.Fatal(err)
		}
		if got := readLine(t, r); !strings.Contains(got, test.want) {
			t.Errorf("%.60q: answer %s", test.frame, got)
		}
	}
	if _, err := io.WriteString(c, strings.Repeat("\n", MaxFaults)); err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(r); !bytes.HasSuffix(got, []byte(`"message":"too many frames that are no requests"}}`+"\n")) {
		t.Errorf("the end is %q", got)
	}
}

// TestSlowReader: who does not read is cut off, and nobody waits for it.
func TestSlowReader(t *testing.T) {
	cut := make(chan error, 1)
	v := serve(t, &Server{Queue: 64 << 10, WriteTime: time.Hour, Methods: map[string]Handler{
		"echo": echo,
		"flow": func(ctx context.Context, r *Request) (any, error) {
			for {
				if err := r.Notify("flow", word{strings.Repeat("x", 1000)}); err != nil {
					<-ctx.Done()
					cut <- err
					return nil, err
				}
			}
		},
	}})
	c := v.bare(t)
	if _, err := io.WriteString(c, frameOf(1, "flow", "{}")); err != nil {
		t.Fatal(err)
	}
	if err := await(t, cut, "end"); CodeOf(err) != CodeStopped {
		t.Errorf("%v", err)
	}
	if err := v.dial(t).Call(t.Context(), "echo", word{"x"}, nil); err != nil {
		t.Errorf("another client: %v", err)
	}
}

// TestStoppedReader: an answer waits for its reader, but not for ever.
func TestStoppedReader(t *testing.T) {
	ended := make(chan error, 1)
	v := serve(t, &Server{Queue: 64 << 10, WriteTime: 100 * time.Millisecond, Methods: map[string]Handler{
		"flow": func(ctx context.Context, r *Request) (any, error) {
			for {
				if err := r.Send(ctx, "flow", word{strings.Repeat("x", 1000)}); err != nil {
					ended <- err
					return nil, err
				}
			}
		},
	}})
	c := v.bare(t)
	if _, err := io.WriteString(c, frameOf(1, "flow", "{}")); err != nil {
		t.Fatal(err)
	}
	await(t, ended, "end")
}

// TestSend: what is sent at the reader's speed arrives whole and in order, more
// than any queue has, and before the answer.
func TestSend(t *testing.T) {
	const n = 5000
	v := serve(t, &Server{Queue: 16 << 10, Methods: map[string]Handler{
		"flow": func(ctx context.Context, r *Request) (any, error) {
			for i := range n {
				if err := r.Send(ctx, "flow", word{fmt.Sprintf("%d %s", i, strings.Repeat("x", 1000))}); err != nil {
					return nil, err
				}
			}
			return word{"end"}, nil
		},
	}})
	c := v.dial(t)
	answered := make(chan error, 1)
	go func() {
		err := c.Call(t.Context(), "flow", Nothing{}, nil)
		c.Close() // what came before the answer is there already
		answered <- err
	}()
	i := 0
	for got := range c.Notifications() {
		if want := fmt.Sprintf(`{"word":"%d x`, i); got.Method != "flow" || !strings.HasPrefix(string(got.Params), want) {
			t.Fatalf("%.40s, want %s", got.Params, want)
		}
		i++
	}
	if err := await(t, answered, "answer"); err != nil || i != n {
		t.Errorf("%d of %d, %v", i, n, err)
	}
}

// TestTooManyRequests: the next one is refused at once, and an id is not used twice.
func TestTooManyRequests(t *testing.T) {
	began, ended := make(chan error, MaxRequests), make(chan error, MaxRequests)
	v := serve(t, &Server{Methods: map[string]Handler{"wait": until(began, ended)}})
	c := v.bare(t)
	for id := range MaxRequests {
		if _, err := io.WriteString(c, frameOf(id, "wait", "{}")); err != nil {
			t.Fatal(err)
		}
		await(t, began, "request")
	}
	r := bufio.NewReader(c)
	if _, err := io.WriteString(c, frameOf(0, "wait", "{}")+frameOf(99, "wait", "{}")); err != nil {
		t.Fatal(err)
	}
	if got := readLine(t, r); !strings.HasPrefix(got, `{"jsonrpc":"2.0","id":0,"error":{"code":-32600,"message":"a request with this id`) {
		t.Error(got)
	}
	if got := readLine(t, r); !strings.HasPrefix(got, `{"jsonrpc":"2.0","id":99,"error":{"code":6,`) {
		t.Error(got)
	}
	c.Close()
	for range MaxRequests {
		if err := await(t, ended, "end"); CodeOf(err) != CodeStopped {
			t.Errorf("%v", err)
		}
	}
}

// TestHalfClosed: who stops writing is answered, and who then goes away ends
// what it waited for.
func TestHalfClosed(t *testing.T) {
	began, ended, slow := make(chan error, 1), make(chan error, 1), make(chan error)
	v := serve(t, &Server{Methods: map[string]Handler{
		"wait": until(began, ended),
		"slow": func(context.Context, *Request) (any, error) { return nil, <-slow },
	}})
	c := v.bare(t)
	if _, err := io.WriteString(c, frameOf(1, "slow", "{}")); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	slow <- nil
	if got := rest(t, c); got != `{"jsonrpc":"2.0","id":1,"result":{}}`+"\n" {
		t.Errorf("answer %q", got)
	}

	c = v.bare(t)
	if _, err := io.WriteString(c, frameOf(1, "wait", "{}")); err != nil {
		t.Fatal(err)
	}
	await(t, began, "request")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := await(t, ended, "end"); CodeOf(err) != CodeStopped {
		t.Errorf("%v", err)
	}

	c = v.bare(t)
	if _, err := io.WriteString(c, frameOf(1, "slow", "{}")[:30]); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := rest(t, c); !strings.Contains(got, "the last frame has no newline") {
		t.Errorf("answer %q", got)
	}
}

// TestStop: the end of the server ends handlers, which still answer, and leaves
// the listener.
func TestStop(t *testing.T) {
	began, ended := make(chan error, 1), make(chan error, 1)
	v := serve(t, &Server{Methods: map[string]Handler{"wait": func(ctx context.Context, _ *Request) (any, error) {
		began <- nil
		<-ctx.Done()
		<-time.After(50 * time.Millisecond) // a server that doesn't wait is gone by then
		ended <- ctx.Err()
		return nil, ctx.Err()
	}}})
	idle, half, c := v.bare(t), v.bare(t), v.bare(t)
	if err := half.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, frameOf(1, "wait", "{}")); err != nil {
		t.Fatal(err)
	}
	await(t, began, "request")
	v.stop()
	await(t, v.done, "end")
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	default:
		t.Error("the server did not wait for its handler")
	}
	if got := rest(t, c); !strings.HasPrefix(got, `{"jsonrpc":"2.0","id":1,"error":{"code":9,`) {
		t.Errorf("answer %q", got)
	}
	if got := rest(t, idle) + rest(t, half); got != "" {
		t.Errorf("answer %q", got)
	}
}

// TestPanic: a handler that panics ends the daemon.
func TestPanic(t *testing.T) {
	path := t.TempDir() + "/s"
	cmd := child(t, "panic", 0, path)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	ready(t, cmd)
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Call(t.Context(), "panic", Nothing{}, nil); CodeOf(err) != CodeStopped {
		t.Errorf("%v", err)
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 2 || !strings.Contains(stderr.String(), "half done") {
		t.Errorf("%v: %s", err, &stderr)
	}
}

// TestTooManyConnections: one user leaves room for others, and there is an end.
func TestTooManyConnections(t *testing.T) {
	asked := make(chan *Request, 9)
	s := whoServer(asked, false)
	s.Connections, s.UserConnections = 3, 2
	v := serve(t, s)
	a, b := v.dial(t), v.dial(t)
	for _, c := range []*Client{a, b} {
		if err := c.Call(t.Context(), "who", Nothing{}, nil); err != nil {
			t.Fatal(err)
		}
		await(t, asked, "request")
	}
	turned := func(want string) {
		t.Helper()
		if got := rest(t, v.bare(t)); !strings.HasPrefix(got, `{"jsonrpc":"2.0","id":null,"error":{"code":6,"message":"`+want) {
			t.Errorf("answer %q", got)
		}
		if r := await(t, v.refused, "refusal"); CodeOf(r.err) != CodeFull || r.peer.UID != 0 {
			t.Errorf("refused %+v", r)
		}
	}
	turned("user 0 has 2 connections")
	cmd := child(t, "connect", stranger, v.path)
	in, _ := pipes(t, cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, whoFrame); err != nil {
		t.Fatal(err)
	}
	if r := await(t, asked, "request"); r.Peer.UID != stranger {
		t.Errorf("peer %+v", r.Peer)
	}
	turned("the socket has 3 connections")
	c := v.dial(t)
	if err := c.Call(t.Context(), "who", Nothing{}, nil); CodeOf(err) != CodeFull {
		t.Errorf("the client says %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}

// TestTooManyBytes: what one user's connections hold has a bound, and all of it
// is given back, however they end.
func TestTooManyBytes(t *testing.T) {
	const bound = 2 * MaxFrame
	began, ended := make(chan error, 9), make(chan error, 9)
	v := serve(t, &Server{UserBytes: bound, Methods: map[string]Handler{"wait": until(began, ended), "echo": echo}})
	keep := v.dial(t) // else the count would go with the last connection
	if err := keep.Call(t.Context(), "echo", word{"x"}, nil); err != nil {
		t.Fatal(err)
	}
	long := fmt.Sprintf(`{"word":%q}`, strings.Repeat("x", 600<<10))
	for range 3 {
		a, b := v.bare(t), v.bare(t)
		// worked on: 600 KiB
		if _, err := io.WriteString(a, frameOf(1, "wait", long)); err != nil {
			t.Fatal(err)
		}
		await(t, began, "request")
		// half received, in a buffer of 1 MiB
		if _, err := io.WriteString(b, frameOf(1, "wait", long)[:600<<10]); err != nil {
			t.Fatal(err)
		}
		// and one more is too much, be it for the buffer or as a request
		_, _ = io.WriteString(a, frameOf(2, "wait", long))
		if got := readLine(t, bufio.NewReader(a)); !strings.Contains(got, `"error":{"code":6,"message":"the connections of user 0 hold`) {
			t.Errorf("answer %q", got)
		}
		a.Close()
		b.Close()
		await(t, ended, "end")
	}
	// Now all but the buffers of those that wait for their end is free again: a
	// frame, its request, and its answer find room as soon as they are closed.
	var got word
	for end := time.Now().Add(30 * time.Second); ; {
		c := v.dial(t)
		err := c.Call(t.Context(), "echo", word{strings.Repeat("x", 400<<10)}, &got)
		c.Close()
		if err == nil {
			break
		}
		if CodeOf(err) != CodeFull || time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// flood sends bytes with so many descriptors.
func flood(t testing.TB, c *net.UnixConn, text string, n int) {
	t.Helper()
	fds := devNull(t, n)
	defer closeAll(fds)
	if _, _, err := c.WriteMsgUnix([]byte(text), unix.UnixRights(fds...), nil); err != nil {
		t.Fatal(err)
	}
}

// filesFrame is a frame that says so many files.
func filesFrame(id, n int) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"files","params":{},"files":%d}`+"\n", id, n)
}

// TestFiles: three descriptors arrive, in their order; any other number is an
// error; none stays open.
func TestFiles(t *testing.T) {
	before := openFiles(t)
	kept := make(chan []*os.File, 1)
	v := serve(t, &Server{Methods: map[string]Handler{
		"files": func(_ context.Context, r *Request) (any, error) { return len(r.Files), nil },
		"keep": func(_ context.Context, r *Request) (any, error) {
			kept <- r.Files
			r.Files = nil
			return nil, nil
		},
	}})
	client := v.dial(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Call(t.Context(), "keep", Nothing{}, nil, r, w, w); err != nil {
		t.Fatal(err)
	}
	files := await(t, kept, "files")
	if _, err := files[2].WriteString("x"); err != nil || len(files) != 3 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	if b, err := make([]byte, 1), error(nil); true {
		if _, err = files[0].Read(b); err != nil || b[0] != 'x' {
			t.Errorf("%q, %v", b, err)
		}
	}
	for _, f := range append(files, r, w) {
		f.Close()
	}
	if err := client.Call(t.Context(), "keep", Nothing{}, nil, os.Stdin); err == nil || !strings.Contains(err.Error(), "1 files") {
		t.Errorf("%v", err)
	}
	if err := client.Call(t.Context(), "keep", Nothing{}, nil, nil, nil, nil); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("%v", err)
	}

	for _, test := range []struct {
		says, come int
		want       string
	}{
		{3, 3, `"result":3}`},
		{0, 0, `"result":0}`},
		{3, 0, `"id":1,"error":{"code":-32600,"message":"the frame says 3 files, and 0 came with it"`},
		{3, 2, `says 3 files, and 2 came`},
		{3, 4, `says 3 files, and 4 came`},
		{0, 3, `says 0 files, and 3 came`},
		{1, 1, `says 1 files, and 1 came`},
		{8, 8, `"id":null,"error":{"code":-32600,"message":"too many descriptors came`},
		{-1, 0, `says -1 files, and 0 came`},
		{3, 253, `"id":null,"error":{"code":-32600,"message":"too many descriptors came`},
	} {
		c := v.bare(t)
		if test.come == 0 {
			io.WriteString(c, filesFrame(1, test.says))
		} else {
			flood(t, c, filesFrame(1, test.says), test.come)
		}
		if got := readLine(t, bufio.NewReader(c)); !strings.Contains(got, test.want) {
			t.Errorf("%d files that are %d: %s", test.says, test.come, got)
		}
		c.Close()
	}
	// on frames without an end, on rubbish, on methods that are not there, ahead of others
	for _, text := range []string{"x", "x\n", frameOf(1, "gone", "{}"), filesFrame(1, 3)[:9], filesFrame(1, 0) + filesFrame(2, 3),
		strings.Replace(filesFrame(1, 3), `"files","params"`, `"gone","params"`, 1)} {
		c := v.bare(t)
		flood(t, c, text, 3)
		_ = c.CloseWrite()
		rest(t, c)
		c.Close()
	}
	// what came with rubbish is nobody's
	c := v.bare(t)
	flood(t, c, "x\n", 3)
	if _, err := io.WriteString(c, filesFrame(2, 3)); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(c)
	readLine(t, lines)
	if got := readLine(t, lines); !strings.Contains(got, "says 3 files, and 0 came") {
		t.Error(got)
	}
	c.Close()
	client.Close()
	v.stop()
	await(t, v.done, "end")
	if after := openFiles(t); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// TestPiledFiles: descriptors on every byte of one frame.
func TestPiledFiles(t *testing.T) {
	v := serve(t, &Server{Methods: map[string]Handler{"echo": echo}})
	if err := v.dial(t).Call(t.Context(), "echo", word{"x"}, nil); err != nil {
		t.Fatal(err)
	}
	fds := devNull(t, 3)
	defer closeAll(fds)
	c := v.bare(t)
	before, most := openFiles(t), 0
	for range 1000 {
		if _, _, err := c.WriteMsgUnix([]byte("x"), unix.UnixRights(fds...), nil); err != nil {
			break
		}
		most = max(most, openFiles(t)-before)
	}
	if got := rest(t, c); !strings.Contains(got, "too many descriptors came") {
		t.Errorf("answer %q", got)
	}
	if most > 2*streams+controlFiles+2 { // and a pidfd, and a directory that is being read
		t.Errorf("%d descriptors were open", most)
	}
}

// controlFiles is how many descriptors one receive may bring.
const controlFiles = 10

// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/relay/boxed"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// echo is a server that sends back what it gets, and then its end.
func echo(t testing.TB) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

// listener gives one with its address, the port being the kernel's choice.
func listener(t testing.TB) (*os.File, string) {
	t.Helper()
	file, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	return file, address(t, file)
}

func address(t testing.TB, file *os.File) string {
	t.Helper()
	var name unix.Sockaddr
	err := control(file, func(fd int) (err error) {
		name, err = unix.Getsockname(fd)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port)
}

func testHelper(t *testing.T) *Helper {
	t.Helper()
	h, err := Open(Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// inProcess runs the boxed half beside h, without its box, until the test ends.
func inProcess(t *testing.T, h *Helper, idle time.Duration) {
	t.Helper()
	ours, theirs, err := packet.Pair()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var both sync.WaitGroup
	both.Go(func() {
		_ = boxed.Serve(packet.New(theirs), idle)
		_ = theirs.Close()
	})
	both.Go(func() { _ = h.Converse(ctx, packet.New(ours)) })
	t.Cleanup(func() { cancel(); both.Wait() })
}

func dial(t testing.TB, to string) *net.TCPConn {
	t.Helper()
	c, err := net.DialTimeout("tcp", to, patience)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

// exchange sends text with its end and gives what comes back until the end.
func exchange(t testing.TB, c *net.TCPConn, text []byte) []byte {
	t.Helper()
	go func() {
		_, _ = c.Write(text)
		_ = c.CloseWrite()
	}()
	back, err := io.ReadAll(c)
	if err != nil {
		t.Error(err)
	}
	return back
}

func TestRelay(t *testing.T) {
	h := testHelper(t)
	server := echo(t)
	file, at := listener(t)
	early := dial(t, at) // waits in the queue
	r, err := h.Relay(file, func() (*os.File, error) { return Connect(server) })
	if err != nil {
		t.Fatal(err)
	}
	inProcess(t, h, boxed.IdleLimit)
	text := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // 1 MiB: more than any buffer on the way
	if back := exchange(t, early, text); !bytes.Equal(back, text) {
		t.Errorf("%d of %d bytes came back", len(back), len(text))
	}
	var all sync.WaitGroup
	for i := range 300 { // more than there is room for at once
		all.Go(func() {
			c, err := net.DialTimeout("tcp", at, patience)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(patience))
			want := fmt.Appendf(nil, "connection %d", i)
			if back := exchange(t, c.(*net.TCPConn), want); !bytes.Equal(back, want) {
				t.Errorf("%q came back as %q", want, back)
			}
		})
	}
	all.Wait()

	open := dial(t, at)
	if _, err := open.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(open, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := open.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection outlived its relay: %v", err)
	}
	if c, err := net.Dial("tcp", at); err == nil {
		c.Close()
		t.Error("the port of a relay that was closed still answers")
	}
}

func TestRelayWithoutPeer(t *testing.T) {
	h := testHelper(t)
	inProcess(t, h, boxed.IdleLimit)
	nobody, to := listener(t)
	_ = nobody.Close()
	for name, connect := range map[string]func() (*os.File, error){
		"none":    func() (*os.File, error) { return nil, errors.New("the box is gone") },
		"refused": func() (*os.File, error) { return Connect(netip.MustParseAddrPort(to)) },
	} {
		file, at := listener(t)
		if _, err := h.Relay(file, connect); err != nil {
			t.Fatal(err)
		}
		if _, err := dial(t, at).Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIdlePairsAreClosed(t *testing.T) {
	h := testHelper(t)
	server := echo(t)
	file, at := listener(t)
	if _, err := h.Relay(file, func() (*os.File, error) { return Connect(server) }); err != nil {
		t.Fatal(err)
	}
	inProcess(t, h, 50*time.Millisecond)
	if _, err := dial(t, at).Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("still open: %v", err)
	}
}

func TestProbe(t *testing.T) {
	h := testHelper(t)
	ctx := testContext(t)
	inProcess(t, h, boxed.IdleLimit)
	answer := func(text string) netip.AddrPort {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					_, _ = c.Read(make([]byte, 4096))
					_, _ = io.WriteString(c, text)
					if text == "" {
						_, _ = c.Read(make([]byte, 1)) // says nothing, for ever
					}
				}()
			}
		}()
		return netip.MustParseAddrPort(l.Addr().String())
	}
	nobody, to := listener(t)
	_ = nobody.Close()
	for _, c := range []struct {
		name string
		to   netip.AddrPort
		path string
		ok   bool
	}{
		{"connection", echo(t), "", true},
		{"no connection", netip.MustParseAddrPort(to), "", false},
		{"ready", answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), "/readyz", true},
		{"not ready", answer("HTTP/1.1 503 Not Yet\r\n\r\n"), "/readyz", false},
		{"redirect", answer("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n"), "/readyz", false},
		{"rubbish", answer(strings.Repeat("\x1b[2J", 1000) + "\n"), "/readyz", false},
		{"endless line", answer(strings.Repeat("x", 200<<10)), "/readyz", false},
		{"silence", answer(""), "/readyz", false},
	} {
		timeout := patience
		if c.name == "silence" {
			timeout = 100 * time.Millisecond
		}
		socket, err := Connect(c.to)
		if err != nil {
			if c.ok {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		err = h.Probe(ctx, socket, Probe{Host: c.to.String(), Path: c.path, Timeout: timeout})
		var not *NotReadyError
		if c.ok && err != nil || !c.ok && !errors.As(err, &not) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// hostile plays the helper. It gets a relay's id and one end of the socket;
// converse must end by itself with an error that says why.
func hostile(t *testing.T, h *Helper, play func(conn *packet.Conn, raw *os.File)) error {
	t.Helper()
	ours, theirs, err := packet.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	ctx := testContext(t)
	ended := make(chan error, 1)
	go func() { ended <- h.Converse(ctx, packet.New(ours)) }()
	played := make(chan struct{})
	go func() {
		defer close(played)
		play(packet.New(theirs), theirs)
	}()
	err = <-ended
	_ = theirs.Close()
	<-played
	if err == nil || ctx.Err() != nil {
		t.Errorf("it was not ended: %v", err)
	}
	return err
}

func TestHostileHelper(t *testing.T) {
	dials := 0
	var mu sync.Mutex
	for _, c := range []struct {
		name, want string
		play       func(conn *packet.Conn, raw *os.File)
	}{
		{"rubbish", "malformed", func(_ *packet.Conn, raw *os.File) { _, _ = raw.Write([]byte("rubbish")) }},
		{"a word that is none", "malformed", func(c *packet.Conn, _ *os.File) { _ = c.Send(packet.Word{Kind: 99}, nil) }},
		{"a relay it was not given", "never given", func(c *packet.Conn, _ *os.File) {
			_ = c.Send(packet.Word{Kind: packet.Dial, ID: 1, Relay: 1000}, nil)
		}},
		{"a relay of none", "never given", func(c *packet.Conn, _ *os.File) {
			_ = c.Send(packet.Word{Kind: packet.Dial, ID: 1, Relay: -1}, nil)
		}},
		{"an answer to no probe", "malformed", func(c *packet.Conn, _ *os.File) {
			_ = c.Send(packet.Word{Kind: packet.Probed, ID: 12, OK: true}, nil)
		}},
		{"a long detail", "malformed", func(c *packet.Conn, _ *os.File) {
			_ = c.Send(packet.Word{Kind: packet.Probed, ID: 1, Detail: strings.Repeat("x", packet.MaxDetail+1)}, nil)
		}},
		{"a forged pong", "malformed", func(c *packet.Conn, _ *os.File) { _ = c.Send(packet.Word{Kind: packet.Pong, ID: 7}, nil) }},
		{"a descriptor", "descriptor", func(c *packet.Conn, raw *os.File) {
			_ = c.Send(packet.Word{Kind: packet.Pong, ID: 1}, raw)
		}},
		{"silence", "did not answer", func(*packet.Conn, *os.File) {}},
		{"flood", "a second", func(c *packet.Conn, _ *os.File) {
			go func() {
				for {
					var o packet.Order
					file, err := c.Receive(&o)
					if err != nil {
						return
					}
					if file != nil {
						_ = file.Close()
					}
				}
			}()
			for i := 1; c.Send(packet.Word{Kind: packet.Dial, ID: i, Relay: 1}, nil) == nil; i++ {
			}
		}},
		{"the end", "", func(_ *packet.Conn, raw *os.File) { _ = raw.Close() }},
	} {
		h := testHelper(t)
		h.interval = 500 * time.Millisecond
		file, _ := listener(t)
		r, err := h.Relay(file, func() (*os.File, error) {
			mu.Lock()
			dials++
			mu.Unlock()
			return nil, errors.New("nobody")
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := hostile(t, h, c.play); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		_ = r.Close()
	}
	mu.Lock()
	defer mu.Unlock()
	if dials > burst+10*perSecond {
		t.Errorf("%d connections were made for it", dials)
	}
}

// Who waits for a probe is told when the helper ends.
func TestProbeOfAHelperThatEnds(t *testing.T) {
	h := testHelper(t)
	ctx := testContext(t)
	told := make(chan error, 1)
	_ = hostile(t, h, func(c *packet.Conn, raw *os.File) {
		socket, err := Connect(echo(t))
		if err != nil {
			t.Error(err)
			return
		}
		go func() { told <- h.Probe(ctx, socket, Probe{Timeout: patience}) }()
		for {
			var o packet.Order
			file, err := c.Receive(&o)
			if err != nil {
				t.Error(err)
				return
			}
			if file != nil {
				_ = file.Close()
				_ = raw.Close()
				return
			}
		}
	})
	if err := <-told; !errors.Is(err, ErrNotRunning) {
		t.Errorf("told %v", err)
	}
}

// What a helper does not answer is not kept for ever, and neither is what it does.
func TestProbesWithoutAnswer(t *testing.T) {
	ours, theirs, err := packet.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	s := newRun(testHelper(t), packet.New(ours))
	defer s.conn.Close()
	orders := make(chan packet.Order, 5*maxProbes)
	go func() {
		for helper := packet.New(theirs); ; {
			var o packet.Order
			if _, err := helper.Receive(&o); err != nil {
				return
			}
			orders <- o
		}
	}()
	gone, cancel := context.WithCancel(testContext(t))
	cancel()
	id := 0
	probe := func(ctx context.Context, timeout time.Duration) error {
		id++
		return s.probe(ctx, id, packet.Order{Kind: packet.Probe, ID: id, Timeout: timeout}, nil)
	}
	for range 2 * maxProbes { // whose time is over
		if err := probe(gone, -time.Hour); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	for range maxProbes {
		if err := probe(gone, time.Hour); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	var not *NotReadyError
	if err := probe(gone, time.Hour); !errors.As(err, &not) || len(s.probes) != maxProbes {
		t.Errorf("%v, %d probes", err, len(s.probes))
	}
	if err := s.probed(packet.Word{ID: 1}); !errors.Is(err, packet.ErrPacket) {
		t.Errorf("an answer after its time: %v", err)
	}
	for one := range s.probes { // late, but in time
		if err := s.probed(packet.Word{ID: one}); err != nil {
			t.Error(err)
		}
	}
	for range 3 * maxProbes {
		<-orders
	}
	answered := make(chan error, 1)
	go func() { answered <- probe(testContext(t), time.Hour) }()
	if err := s.probed(packet.Word{ID: (<-orders).ID, OK: true}); err != nil {
		t.Error(err)
	}
	if err := <-answered; err != nil || len(s.probes) != 0 {
		t.Errorf("%v, %d probes are kept", err, len(s.probes))
	}
}

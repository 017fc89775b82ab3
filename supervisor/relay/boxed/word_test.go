// SPDX-License-Identifier: Apache-2.0

package boxed

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

const wait = 30 * time.Second

// talk is a server with a clawsupd that the test plays.
type talk struct {
	*packet.Conn
	server *Server
	boxes  *boxes
	ended  chan error
}

func newTalk(t *testing.T) *talk {
	t.Helper()
	ours, theirs, err := packet.Pair()
	if err != nil {
		t.Fatal(err)
	}
	k := &talk{packet.New(ours), New(packet.New(theirs), IdleLimit), &boxes{told: make(chan string, 16)}, make(chan error, 1)}
	go func() { k.ended <- k.server.Serve(k.boxes) }()
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	return k
}

// boxes notes what it is told.
type boxes struct{ told chan string }

func (b *boxes) Open(_ int, _ packet.Box, f *os.File) error { b.told <- "open"; return f.Close() }
func (b *boxes) Datagrams(_ int, f *os.File) error          { b.told <- "datagrams"; return f.Close() }
func (b *boxes) Bind(_ int, p packet.Binding) error         { b.told <- "bind " + p.Secret; return nil }
func (b *boxes) Unbind(_ int, secret string) error          { b.told <- "unbind " + secret; return nil }
func (b *boxes) Shut(int) error                             { b.told <- "shut"; return nil }

func (k *talk) order(t *testing.T, o packet.Order, file *os.File) {
	t.Helper()
	if err := k.Send(o, file); err != nil {
		t.Fatal(err)
	}
}

func (k *talk) word(t *testing.T, kind packet.WordKind) packet.Word {
	t.Helper()
	var w packet.Word
	if _, err := k.Receive(&w); err != nil || w.Kind != kind {
		t.Fatalf("%+v, %v, want word %d", w, err, kind)
	}
	return w
}

func TestOrdersAboutBoxes(t *testing.T) {
	k := newTalk(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	defer r.Close()
	for _, c := range []struct {
		order packet.Order
		file  *os.File
		want  string
	}{
		{packet.Order{Kind: packet.Open, ID: 1, Box: &packet.Box{}}, r, "open"},
		{packet.Order{Kind: packet.Datagrams, ID: 1}, r, "datagrams"},
		{packet.Order{Kind: packet.Bind, ID: 1, Binding: &packet.Binding{Secret: "x"}}, nil, "bind x"},
		{packet.Order{Kind: packet.Unbind, ID: 1, Secret: "x"}, nil, "unbind x"},
		{packet.Order{Kind: packet.Shut, ID: 1}, nil, "shut"},
	} {
		k.order(t, c.order, c.file)
		if got := <-k.boxes.told; got != c.want {
			t.Errorf("told %q, want %q", got, c.want)
		}
	}
	k.order(t, packet.Order{Kind: packet.Open, ID: 2}, r) // of which nothing is said
	if err := <-k.ended; !errors.Is(err, packet.ErrPacket) {
		t.Error(err)
	}
}

func TestQuestions(t *testing.T) {
	k := newTalk(t)
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() {
		v, err := k.server.Ask(ctx, 7, packet.Query{Host: "a.example"})
		if err != nil || !v.Allow || v.Decision != 3 {
			t.Errorf("%+v, %v", v, err)
		}
	})
	w := k.word(t, packet.Ask)
	if w.Box != 7 || w.ID <= 0 || w.Query.Host != "a.example" {
		t.Errorf("%+v", w)
	}
	k.order(t, packet.Order{Kind: packet.Answer, ID: w.ID, Verdict: &packet.Verdict{Allow: true, Decision: 3}}, nil)
	k.order(t, packet.Order{Kind: packet.Answer, ID: w.ID, Verdict: &packet.Verdict{}}, nil) // nobody waits for it
	all.Wait()
	all.Go(func() {
		if _, err := k.server.Name(ctx, 7, "a.example"); !errors.Is(err, packet.ErrPacket) {
			t.Errorf("an answer without a verdict: %v", err)
		}
	})
	k.order(t, packet.Order{Kind: packet.Answer, ID: k.word(t, packet.Name).ID}, nil)
	all.Wait()
	all.Go(func() {
		var refused *RefusedError
		if _, err := k.server.Lookup(ctx, 1, true); !errors.As(err, &refused) || refused.Detail != "no" {
			t.Error(err)
		}
	})
	k.order(t, packet.Order{Kind: packet.Refuse, ID: k.word(t, packet.Lookup).ID, Detail: "no"}, nil)
}

// Who leaves says so, and what comes after that is let go.
func TestLeave(t *testing.T) {
	k := newTalk(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		_, err := k.server.Ask(ctx, 1, packet.Query{})
		done <- err
	}()
	asked := k.word(t, packet.Ask)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if w := k.word(t, packet.Leave); w.ID != asked.ID {
		t.Errorf("left %d, asked %d", w.ID, asked.ID)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	k.order(t, packet.Order{Kind: packet.Peer, ID: asked.ID}, w)
	_ = w.Close()
	if b, err := io.ReadAll(r); err != nil || len(b) > 0 { // it ends when the other end has closed its copy
		t.Errorf("%q, %v", b, err)
	}
}

func TestQuestionsAreBounded(t *testing.T) {
	k := newTalk(t)
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for range packet.MaxBoxAsks {
		all.Go(func() { _, _ = k.server.Ask(ctx, 1, packet.Query{}) })
	}
	for range packet.MaxBoxAsks {
		k.word(t, packet.Ask)
	}
	if _, err := k.server.Ask(ctx, 1, packet.Query{}); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	go func() { _, _ = k.server.Ask(ctx, 2, packet.Query{}) }() // another box is
	if w := k.word(t, packet.Ask); w.Box != 2 {
		t.Errorf("%+v", w)
	}
	cancel()
	for range packet.MaxBoxAsks {
		k.word(t, packet.Leave)
	}
	all.Wait()
	k.server.mu.Lock()
	defer k.server.mu.Unlock()
	if len(k.server.asked) > 1 {
		t.Errorf("%v are still counted", k.server.asked)
	}
}

// A question that is too long is nobody's end.
func TestTooLong(t *testing.T) {
	k := newTalk(t)
	_, err := k.server.Ask(context.Background(), 1, packet.Query{Search: string(make([]byte, packet.MaxPacket))})
	if !errors.Is(err, packet.ErrPacket) {
		t.Error(err)
	}
	k.server.Refused(1, packet.Refusal{Detail: string(bytes.Repeat([]byte("x"), 1000))})
	if w := k.word(t, packet.Refused); len(w.Refusal.Detail) != packet.MaxDetail {
		t.Errorf("%d bytes of detail", len(w.Refusal.Detail))
	}
	if len(k.server.flights) > 0 {
		t.Error("somebody waits")
	}
}

// Connect gives a socket when it has got there, and says why not.
func TestConnect(t *testing.T) {
	k := newTalk(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(l.Addr().String())
	for _, listens := range []bool{true, false} {
		if !listens {
			_ = l.Close()
		}
		done := make(chan error)
		go func() {
			f, err := k.server.Connect(context.Background(), 1, 9, at)
			if err == nil {
				_ = f.Close()
			}
			done <- err
		}()
		w := k.word(t, packet.Connect)
		if w.Address != at || w.Decision != 9 || w.Box != 1 {
			t.Errorf("%+v", w)
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		_ = unix.Connect(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()})
		f := os.NewFile(uintptr(fd), "socket")
		k.order(t, packet.Order{Kind: packet.Peer, ID: w.ID}, f)
		_ = f.Close()
		if err := <-done; listens != (err == nil) || !listens && !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("listens %v: %v", listens, err)
		}
	}
}

// An idle pair has no buffer, and no pair leaves anything.
func TestBuffersAreGivenBack(t *testing.T) {
	before := descriptors(t)
	pair := func() (a, b *net.TCPConn) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		x, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		y, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return x.(*net.TCPConn), y.(*net.TCPConn)
	}
	client, inside := pair()
	server, outside := pair()
	done := make(chan error)
	go func() { done <- Pass(inside, outside, func(int, int64) error { return nil }) }()
	for range 10 {
		_, _ = client.Write([]byte("hello"))
		if _, err := io.ReadFull(server, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = client.Close(), server.CloseWrite()
	if err := <-done; err != nil {
		t.Error(err)
	}
	_ = server.Close()
	if n := large.inUse.Load() + small.inUse.Load(); n != 0 {
		t.Errorf("%d buffers were not given back", n)
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors were open, now %d", before, after)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/netns"
	"github.com/clawsup/clawsup/supervisor/relay"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// judge answers as a test says, and keeps what it was told.
type judge struct {
	name    func(host string) packet.Verdict
	capture func(c packet.Captured) packet.Verdict

	ends     chan end
	refusals chan packet.Refusal

	mu    sync.Mutex
	ask   func(ctx context.Context, q packet.Query) packet.Verdict // mu
	asked int                                                      // mu; questions
	named int                                                      // mu; names
}

type end struct {
	query   packet.Query
	verdict packet.Verdict
	traffic packet.Traffic
}

func (j *judge) Name(_ *Box, host string) packet.Verdict {
	j.mu.Lock()
	j.named++
	j.mu.Unlock()
	return j.name(host)
}

func (j *judge) Ask(ctx context.Context, _ *Box, q packet.Query) packet.Verdict {
	j.mu.Lock()
	j.asked++
	ask := j.ask
	j.mu.Unlock()
	return ask(ctx, q)
}

func (j *judge) Capture(_ context.Context, _ *Box, c packet.Captured) packet.Verdict {
	return j.capture(c)
}

func (j *judge) Ended(_ *Box, q packet.Query, v packet.Verdict, t packet.Traffic) {
	j.ends <- end{q, v, t}
}

func (j *judge) Refused(_ *Box, r packet.Refusal) { j.refusals <- r }

// questions counts those that got as far as the judge.
func (j *judge) questions() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.asked
}

func (j *judge) names() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.named
}

// asks says how it answers questions from now on.
func (j *judge) asks(ask func(context.Context, packet.Query) packet.Verdict) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ask = ask
}

// says has it answer every question alike.
func (j *judge) says(v packet.Verdict) {
	j.asks(func(context.Context, packet.Query) packet.Verdict { return v })
}

// waits has it answer no question before nobody waits for the answer, and then
// allow it.
func (j *judge) waits() {
	j.asks(func(ctx context.Context, _ packet.Query) packet.Verdict {
		<-ctx.Done()
		return packet.Verdict{Allow: true}
	})
}

// world is a way out with a helper of the test's own.
type world struct {
	t      testing.TB
	judge  *judge
	helper *relay.Helper
	egress *Egress
}

func newWorld(t testing.TB) *world {
	t.Helper()
	helper, err := relay.Open(relay.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return newWorldOf(t, helper)
}

// newWorldOf is one with a helper that isn't running.
func newWorldOf(t testing.TB, helper *relay.Helper) *world {
	t.Helper()
	j := &judge{
		name:     func(string) packet.Verdict { return packet.Verdict{Allow: true} },
		capture:  func(packet.Captured) packet.Verdict { return packet.Verdict{} },
		ends:     make(chan end, 2*packet.MaxDecisions),
		refusals: make(chan packet.Refusal, 4*atOnce),
	}
	j.says(packet.Verdict{Allow: true})
	e, err := New(Options{Relay: helper, Judge: j, Resolvers: func() []netip.AddrPort { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	e.lead = func([]netip.Prefix) (*netns.Ends, error) { return loopbackEnds() }
	return &world{t, j, helper, e}
}

// loopbackEnds are ends in this namespace, which need no rules.
func loopbackEnds() (*netns.Ends, error) {
	tcp, err := relay.Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		return nil, err
	}
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, errors.Join(err, tcp.Close())
	}
	defer udp.Close()
	file, err := udp.File()
	if err != nil {
		return nil, errors.Join(err, tcp.Close())
	}
	return &netns.Ends{TCP: tcp, UDP: file}, nil
}

var authority = sync.OnceValue(func() *Authority {
	a, err := NewAuthority("test", time.Hour)
	if err != nil {
		panic(err)
	}
	return a
})

func (w *world) open(o BoxOptions) *Box {
	w.t.Helper()
	o.In = func(f func() error) error { return f() }
	o.Authority = authority()
	b, err := w.egress.Open(o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := b.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return b
}

// fake is a helper that says what a test wants.
type fake struct {
	t      testing.TB
	conn   *packet.Conn
	raw    *os.File
	orders chan order
	ended  chan error // why clawsupd ended it
	last   int        // id
}

type order struct {
	packet.Order
	file *os.File
}

// start starts one, and answers its pings.
func (w *world) start() *fake {
	w.t.Helper()
	ours, theirs, err := packet.Pair()
	if err != nil {
		w.t.Fatal(err)
	}
	f := &fake{t: w.t, conn: packet.New(theirs), raw: theirs, orders: make(chan order, 1<<16), ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	var both sync.WaitGroup
	both.Go(func() { f.ended <- w.helper.Converse(ctx, packet.New(ours)) })
	both.Go(f.read)
	w.t.Cleanup(func() {
		cancel()
		_ = f.conn.Close()
		both.Wait()
		for o := range f.orders {
			if o.file != nil {
				_ = o.file.Close()
			}
		}
	})
	return f
}

func (f *fake) read() {
	defer close(f.orders)
	for {
		var o packet.Order
		file, err := f.conn.Receive(&o)
		if err != nil {
			return
		}
		if o.Kind == packet.Ping {
			go func() { _ = f.conn.Send(packet.Word{Kind: packet.Pong, ID: o.ID}, nil) }()
			continue
		}
		f.orders <- order{o, file}
	}
}

// next gives the next order.
func (f *fake) next() order {
	f.t.Helper()
	select {
	case o, ok := <-f.orders:
		if !ok {
			f.t.Fatal("clawsupd ended the helper")
		}
		return o
	case <-time.After(patience):
		f.t.Fatal("nothing was ordered")
	}
	panic("not reached")
}

// want gives the next order, that must be of a kind.
func (f *fake) want(kind packet.OrderKind) order {
	f.t.Helper()
	o := f.next()
	if o.Kind != kind {
		f.t.Fatalf("order %d, want %d: %+v", o.Kind, kind, o)
	}
	return o
}

// say says a word, with a new id where it has none.
func (f *fake) say(w packet.Word) int {
	f.t.Helper()
	if w.ID == 0 && identified[w.Kind] {
		f.last++
		w.ID = f.last
	}
	if err := f.conn.Send(w, nil); err != nil {
		f.t.Error(err)
	}
	return w.ID
}

// ask asks and waits for the answer.
func (f *fake) ask(b *Box, q packet.Query) packet.Verdict {
	f.t.Helper()
	id := f.say(packet.Word{Kind: packet.Ask, Box: b.id, Query: &q})
	o := f.want(packet.Answer)
	if o.ID != id || o.Verdict == nil {
		f.t.Fatalf("answer %+v to %d", o, id)
	}
	return *o.Verdict
}

// connect asks for a connection, and says why there is none.
func (f *fake) connect(box, decision int, to string) (socket *os.File, why string) {
	f.t.Helper()
	id := f.say(packet.Word{Kind: packet.Connect, Box: box, Decision: decision, Address: netip.MustParseAddrPort(to)})
	o := f.next()
	if o.ID != id || (o.Kind == packet.Peer) != (o.file != nil) {
		f.t.Fatalf("%+v to %d", o, id)
	}
	switch o.Kind {
	case packet.Peer:
		f.t.Cleanup(func() { _ = o.file.Close() })
		return o.file, ""
	case packet.Refuse:
		return nil, o.Detail
	}
	f.t.Fatalf("%+v", o)
	return nil, ""
}

// opened takes the orders that a box without secrets begins with.
func (f *fake) opened() int {
	f.t.Helper()
	o := f.want(packet.Open)
	if d := f.want(packet.Datagrams); d.ID != o.ID || o.file == nil || d.file == nil || o.Box == nil {
		f.t.Fatalf("%+v, %+v", o, d)
	}
	return o.ID
}

// awaitEnd waits until clawsupd ends the helper, and gives the reason.
func (f *fake) awaitEnd() string {
	f.t.Helper()
	select {
	case err := <-f.ended:
		return err.Error()
	case <-time.After(patience):
		f.t.Fatal("it is still taken for a helper")
	}
	panic("not reached")
}

func (w *world) end() end {
	w.t.Helper()
	select {
	case e := <-w.judge.ends:
		return e
	case <-time.After(patience):
		w.t.Fatal("nothing ended")
	}
	panic("not reached")
}

func (w *world) refusal() packet.Refusal {
	w.t.Helper()
	select {
	case r := <-w.judge.refusals:
		return r
	case <-time.After(patience):
		w.t.Fatal("nothing was refused")
	}
	panic("not reached")
}

// get is a request of the commonest kind.
func get(host string) packet.Query {
	return packet.Query{Through: packet.HTTP, Host: host, Port: 443, Scheme: "https", Method: "GET", Path: "/"}
}

// canary is a server that nobody may reach.
type canary struct {
	t  testing.TB
	l  *net.TCPListener
	at string
}

func newCanary(t testing.TB) *canary {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return &canary{t, l.(*net.TCPListener), l.Addr().String()}
}

func (c *canary) port() uint16 { return netip.MustParseAddrPort(c.at).Port() }

// untouched fails if a connection came in: one over loopback is in the queue as
// soon as it is made.
func (c *canary) untouched() {
	c.t.Helper()
	raw, err := c.l.SyscallConn()
	if err != nil {
		c.t.Fatal(err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		var got int
		if got, _, failed = unix.Accept4(int(fd), unix.SOCK_CLOEXEC); failed == nil {
			_ = unix.Close(got)
		}
	})
	if err != nil || !errors.Is(failed, unix.EAGAIN) {
		c.t.Errorf("somebody got through to %s: %v, %v", c.at, err, failed)
	}
}

// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/clawsup/clawsup/runtime/netns/origin"
	"github.com/clawsup/clawsup/supervisor/relay/boxed"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// wait is how long a test waits for what must come.
const wait = 30 * time.Second

// name is the host that tests connect to. It leads to the loopback.
const name = "api.example.com"

var loopback = netip.MustParseAddr("127.0.0.1")

// host is a clawsupd that makes real sockets, in this process.
type host struct {
	ask     atomic.Pointer[func(context.Context, packet.Query) packet.Verdict]
	named   atomic.Pointer[packet.Verdict]
	capture func(packet.Captured) packet.Verdict
	lookup  func(server int, tcp bool) (*os.File, error)

	last     atomic.Int64
	connects atomic.Int64
	left     chan packet.Query // asked, and nobody waits any more

	mu       sync.Mutex
	queries  []packet.Query
	refusals []packet.Refusal
	ended    map[int]packet.Traffic
	changed  chan struct{} // closed when one of those grew
}

func newHost() *host {
	h := &host{left: make(chan packet.Query, 64), ended: map[int]packet.Traffic{}, changed: make(chan struct{})}
	h.named.Store(&packet.Verdict{Allow: true})
	h.answer(func(packet.Query) packet.Verdict { return yes() })
	return h
}

// yes leads to the loopback.
func yes() packet.Verdict {
	return packet.Verdict{Allow: true, Addresses: []netip.Addr{loopback}, Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
}

func (h *host) answer(f func(packet.Query) packet.Verdict) {
	g := func(_ context.Context, q packet.Query) packet.Verdict { return f(q) }
	h.ask.Store(&g)
}

// hold has everything wait until the test says what to answer.
func (h *host) hold() (asked chan packet.Query, answer chan packet.Verdict) {
	asked, answer = make(chan packet.Query, 64), make(chan packet.Verdict)
	g := func(ctx context.Context, q packet.Query) packet.Verdict {
		asked <- q
		select {
		case v := <-answer:
			return v
		case <-ctx.Done():
			h.left <- q
			return packet.Verdict{}
		}
	}
	h.ask.Store(&g)
	return asked, answer
}

func (h *host) note(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	close(h.changed)
	h.changed = make(chan struct{})
}

// until waits until f says so; f may look at what h.mu guards.
func (h *host) until(t testing.TB, what string, f func() bool) {
	t.Helper()
	limit := time.After(wait)
	for {
		h.mu.Lock()
		done, changed := f(), h.changed
		h.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("%s: it did not come to that; refused: %v", what, h.refusals)
		}
	}
}

// refused waits for a refusal of a kind.
func (h *host) refused(t testing.TB, kind packet.RefusalKind) (found packet.Refusal) {
	t.Helper()
	h.until(t, "a refusal of kind "+string(kind), func() bool {
		for _, r := range h.refusals {
			if r.Kind == kind {
				found = r
				return true
			}
		}
		return false
	})
	return found
}

func (h *host) asked() []packet.Query {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]packet.Query(nil), h.queries...)
}

func (h *host) Name(context.Context, int, string) (packet.Verdict, error) {
	return *h.named.Load(), nil
}

func (h *host) Ask(ctx context.Context, _ int, q packet.Query) (packet.Verdict, error) {
	h.note(func() { h.queries = append(h.queries, q) })
	v := (*h.ask.Load())(ctx, q)
	if ctx.Err() != nil {
		return packet.Verdict{}, ctx.Err()
	}
	if v.Allow {
		v.Decision = int(h.last.Add(1))
	}
	return v, nil
}

func (h *host) Connect(ctx context.Context, _, _ int, to netip.AddrPort) (*os.File, error) {
	h.connects.Add(1)
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	return errFile(c.(*net.TCPConn))
}

// errFile gives a socket as a file, as clawsupd passes it.
func errFile(c *net.TCPConn) (*os.File, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	err = raw.Control(func(own uintptr) { fd, _ = syscall.Dup(int(own)) })
	if err := errors.Join(err, c.Close()); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "socket"), nil
}

func (h *host) Lookup(_ context.Context, server int, tcp bool) (*os.File, error) {
	if h.lookup == nil {
		return nil, errors.New("there is no resolver")
	}
	return h.lookup(server, tcp)
}

func (h *host) Capture(_ context.Context, _ int, c packet.Captured) (packet.Verdict, error) {
	return h.capture(c), nil
}

func (h *host) Ended(_, decision int, t packet.Traffic) {
	h.note(func() { h.ended[decision] = t })
}

func (h *host) Refused(_ int, r packet.Refusal) {
	h.note(func() { h.refusals = append(h.refusals, r) })
}

var _ Host = (*host)(nil)
var _ Host = (*boxed.Server)(nil)
var _ boxed.Boxes = (*Outlet)(nil)

// ca is an authority.
type ca struct {
	der  []byte
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(t testing.TB) *ca {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &ca{der, cert, key}
}

func (a *ca) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// file has the certificate, for programs.
func (a *ca) file(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// leaf is a server's certificate.
func (a *ca) leaf(t testing.TB, names ...string) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: names}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}
}

// world is an outlet with one box, and the servers of a test.
type world struct {
	t testing.TB
	*host
	outlet *Outlet
	box    *box
	inside *ca    // that the box trusts
	beyond *ca    // that the outlet trusts
	gate   string // where the box's connections go in
	to     atomic.Pointer[netip.AddrPort]
}

func newWorld(t testing.TB, change ...func(*packet.Box)) *world {
	t.Helper()
	w := &world{t: t, host: newHost(), inside: newCA(t), beyond: newCA(t)}
	w.outlet = New(Options{
		Host: w.host, Roots: w.beyond.pool(), Files: 8192,
		Destination: func(syscall.Conn) (netip.AddrPort, error) { return *w.to.Load(), nil },
	})
	t.Cleanup(func() {
		if err := w.outlet.Close(); err != nil {
			t.Error(err)
		}
	})
	key, err := x509.MarshalPKCS8PrivateKey(w.inside.key)
	if err != nil {
		t.Fatal(err)
	}
	p := packet.Box{Certificate: w.inside.der, Key: key}
	for _, f := range change {
		f(&p)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.gate = l.Addr().String()
	file, err := l.(*net.TCPListener).File()
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	if err := w.outlet.Open(1, p, file); err != nil {
		t.Fatal(err)
	}
	w.box = w.outlet.boxes[1]
	return w
}

// leads has the next connections of the box be meant for name at a port.
func (w *world) leads(port uint16) {
	w.t.Helper()
	a, err := w.box.names.Table.Address(name)
	if err != nil {
		w.t.Fatal(err)
	}
	w.leadsTo(netip.AddrPortFrom(a, port))
}

func (w *world) leadsTo(to netip.AddrPort) { w.to.Store(&to) }

func (w *world) leadsToProxy(port uint16) { w.leadsTo(netip.AddrPortFrom(origin.Resolver, port)) }

// dial connects as a program in the box does.
func (w *world) dial() *net.TCPConn {
	w.t.Helper()
	c, err := net.DialTimeout("tcp", w.gate, wait)
	if err != nil {
		w.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(wait))
	w.t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

// client is one of Go's in the box.
func (w *world) client(protocol string) *http.Client {
	p := new(http.Protocols)
	p.SetHTTP1(protocol == "http/1.1")
	p.SetHTTP2(protocol == "h2")
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", w.gate)
		},
		TLSClientConfig: &tls.Config{RootCAs: w.inside.pool()}, Protocols: p, MaxIdleConnsPerHost: 64, ExpectContinueTimeout: wait,
	}
	w.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, Timeout: wait, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// server is one of the world: HTTP, with TLS or without. It gives its port.
func (w *world) server(scheme string, handler http.HandlerFunc, change ...func(*http.Server, *tls.Config)) uint16 {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	s := &http.Server{Handler: handler, ErrorLog: discard}
	config := &tls.Config{Certificates: []tls.Certificate{w.beyond.leaf(w.t, name)}, NextProtos: []string{"h2", "http/1.1"}}
	for _, f := range change {
		f(s, config)
	}
	port := netip.MustParseAddrPort(l.Addr().String()).Port()
	if scheme == "https" {
		s.TLSConfig = config
		l = tls.NewListener(l, config)
	}
	go func() { _ = s.Serve(l) }()
	w.t.Cleanup(func() { _ = s.Close() })
	return port
}

// raw is a server that talks to each connection.
func (w *world) raw(talk func(*net.TCPConn)) uint16 {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				talk(c.(*net.TCPConn))
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String()).Port()
}

func echo(c *net.TCPConn) {
	_, _ = io.Copy(c, c)
	_ = c.CloseWrite()
}

func at(scheme string, port uint16, path string) string {
	return fmt.Sprintf("%s://%s:%d%s", scheme, name, port, path)
}

// get asks and gives the answer with its body.
func get(t testing.TB, c *http.Client, r *http.Request) (*http.Response, string) {
	t.Helper()
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(body)
}

func request(t testing.TB, method, url string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

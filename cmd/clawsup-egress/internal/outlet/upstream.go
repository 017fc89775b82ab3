// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/clawsup/clawsup/cmd/clawsup-egress/internal/names"
	"github.com/clawsup/clawsup/supervisor/guard"
	"github.com/clawsup/clawsup/supervisor/relay/boxed"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// maxBoxLookups bounds the lookups of one box at a time; the next ones wait. Names
// whose servers don't answer take long, and all boxes share what there is.
const maxBoxLookups = 8

// lookup asks the host's resolvers. It is for names that somebody allowed.
func (b *box) lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	select {
	case b.looking <- struct{}{}:
		defer func() { <-b.looking }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	dial := func(ctx context.Context, server int, tcp bool) (net.Conn, error) {
		file, err := b.outlet.Host.Lookup(ctx, server, tcp)
		if err != nil {
			return nil, err
		}
		conn, err := net.FileConn(file)
		return conn, errors.Join(err, file.Close())
	}
	return b.outlet.lookups.Lookup(ctx, dial, b.resolvers, name)
}

// early looks a name up before anybody is asked, where that is allowed, so that
// who is asked sees addresses. None are no error: that shows later.
func (b *box) early(ctx context.Context, t target, v packet.Verdict) []netip.Addr {
	if !v.Early || t.addr.IsValid() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	list, err := b.lookup(ctx, t.host)
	if err != nil {
		return nil
	}
	return list
}

// addresses are those of a target that may be connected to, IPv4 first. asked are those that
// clawsupd was asked about: if there are any, no others are tried.
func (b *box) addresses(ctx context.Context, t target, v packet.Verdict, asked []netip.Addr) ([]netip.Addr, error) {
	var list []netip.Addr
	var err error
	switch {
	case t.addr.IsValid():
		list = []netip.Addr{t.addr}
	case len(v.Addresses) > 0:
		list = v.Addresses
	case len(asked) > 0:
		list = asked
	default:
		if list, err = b.lookup(ctx, t.host); err != nil {
			return nil, err
		}
	}
	if len(v.Addresses) > 0 && len(asked) > 0 && !t.addr.IsValid() { // clawsupd takes what is in both
		list = slices.DeleteFunc(slices.Clone(list), func(a netip.Addr) bool { return !slices.Contains(asked, a) })
	}
	var fit []netip.Addr
	var refused error
	for _, a := range list {
		a = a.Unmap()
		if err := guard.Check(a, v.Networks); err != nil {
			refused = err
		} else {
			fit = append(fit, a)
		}
	}
	if len(fit) == 0 {
		detail := "the name leads to no address that may be connected to"
		if refused != nil {
			detail = refused.Error()
		}
		return nil, &refusedError{packet.RefusedAddress, detail}
	}
	slices.SortStableFunc(fit, func(x, y netip.Addr) int { return cmp.Compare(x.BitLen(), y.BitLen()) })
	return fit[:min(len(fit), maxTries)], nil
}

// maxTries bounds the addresses of one target that are tried, one after the other.
const maxTries = 4

var errSockets = &refusedError{packet.RefusedCap, "too many connections to servers at a time"}

// connect connects to a target.
func (b *box) connect(ctx context.Context, t target, v packet.Verdict, asked []netip.Addr) (*os.File, netip.AddrPort, error) {
	list, err := b.addresses(ctx, t, v, asked)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	var failed, refused error
	for _, a := range list {
		to := netip.AddrPortFrom(a, t.port)
		file, err := b.outlet.Host.Connect(ctx, b.id, v.Decision, to)
		var no *boxed.RefusedError
		switch {
		case err == nil:
			return file, to, nil
		case errors.As(err, &no): // clawsupd knows more: which addresses are the host's own
			refused = &refusedError{packet.RefusedAddress, no.Detail}
		default:
			failed = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, netip.AddrPort{}, cmp.Or(failed, refused)
}

// socket is a connection to a server. It counts what passes.
type socket struct {
	*net.TCPConn
	box *box
	patience
}

// dial gives a connection of http.Transport's.
func (b *box) dial(ctx context.Context, x *exchange) (net.Conn, error) {
	if !claim(&b.sockets, &b.outlet.sockets, 1) {
		return nil, errSockets
	}
	s := &socket{box: b}
	free := func() {
		b.forget(s)
		give(&b.sockets, &b.outlet.sockets, 1)
	}
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	file, _, err := b.connect(ctx, x.target, x.verdict, x.query.Addresses)
	if err != nil {
		free()
		return nil, err
	}
	conn, err := net.FileConn(file)
	if err := errors.Join(err, file.Close()); err != nil {
		free()
		return nil, err
	}
	s.TCPConn = conn.(*net.TCPConn)
	s.start(s.TCPConn, free)
	if !b.keep(s) {
		return nil, context.Canceled
	}
	return s, nil
}

func (s *socket) Close() error { return s.end() }

func (s *socket) Read(p []byte) (int, error) {
	n, err := s.TCPConn.Read(p)
	s.touch()
	if over := s.box.bytes.take(in, int64(n)); over != nil {
		_ = s.Close()
		return 0, over
	}
	return n, err
}

func (s *socket) Write(p []byte) (int, error) {
	if err := s.box.bytes.take(out, int64(len(p))); err != nil {
		_ = s.Close()
		return 0, err
	}
	s.touch()
	return s.TCPConn.Write(p)
}

// ReadFrom and WriteTo are not the socket's own: bytes are to be counted.
func (s *socket) ReadFrom(r io.Reader) (int64, error) { return io.Copy(struct{ io.Writer }{s}, r) }
func (s *socket) WriteTo(w io.Writer) (int64, error)  { return io.Copy(w, struct{ io.Reader }{s}) }

// exchangeKey is where a request to a server has what it is about.
type exchangeKey struct{}

// maxWays bounds the transports that a box keeps.
const maxWays = 32

// way gives the transport of requests whose connections may lead to the same
// addresses. A connection that was made under one rule is not for requests under
// another that opens less.
func (b *box) way(x *exchange) (*http.Transport, error) {
	var key strings.Builder
	for _, p := range x.verdict.Networks {
		fmt.Fprint(&key, p, " ")
	}
	for _, a := range x.verdict.Addresses {
		fmt.Fprint(&key, a, " ")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ways == nil {
		return nil, context.Canceled
	}
	t := b.ways[key.String()]
	if t == nil {
		t = b.newWay()
		if len(b.ways) >= maxWays {
			t.DisableKeepAlives = true
			return t, nil
		}
		b.ways[key.String()] = t
	}
	return t, nil
}

func (b *box) newWay() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return b.dial(ctx, ctx.Value(exchangeKey{}).(*exchange))
		},
		TLSClientConfig:        &tls.Config{RootCAs: b.outlet.roots(), MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    headerLimit,
		DisableCompression:     true,
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    16,
		MaxConnsPerHost:        256,
		IdleConnTimeout:        restLimit,
		ResponseHeaderTimeout:  answerLimit,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		Protocols:              protocols,
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerConnection: 4 << 20, MaxReceiveBufferPerStream: 1 << 20,
			SendPingTimeout: time.Minute, PingTimeout: headerLimit,
		},
	}
}

// roots are those of servers. None would mean those of a system, and there is none.
func (o *Outlet) roots() *x509.CertPool {
	if o.Roots == nil {
		return x509.NewCertPool()
	}
	return o.Roots
}

// reason says why something with a server failed, for the program: in one line, and
// nothing of how the host is set up.
func reason(err error) string {
	var refused *refusedError
	var untrusted *tls.CertificateVerificationError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &refused) && refused.kind == packet.RefusedAddress:
		return "the host leads to an address that no rule opens"
	case errors.As(err, &refused):
		return refused.detail
	case errors.As(err, &untrusted):
		return "the server's certificate is refused: " + oneLine(untrusted.Err.Error())
	case errors.As(err, &alert):
		return "the server refuses TLS: " + alert.Error()
	case errors.As(err, &record):
		return "the server does not speak TLS"
	case errors.Is(err, names.ErrNoAddress):
		return "the host has no address"
	case errors.Is(err, names.ErrNoResolver):
		return "the host could not be looked up"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the server refuses the connection"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "the connection was reset"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "the server can't be reached"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the server ended the connection"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), timedOut(err):
		return "the server did not answer in time"
	case errors.Is(err, context.Canceled), errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrClosed):
		return "it was ended"
	}
	return "the exchange with the server failed"
}

// oneLine bounds a text and keeps what is visible of it.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), packet.MaxDetail/2)]
}

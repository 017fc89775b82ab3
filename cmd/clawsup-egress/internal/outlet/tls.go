// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// named says whether a ClientHello asks for the target. For an address it asks
// for nothing (RFC 6066, section 3).
func (t target) named(server string) error {
	switch name := strings.ToLower(server); {
	case t.addr.IsValid() && (name == "" || name == t.host), name == t.host:
		return nil
	case name == "":
		return &refusedError{packet.RefusedMismatch, fmt.Sprintf("TLS asks for no name, and the connection is to %.100s", t.host)}
	default:
		return &refusedError{packet.RefusedMismatch, fmt.Sprintf("TLS asks for %.100q, and the connection is to %.100s", server, t.host)}
	}
}

// errSeen ends the reading of a ClientHello that has been read.
var errSeen = errors.New("seen")

// hello reads a ClientHello, with crypto/tls and all its bounds, and says whether it
// asks for the target. What it read is read again.
func (c *conn) hello(ctx context.Context) error {
	var seen bytes.Buffer
	seen.Write(c.head)
	ctx, cancel := context.WithTimeout(ctx, headerLimit)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })()
	var named error
	listener := tls.Server(listening{c.TCPConn, io.MultiReader(bytes.NewReader(c.head), io.TeeReader(c.TCPConn, &seen))}, &tls.Config{
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			named = c.target.named(hello.ServerName)
			return nil, errSeen
		},
	})
	err := listener.HandshakeContext(ctx)
	c.head = seen.Bytes()
	switch {
	case errors.Is(err, errSeen):
		return named
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return &refusedError{packet.RefusedProtocol, "what begins like TLS is no ClientHello"}
}

// listening is a connection that says nothing.
type listening struct {
	net.Conn
	from io.Reader
}

func (l listening) Read(p []byte) (int, error)     { return l.from.Read(p) }
func (listening) Write(p []byte) (int, error)      { return len(p), nil }
func (listening) Close() error                     { return nil }
func (listening) SetDeadline(time.Time) error      { return nil }
func (listening) SetWriteDeadline(time.Time) error { return nil }

// endTLS ends TLS, and hands what comes out of it to HTTP.
func (c *conn) endTLS(ctx context.Context) error {
	config, err := c.box.authority.config(c.target)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, headerLimit)
	defer cancel()
	inside := tls.Server(c, config)
	if err := inside.HandshakeContext(ctx); err != nil {
		return handshakeError(err)
	}
	c.scheme = "https"
	if inside.ConnectionState().NegotiatedProtocol == "h2" {
		c.box.outlet.fromBoxes.give(inside)
		return nil
	}
	s := &sniffed{Conn: inside, origin: c}
	switch got, err := s.sniff(); {
	case err != nil || got == unsure:
		return err
	case got == silent:
		return &refusedError{packet.RefusedProtocol, "nothing was said inside of TLS: where servers speak first, a rule has to say through = \"tls\""}
	case got != speaksHTTP:
		return &refusedError{packet.RefusedProtocol, "inside of TLS is no HTTP: for other protocols a rule has to say through = \"tls\""}
	}
	c.box.outlet.fromBoxes.give(s)
	return nil
}

// distrust are alerts of clients that don't take a certificate (RFC 8446, 6.2).
var distrust = map[tls.AlertError]bool{42: true, 43: true, 44: true, 45: true, 46: true, 48: true}

// handshakeError says what a failed handshake means.
func handshakeError(err error) error {
	var refused *refusedError
	if errors.As(err, &refused) {
		return refused
	}
	// crypto/tls keeps the type of alerts that it gets to itself, but not their text.
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		for alert := range distrust {
			if op.Err.Error() == alert.Error() {
				return &refusedError{packet.RefusedProtocol,
					"the program does not trust the box's authority: have it use the system's bundle, or SSL_CERT_FILE; a program that knows its server's certificate needs a rule with through = \"tls\""}
			}
		}
	}
	var record tls.RecordHeaderError
	if errors.As(err, &record) {
		return &refusedError{packet.RefusedProtocol, "what begins like TLS is none"}
	}
	return err
}

// sniffed is what came out of TLS, of which the first bytes are read again.
type sniffed struct {
	net.Conn
	origin *conn
	head   []byte
}

func (s *sniffed) Read(p []byte) (int, error) {
	if len(s.head) > 0 {
		n := copy(p, s.head)
		if s.head = s.head[n:]; len(s.head) == 0 {
			s.head = nil
		}
		return n, nil
	}
	return s.Conn.Read(p)
}

func (s *sniffed) sniff() (kind, error) {
	if err := s.SetReadDeadline(time.Now().Add(headerLimit)); err != nil {
		return unsure, err
	}
	for {
		if got := classify(s.head); got != unsure {
			return got, s.SetReadDeadline(time.Time{})
		}
		if cap(s.head)-len(s.head) < firstSize/2 {
			s.head = append(make([]byte, 0, 2*cap(s.head)+firstSize), s.head...)
		}
		n, err := s.Conn.Read(s.head[len(s.head):cap(s.head)])
		s.head = s.head[:len(s.head)+n]
		switch {
		case n > 0:
		case timedOut(err) && len(s.head) == 0:
			return silent, nil
		case err != nil:
			return unsure, err
		}
	}
}

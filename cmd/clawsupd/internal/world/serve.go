// SPDX-License-Identifier: Apache-2.0

package world

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// serve starts every server.
func (w *World) serve() error {
	repository, err := newRepository(w.dir)
	if err != nil {
		return err
	}
	wheel, err := newWheel()
	if err != nil {
		return err
	}
	tarball, err := newTarball()
	if err != nil {
		return err
	}
	paths := w.paths()
	tomorrow := time.Now().Add(24 * time.Hour)
	sites := []struct {
		name    Name
		handler http.Handler
		until   time.Time
		names   []string // of the certificate; nil: its own
		version uint16   // of TLS at most; 0: the newest
		foreign bool     // signed by an authority that nobody trusts
	}{
		{name: API, handler: paths},
		{name: Other, handler: paths},
		{name: Internal, handler: paths},
		{name: Sealed, handler: paths},
		{name: Moved, handler: http.HandlerFunc(moved)},
		{name: Bot, handler: http.HandlerFunc(bot)},
		{name: Git, handler: repository},
		{name: Wheels, handler: wheel},
		{name: Packages, handler: tarball},
		{name: Expired, handler: paths, until: time.Now().Add(-time.Hour)},
		{name: Stranger, handler: paths, foreign: true},
		{name: Misnamed, handler: paths, names: []string{string(API)}},
		{name: Old, handler: paths, version: tls.VersionTLS11},
	}
	stranger, err := newAuthority("an authority that nobody trusts")
	if err != nil {
		return err
	}
	for _, s := range sites {
		from, names, until := w.authority, s.names, s.until
		if s.foreign {
			from = stranger
		}
		if names == nil {
			names = []string{string(s.name)}
		}
		if until.IsZero() {
			until = tomorrow
		}
		certificate, err := from.issue(until, names...)
		if err != nil {
			return err
		}
		config := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS10, MaxVersion: s.version}
		if err := w.web(s.name, s.handler, config); err != nil {
			return err
		}
	}
	if err := w.web(Plain, paths, nil); err != nil {
		return err
	}
	return errors.Join(w.raw(), w.canaries())
}

// web serves HTTP at all addresses of a name: with TLS on 443, without on 80.
func (w *World) web(name Name, handler http.Handler, config *tls.Config) error {
	server := &http.Server{Handler: w.logged(name, handler), TLSConfig: config, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: Patience}
	w.servers = append(w.servers, server)
	for _, a := range records[name] {
		port := uint16(443)
		if config == nil {
			port = 80
		}
		l, err := w.Internet.Listen("tcp", netip.AddrPortFrom(a, port).String())
		if err != nil {
			return err
		}
		w.handlers.Go(func() {
			if config == nil {
				_ = server.Serve(l)
			} else {
				_ = server.ServeTLS(l, "", "")
			}
		})
	}
	return nil
}

// body keeps what is read of a request's body.
type body struct {
	io.ReadCloser
	begin []byte
	size  int64
	sum   hash.Hash
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.begin = append(b.begin, p[:min(n, MaxBody-len(b.begin))]...)
	b.size += int64(n)
	b.sum.Write(p[:n])
	return n, err
}

// entry is under what a handler finds its entry of the log in its context.
type entry struct{}

// logged puts each request into the log when it comes, and its body when it ends.
func (w *World) logged(name Name, next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !w.streams.begin(&w.handlers) {
			return
		}
		defer w.handlers.Done()
		s := Seen{Server: name, Protocol: r.Proto, Method: r.Method, Host: r.Host, Target: r.RequestURI, Header: r.Header.Clone()}
		s.From, _ = netip.ParseAddrPort(r.RemoteAddr)
		if at, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
			s.To, _ = netip.ParseAddrPort(at.String())
		}
		if r.TLS != nil {
			s.SNI, s.Version = r.TLS.ServerName, r.TLS.Version
		}
		change := w.Log.add(s)
		b := &body{ReadCloser: r.Body, sum: sha256.New()}
		r.Body = b
		next.ServeHTTP(rw, r.WithContext(context.WithValue(r.Context(), entry{}, change)))
		_, _ = io.CopyN(io.Discard, b, MaxBody)
		change(func(s *Seen) {
			if s.Protocol != socket {
				s.Body, s.Size, s.SHA = b.begin, b.size, hex.EncodeToString(b.sum.Sum(nil))
			}
			s.Ended = true
		})
	})
}

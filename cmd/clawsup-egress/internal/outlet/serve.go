// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
)

const maxHeader = 64 << 10 // bytes of a request's head

// connKey is where a request has its connection.
type connKey struct{}

func newServer(handler http.Handler) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	return &http.Server{
		Handler:                      handler,
		Protocols:                    protocols,
		MaxHeaderBytes:               maxHeader,
		ReadHeaderTimeout:            headerLimit,
		IdleTimeout:                  restLimit,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     log.New(io.Discard, "", 0), // of what programs send
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 128, MaxDecoderHeaderTableSize: 4 << 10, MaxEncoderHeaderTableSize: 4 << 10,
			MaxReceiveBufferPerConnection: 128 << 10, MaxReceiveBufferPerStream: 64 << 10, MaxReadFrameSize: 16 << 10,
			SendPingTimeout: restLimit, PingTimeout: headerLimit, WriteByteTimeout: idleLimit,
		},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, originOf(c))
		},
	}
}

// originOf gives the connection beneath what HTTP is spoken on.
func originOf(c net.Conn) *conn {
	switch c := c.(type) {
	case *tls.Conn:
		return c.NetConn().(*conn)
	case *sniffed:
		return c.origin
	}
	return c.(*conn)
}

// serveCaptured answers a request on a connection whose target is known.
func serveCaptured(w http.ResponseWriter, r *http.Request) {
	c := r.Context().Value(connKey{}).(*conn)
	x := &exchange{box: c.box, conn: c, target: c.target, scheme: c.scheme, in: r, w: w}
	if err := x.captured(); err != nil {
		x.refuse(http.StatusMisdirectedRequest, err)
		return
	}
	x.serve()
}

// captured says whether a request is for the target of its connection.
func (x *exchange) captured() error {
	if err := x.target.is(x.box, x.in.Host, x.scheme); err != nil {
		return err
	}
	for _, other := range x.in.Header["Host"] { // of HTTP/2, beside :authority
		if err := x.target.is(x.box, other, x.scheme); err != nil {
			return err
		}
	}
	return nil
}

// buffers are what bodies are copied through.
type buffers struct{ pool sync.Pool }

const bufferSize = 32 << 10

// Get and Put are those of httputil.BufferPool.
func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return p[:]
	}
	return make([]byte, bufferSize)
}

func (b *buffers) Put(p []byte) { b.pool.Put((*[bufferSize]byte)(p)) }

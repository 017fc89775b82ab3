// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"errors"
	"io"
	"net/http"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// serveProxy answers programs that use a proxy of their own accord (RFC 9110,
// 3.7 and 9.3.6): a request in absolute-form, or CONNECT.
func serveProxy(w http.ResponseWriter, r *http.Request) {
	c := r.Context().Value(connKey{}).(*conn)
	x := &exchange{box: c.box, conn: c, scheme: "http", in: r, w: w}
	if r.Method == http.MethodConnect {
		x.tunnel()
		return
	}
	if err := x.absolute(); err != nil {
		x.refuse(http.StatusBadRequest, err)
		return
	}
	delete(r.Header, "Proxy-Connection")
	delete(r.Header, "Proxy-Authorization") // it was for this proxy, which needs none
	x.serve()
}

// absolute finds the target of a request. The Host that stands beside it is
// passed over, as a proxy has to (RFC 9112, 3.2.2), and net/http does that.
func (x *exchange) absolute() error {
	u := x.in.URL
	if u.Scheme != "http" || u.Host == "" {
		return &refusedError{packet.RefusedProtocol, "a proxy wants a request for http://HOST/, or CONNECT"}
	}
	host, port, err := splitAuthority(u.Host)
	if err != nil {
		return err
	}
	if port == 0 {
		port = ports["http"]
	}
	if x.target, err = x.box.targetNamed(host, port); err != nil {
		return err
	}
	if u.Path == "" && u.RawPath == "" {
		u.Path = "/"
	}
	return nil
}

// tunnel answers CONNECT, and has the connection go on as one to its target would.
func (x *exchange) tunnel() {
	host, port, err := splitAuthority(x.in.Host)
	if err == nil && port == 0 {
		err = &refusedError{packet.RefusedProtocol, "CONNECT wants HOST:PORT"}
	}
	var t target
	if err == nil {
		t, err = x.box.targetNamed(host, port)
	}
	if x.target = t; err != nil {
		x.refuse(http.StatusBadRequest, err)
		return
	}
	switch verdict, err := x.box.verdict(x.in.Context(), t); {
	case err != nil:
		x.answer(http.StatusServiceUnavailable, "denied: it could not be asked for", "")
		return
	case !verdict.Allow:
		x.no(verdict)
		return
	}
	_, early, err := http.NewResponseController(x.w).Hijack()
	if err != nil { // HTTP/2, which is not spoken without TLS
		x.answer(http.StatusNotImplemented, "denied: CONNECT is of HTTP/1.1", "")
		return
	}
	c := x.conn
	head := make([]byte, early.Reader.Buffered())
	if _, err := io.ReadFull(early.Reader, head); err != nil {
		c.reset()
		return
	}
	c.head = head
	if _, err := io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		c.reset()
		return
	}
	go x.box.pass(c, t) // net/http is done with it
}

// readSome is io.ReadFull with an end that is always an error.
func readSome(r io.Reader, p []byte) error {
	_, err := io.ReadFull(r, p)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

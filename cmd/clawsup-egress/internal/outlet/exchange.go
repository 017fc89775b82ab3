// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/clawsup/clawsup/cmd/clawsup-egress/internal/credential"
	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/relay/boxed"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// exchange is one request and its answer.
type exchange struct {
	box    *box
	conn   *conn
	target target
	scheme string
	in     *http.Request
	w      http.ResponseWriter

	socket  bool // it opens a WebSocket
	found   *credential.Found
	body    []byte // if it was read whole
	held    int64  // bytes of bodies
	query   packet.Query
	verdict packet.Verdict
	traffic traffic
}

// webSocket is the method of a WebSocket's opening.
const webSocket = "WEBSOCKET"

const maxMethod = 32 // bytes

// ticketHeader has the number of the ticket that a request was denied by.
const ticketHeader = "Clawsup-Ticket"

// serve answers it.
func (x *exchange) serve() {
	defer func() { x.free() }()
	// At first, so that whatever else is wrong, a placeholder is told as one.
	found, refusal := x.box.secrets.Inspect(x.target.host, x.target.port, x.in)
	if refusal != nil {
		x.refuse(http.StatusForbidden, &refusedError{refusal.Kind, refusal.Detail})
		return
	}
	x.found = found
	if status, err := x.check(); err != nil {
		x.refuse(status, err)
		return
	}
	if x.box.bytes.over.Load() {
		x.refuse(http.StatusForbidden, errCap)
		return
	}
	if status, err := x.inspect(); err != nil {
		x.refuse(status, err)
		return
	}
	if !x.ask() {
		return
	}
	x.carry()
}

// check refuses what this is not the place for.
func (x *exchange) check() (status int, err error) {
	r := x.in
	fail := func(status int, format string, args ...any) (int, error) {
		return status, &refusedError{packet.RefusedProtocol, fmt.Sprintf(format, args...)}
	}
	switch {
	case r.Method == http.MethodConnect || r.Method == webSocket || len(r.Method) > maxMethod:
		return fail(http.StatusNotImplemented, "a method that is not passed on")
	case !strings.HasPrefix(r.URL.EscapedPath(), "/") || r.URL.User != nil || r.URL.Opaque != "":
		return fail(http.StatusBadRequest, "a request target that is no path")
	case len(r.URL.EscapedPath()) > packet.MaxPath || len(r.URL.RawQuery) > packet.MaxSearch:
		return fail(http.StatusRequestURITooLong, "a path or a query of more than %d bytes", packet.MaxPath)
	case len(r.Trailer) > 0 || r.Header["Trailer"] != nil:
		return fail(http.StatusBadRequest, "trailers of requests are not passed on")
	}
	if _, _, err := profiles.NormalPath(r.URL.EscapedPath()); err != nil {
		return fail(http.StatusBadRequest, "%s", err)
	}
	return x.upgrade()
}

// upgrade looks at what else the program wants to speak.
func (x *exchange) upgrade() (status int, err error) {
	h := x.in.Header
	list := h["Upgrade"]
	if len(list) == 0 {
		return 0, nil
	}
	switch protocol := strings.ToLower(strings.Join(list, ",")); {
	case protocol == "h2c": // which is as good as not asked for (RFC 9110, 7.8)
		h.Del("Upgrade")
		h.Del("HTTP2-Settings")
		return 0, nil
	case protocol == "websocket" && x.in.ProtoAtLeast(1, 1) && x.in.ProtoMajor == 1 && x.in.Method == http.MethodGet &&
		x.in.ContentLength == 0 && hasToken(h["Connection"], "upgrade") && h.Get("Sec-Websocket-Version") == "13" && len(h["Sec-Websocket-Key"]) == 1:
		x.socket = true
		return 0, nil
	}
	return http.StatusBadRequest, &refusedError{packet.RefusedProtocol, "an upgrade to another protocol, or no whole opening of a WebSocket"}
}

// hasToken says whether a list of tokens has one, in lower case.
func hasToken(values []string, token string) bool {
	return slices.ContainsFunc(strings.Split(strings.Join(values, ","), ","), func(s string) bool {
		return strings.ToLower(strings.Trim(s, " \t")) == token
	})
}

// inspect looks at the body, where that is needed, and makes the question.
func (x *exchange) inspect() (status int, err error) {
	found, size := x.found, x.in.ContentLength
	if whole := found.NeedsBody(); whole || x.fieldsInBody() {
		if err := x.readBody(); err != nil {
			return http.StatusBadRequest, err
		}
		if x.body == nil && whole {
			return http.StatusRequestEntityTooLarge, &refusedError{packet.RefusedCredential, "a body that can't be looked at for secrets: it is too long, or too many wait"}
		}
		if x.body != nil {
			size = int64(len(x.body))
		}
		if whole {
			if refusal := found.InspectBody(x.body); refusal != nil {
				return http.StatusForbidden, &refusedError{refusal.Kind, refusal.Detail}
			}
		}
	}
	x.query = packet.Query{
		Through: packet.HTTP, Host: x.target.host, Port: x.target.port, Scheme: x.scheme, Method: x.in.Method,
		Path: found.Path(), Search: found.Search(), Size: size, Uses: found.Uses,
	}
	if x.socket {
		x.query.Method = webSocket
	}
	if len(x.box.fields) > 0 {
		x.query.Fields, x.query.Unread = credential.Fields(x.box.fields, x.in, x.body)
	}
	return 0, nil
}

// fieldsInBody says whether rules look at fields and the body may have some.
func (x *exchange) fieldsInBody() bool {
	return len(x.box.fields) > 0 && x.in.ContentLength != 0 && x.in.ContentLength <= credential.MaxBody
}

// firstBody is what is read of a body at once at first, in bytes.
const firstBody = 8 << 10

// readBody reads it whole. If it is too long, or there is no room, body stays
// nil, and what was read is read again.
func (x *exchange) readBody() error {
	var body []byte
	for {
		if len(body) == cap(body) {
			more := max(firstBody, cap(body))
			if len(body)+more > 2*credential.MaxBody || !x.hold(int64(more)) {
				x.in.Body = again(body, x.in.Body)
				return nil
			}
			body = append(make([]byte, 0, len(body)+more), body...)
		}
		n, err := x.in.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case len(body) > credential.MaxBody:
			x.in.Body = again(body, x.in.Body)
			return nil
		case errors.Is(err, io.EOF):
			x.body, x.in.Body = body, again(body, x.in.Body)
			return nil
		case err != nil:
			return err
		}
	}
}

// hold takes room for bytes of a body.
func (x *exchange) hold(n int64) bool {
	if !claim(&x.box.held, &x.box.outlet.held, n) {
		return false
	}
	x.held += n
	return true
}

// free gives that room back.
func (x *exchange) free() {
	give(&x.box.held, &x.box.outlet.held, x.held)
}

// again is a body of which the first part was read already.
func again(head []byte, rest io.ReadCloser) io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), rest), rest}
}

// ask has clawsupd decide. If it says no, that is answered.
func (x *exchange) ask() bool {
	early, err := x.box.verdict(x.in.Context(), x.target)
	if err == nil && !early.Allow {
		x.no(early)
		return false
	}
	if err == nil {
		x.query.Addresses = x.box.early(x.in.Context(), x.target, early)
		x.verdict, err = x.decide()
	}
	switch {
	case errors.Is(err, context.Canceled):
		panic(http.ErrAbortHandler) // nobody reads it
	case errors.Is(err, boxed.ErrBusy):
		x.answer(http.StatusServiceUnavailable, "denied: "+err.Error(), "")
	case err != nil:
		x.answer(http.StatusServiceUnavailable, "denied: it could not be asked for", "")
	case !x.verdict.Allow:
		x.no(x.verdict)
	default:
		return true
	}
	return false
}

// decide asks, for as long as the program waits. While there is a body to be
// read, nobody reads the connection, so that it has to be watched.
func (x *exchange) decide() (packet.Verdict, error) {
	ctx := x.in.Context()
	if x.in.ProtoMajor == 1 && x.in.ContentLength != 0 && x.body == nil {
		held, rest := x.conn.hold(ctx, false)
		defer rest()
		ctx = held
	}
	return x.conn.ask(ctx, x.query)
}

// no answers what clawsupd denied.
func (x *exchange) no(v packet.Verdict) {
	reason := strings.Join(strings.Fields(v.Reason), " ")
	if reason == "" {
		reason = "no rule allows it"
	}
	x.answer(http.StatusForbidden, "denied: "+reason, v.Ticket)
}

// refuse answers what is refused here, and tells it.
func (x *exchange) refuse(status int, err error) {
	x.box.refuse(x.target, err)
	x.answer(status, "denied: "+reason(err), "")
}

// answer is one of this program's own.
func (x *exchange) answer(status int, text, ticket string) {
	h := x.w.Header()
	clear(h)
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	if ticket != "" {
		h.Set(ticketHeader, ticket)
		text += " (ticket " + ticket + ")"
	}
	x.w.WriteHeader(status)
	_, _ = io.WriteString(x.w, "clawsup: "+x.box.mask.Load().Text(text)+"\n")
}

// carry has the request go out and its answer come in. That net/http aborts the
// answer to the program shows as a panic (http.ErrAbortHandler), which goes on.
func (x *exchange) carry() {
	x.traffic.begin()
	defer func() {
		if refused := x.traffic.refused(); refused != nil {
			x.box.refuse(x.target, refused)
		}
		sum := x.traffic.sum()
		sum.Error = x.box.mask.Load().Text(sum.Error) // a server has a say in it, by its certificate
		x.box.outlet.Host.Ended(x.box.id, x.verdict.Decision, sum)
	}()
	if !x.box.given(x.verdict.Values) {
		x.fail(errors.New("more values than this box may have"))
		return
	}
	(&httputil.ReverseProxy{
		Rewrite:        x.rewrite,
		Transport:      x,
		ModifyResponse: x.modify,
		ErrorHandler:   func(_ http.ResponseWriter, _ *http.Request, err error) { x.fail(err) },
		BufferPool:     &x.box.outlet.buffers,
		ErrorLog:       discard,
	}).ServeHTTP(x.w, x.in)
}

var discard = log.New(io.Discard, "", 0)

// fail answers what the server did not, or what of it does not pass.
func (x *exchange) fail(err error) {
	if refused := x.traffic.refused(); refused != nil {
		err = refused
	}
	x.failed(err)
	if x.box.bytes.over.Load() {
		err = errCap
	}
	var refused *refusedError
	ours := errors.As(err, &refused) && !x.traffic.answered()
	if ours && (refused.kind == packet.RefusedPlaceholder || refused.kind == packet.RefusedCredential || refused.kind == packet.RefusedCap) {
		x.answer(http.StatusForbidden, "denied: "+reason(err), "")
		return
	}
	x.answer(http.StatusBadGateway, "failed: "+reason(err), "")
}

// failed notes why it failed. Where a bound of bytes was reached it is that,
// whatever net/http makes of it.
func (x *exchange) failed(err error) {
	if x.box.bytes.over.Load() && !errors.Is(err, io.EOF) {
		err = errCap
	}
	x.traffic.failed(err)
}

// forwarding are headers that a proxy would take out, and that are nothing of this one's.
var forwarding = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"}

// rewrite makes what goes to the server of what the program sent.
func (x *exchange) rewrite(p *httputil.ProxyRequest) {
	r := p.Out
	r.URL.Scheme, r.URL.Host, r.Host = x.scheme, x.target.authority(x.scheme), ""
	r.URL.RawQuery = p.In.URL.RawQuery
	r.Header.Del("Host")
	for _, name := range forwarding {
		if values, ok := p.In.Header[name]; ok {
			r.Header[name] = values
		}
	}
	if x.socket && (x.found.NeedsMessages() || x.box.mask.Load() != nil) {
		r.Header.Del("Sec-Websocket-Extensions") // what is compressed can't be looked at
	}
	if x.box.mask.Load() != nil {
		r.Header.Set("Accept-Encoding", "identity")
	}
	if r.Body != nil && !x.found.NeedsBody() {
		r.Body = x.found.Watch(r.Body)
	}
}

// RoundTrip puts values in and sends the request.
func (x *exchange) RoundTrip(r *http.Request) (*http.Response, error) {
	if len(x.found.Uses) > 0 || x.found.NeedsBody() {
		if _, err := x.found.Fill(r, x.body, x.verdict.Values); err != nil {
			return nil, &refusedError{packet.RefusedCredential, err.Error()}
		}
	}
	if r.Body != nil {
		r.Body = &counted{ReadCloser: r.Body, x: x, count: &x.traffic.sent}
	}
	way, err := x.box.way(x)
	if err != nil {
		return nil, err
	}
	ctx := context.WithValue(r.Context(), exchangeKey{}, x)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { x.traffic.at(info.Conn.RemoteAddr()) },
		Got1xxResponse: func(_ int, h textproto.MIMEHeader) error { // is passed on after this
			x.box.mask.Load().Header(http.Header(h))
			return nil
		},
	})
	return way.RoundTrip(r.WithContext(ctx))
}

// modify looks at the answer before it is passed on.
func (x *exchange) modify(answer *http.Response) error {
	x.traffic.status(answer.StatusCode)
	if answer.StatusCode == http.StatusSwitchingProtocols {
		return x.open(answer)
	}
	for _, name := range []string{"Content-Type", "Date"} { // which net/http would add
		x.w.Header()[name] = nil
	}
	answer.Header.Del(ticketHeader) // which no server has a say in
	answer.Body = &counted{ReadCloser: answer.Body, x: x, count: &x.traffic.received, answer: answer}
	if x.box.mask.Load() != nil && x.in.Method != http.MethodHead && isEncoded(answer.Header) {
		return &refusedError{packet.RefusedCredential, "the answer is compressed, so that it can't be looked at for secrets"}
	}
	if err := x.capture(answer); err != nil {
		return err
	}
	if len(answer.Trailer) > 0 { // HTTP/1.1 has room for one behind chunks alone
		answer.ContentLength = -1
		answer.Header.Del("Content-Length")
	}
	mask := x.box.mask.Load()
	mask.Header(answer.Header)
	mask.Header(answer.Trailer) // names, or what came with a token
	answer.Body = x.box.masked(answer.Body)
	return nil
}

// isEncoded says whether an answer is in any coding.
func isEncoded(h http.Header) bool {
	for _, v := range h["Content-Encoding"] {
		if coding := strings.ToLower(strings.TrimSpace(v)); coding != "" && coding != "identity" {
			return true
		}
	}
	return false
}

// capture takes tokens out of an answer, where a secret's binding says so.
func (x *exchange) capture(answer *http.Response) error {
	list := x.box.secrets.Captures(x.target.host, x.target.port, x.query.Path)
	if len(list) == 0 || answer.StatusCode/100 != 2 {
		return nil
	}
	if isEncoded(answer.Header) {
		return &refusedError{packet.RefusedCredential, "the answer is compressed, so that its token can't be taken out"}
	}
	if !x.hold(credential.MaxBody) {
		return &refusedError{packet.RefusedCap, "too many answers with tokens at a time"}
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, credential.MaxBody+1))
	if err != nil {
		return err
	}
	if len(body) > credential.MaxBody {
		return &refusedError{packet.RefusedCredential, "the answer with the token is too long"}
	}
	for _, c := range list {
		token, found, err := credential.Token(body, c.Field)
		if err != nil {
			return &refusedError{packet.RefusedCredential, err.Error()}
		}
		if !found {
			continue
		}
		verdict, err := x.box.outlet.Host.Capture(x.in.Context(), x.box.id, packet.Captured{Secret: c.Secret, Field: c.Field, Value: token})
		switch {
		case err != nil:
			return err
		case !verdict.Allow || verdict.Placeholder == "" || !x.box.given([]packet.Value{{Secret: c.Secret + "." + c.Field, Value: token}}):
			return &refusedError{packet.RefusedCredential, "the token of the answer could not be kept as a secret"}
		}
		if body, err = credential.Replace(body, c.Field, verdict.Placeholder); err != nil {
			return &refusedError{packet.RefusedCredential, err.Error()}
		}
	}
	answer.Body = struct {
		io.Reader
		io.Closer
	}{bytes.NewReader(body), answer.Body}
	answer.ContentLength = int64(len(body))
	answer.Header.Set("Content-Length", fmt.Sprint(len(body)))
	answer.TransferEncoding = nil
	return nil
}

// open makes the two directions of a WebSocket.
func (x *exchange) open(answer *http.Response) error {
	if !x.socket {
		return &refusedError{packet.RefusedProtocol, "the server changes to another protocol unasked"}
	}
	server, ok := answer.Body.(io.ReadWriteCloser)
	if !ok {
		return errors.New("a WebSocket that can't be written to")
	}
	x.box.mask.Load().Header(answer.Header)
	answer.Status = "" // it would be passed on, with whatever the server says there
	s := &webSocketConn{x: x, server: server}
	s.from = x.box.masked(&counted{ReadCloser: server, x: x, count: &x.traffic.received})
	if x.found.NeedsMessages() {
		s.look()
	}
	answer.Body = s
	return nil
}

// values asks for what stands in a message of a WebSocket.
func (x *exchange) values(uses []packet.Use) ([]packet.Value, error) {
	q := x.query
	q.Uses = uses
	v, err := x.conn.ask(x.in.Context(), q) // which ends with the WebSocket
	if err != nil {
		return nil, err
	}
	if !v.Allow {
		return nil, errors.New("denied")
	}
	defer x.box.outlet.Host.Ended(x.box.id, v.Decision, packet.Traffic{Status: http.StatusSwitchingProtocols, Took: time.Nanosecond})
	if !x.box.given(v.Values) {
		return nil, errors.New("more values than this box may have")
	}
	return v.Values, nil
}

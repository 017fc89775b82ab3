// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// What could be read in two ways reaches the server as one whole request, or not
// at all, and clawsupd was asked for each that does.
func TestSmuggling(t *testing.T) {
	host := "\r\nHost: " + name + ":%d\r\n"
	second := "GET /smuggled HTTP/1.1" + host + "\r\n"
	corpus := map[string]string{
		"length and chunks":             "POST / HTTP/1.1" + host + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second,
		"chunks and length":             "POST / HTTP/1.1" + host + "Transfer-Encoding: chunked\r\nContent-Length: 60\r\n\r\n0\r\n\r\n" + second,
		"two lengths":                   "POST / HTTP/1.1" + host + "Content-Length: 0\r\nContent-Length: 50\r\n\r\n" + second,
		"a list of lengths":             "POST / HTTP/1.1" + host + "Content-Length: 0, 0\r\n\r\n" + second,
		"a signed length":               "POST / HTTP/1.1" + host + "Content-Length: +0\r\n\r\n" + second,
		"a negative length":             "POST / HTTP/1.1" + host + "Content-Length: -1\r\n\r\n" + second,
		"another coding":                "POST / HTTP/1.1" + host + "Transfer-Encoding: xchunked\r\n\r\n" + second,
		"two codings":                   "POST / HTTP/1.1" + host + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + second,
		"a coding behind a tab":         "POST / HTTP/1.1" + host + "Transfer-Encoding:\tchunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" + second,
		"a space before the colon":      "POST / HTTP/1.1" + host + "Content-Length : 50\r\n\r\n" + second,
		"a folded header":               "POST / HTTP/1.1" + host + "X: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n" + second,
		"bare line feeds":               "POST / HTTP/1.1" + strings.ReplaceAll(host, "\r", "") + "Content-Length: 0\n\n" + second,
		"a bare carriage return":        "POST / HTTP/1.1" + host + "X: a\rContent-Length: 50\r\n\r\n" + second,
		"a NUL in a header":             "POST / HTTP/1.1" + host + "X: a\x00b\r\n\r\n",
		"two hosts":                     "GET / HTTP/1.1" + host + "Host: other.example.com\r\n\r\n",
		"two equal hosts":               "GET / HTTP/1.1" + host + strings.TrimPrefix(host, "\r\n") + "\r\n",
		"no host":                       "GET / HTTP/1.1\r\n\r\n",
		"another host":                  "GET / HTTP/1.1\r\nHost: other.example.com\r\n\r\n",
		"absolute form of another host": "GET http://other.example.com/ HTTP/1.1" + host + "\r\n",
		"chunk extensions":              "POST / HTTP/1.1" + host + "Transfer-Encoding: chunked\r\n\r\n1;x=\"\r\n\";y\r\na\r\n0\r\n\r\n",
		"a long chunk extension":        "POST / HTTP/1.1" + host + "Transfer-Encoding: chunked\r\n\r\n1;" + strings.Repeat("x", 100_000) + "\r\na\r\n0\r\n\r\n",
		"a chunk size that overflows":   "POST / HTTP/1.1" + host + "Transfer-Encoding: chunked\r\n\r\n10000000000000001\r\na\r\n0\r\n\r\n",
		"a chunk size in hexadecimal":   "POST / HTTP/1.1" + host + "Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
		"trailers":                      "POST / HTTP/1.1" + host + "Transfer-Encoding: chunked\r\nTrailer: X-Smuggled\r\n\r\n0\r\nX-Smuggled: 1\r\n\r\n",
		"unannounced trailers":          "POST / HTTP/1.1" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 7\r\nX-Smuggled: 1\r\n\r\n",
		"a body of GET":                 "GET / HTTP/1.1" + host + "Content-Length: 60\r\n\r\n" + second,
		"a large head":                  "GET / HTTP/1.1" + host + "X: " + strings.Repeat("x", 80<<10) + "\r\n\r\n",
		"a large line":                  "GET /" + strings.Repeat("x", 80<<10) + " HTTP/1.1" + host + "\r\n",
		"a long path":                   "GET /" + strings.Repeat("x", packet.MaxPath) + " HTTP/1.1" + host + "\r\n",
		"an old protocol":               "GET /\r\n",
		"a new protocol":                "GET / HTTP/3.0" + host + "\r\n",
		"HTTP/2":                        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"CONNECT":                       "CONNECT other.example.com:443 HTTP/1.1" + host + "\r\n",
		"the method of a WebSocket":     "WEBSOCKET / HTTP/1.1" + host + "\r\n",
		"an upgrade":                    "GET / HTTP/1.1" + host + "Connection: Upgrade\r\nUpgrade: smuggle\r\n\r\n",
		"a WebSocket with a body":       "GET / HTTP/1.1" + host + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nContent-Length: 5\r\n\r\nhello",
		"a POST that is a WebSocket":    "POST / HTTP/1.1" + host + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
		"asterisk":                      "OPTIONS * HTTP/1.1" + host + "\r\n",
		"dot segments":                  "GET /v1/../admin HTTP/1.1" + host + "\r\n",
		"encoded dot segments":          "GET /v1/%2e%2E/admin HTTP/1.1" + host + "\r\n",
		"dots behind encoded slashes":   "GET /v1%2f..%2fadmin HTTP/1.1" + host + "\r\n",
		"dots behind backslashes":       "GET /v1%5C..%5cadmin HTTP/1.1" + host + "\r\n",
		"dots encoded twice":            "GET /v1/%252e%252e/admin HTTP/1.1" + host + "\r\n",
		"dots with parameters":          "GET /v1/..;x/admin HTTP/1.1" + host + "\r\n",
		"a NUL in a path":               "GET /v1%00/admin HTTP/1.1" + host + "\r\n",
		"a broken percent":              "GET /v1%zz HTTP/1.1" + host + "\r\n",
		"a path with a host":            "GET //other.example.com/ HTTP/1.1" + host + "\r\n",
	}
	for what, text := range corpus {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			var seen atomic.Int64
			port := w.server("http", func(rw http.ResponseWriter, r *http.Request) {
				seen.Add(1)
				_, _ = io.Copy(io.Discard, r.Body)
				switch {
				case r.Host != fmt.Sprintf("%s:%d", name, w.to.Load().Port()):
					t.Errorf("it is for %q", r.Host)
				case r.Header.Get("X-Smuggled") != "" || r.Trailer != nil:
					t.Error("it has trailers")
				case r.Header.Get("Upgrade") != "" || strings.Contains(r.URL.Path, "admin"):
					t.Errorf("it is %+v", r)
				}
			})
			w.leads(port)
			w.named.Store(&packet.Verdict{Allow: true})
			w.answer(func(q packet.Query) packet.Verdict {
				if q.Through != packet.HTTP {
					return packet.Verdict{}
				}
				return yes()
			})
			c, err := net.Dial("tcp", w.gate)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			text := text
			if strings.Contains(text, "%d") {
				text = strings.ReplaceAll(text, ":%d", fmt.Sprintf(":%d", port))
			}
			// One more that ends the connection, wherever it is taken to begin.
			text += fmt.Sprintf("GET /last HTTP/1.1\r\nHost: %s:%d\r\nConnection: close\r\n\r\n", name, port)
			go func() { _, _ = io.WriteString(c, text) }()
			_ = c.SetReadDeadline(time.Now().Add(2 * time.Second)) // where it is all part of a body
			_, _ = io.Copy(io.Discard, c)
			asked := 0
			for _, q := range w.asked() {
				if q.Through == packet.HTTP {
					asked++
				}
			}
			if n := seen.Load(); n > int64(asked) {
				t.Errorf("the server saw %d requests, and clawsupd was asked for %d", n, asked)
			}
		})
	}
}

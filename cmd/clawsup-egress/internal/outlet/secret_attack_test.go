// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// quiet is a value that looks the same in whatever case a header's name gets.
const quiet = "9f8e7d6c5b4a39281706f5e4d3c2b1a0"

// spoken asks over a raw connection and gives all that comes back, as it is on
// the wire: net/http's client would not show everything.
func spoken(t *testing.T, w *world, request string) string {
	t.Helper()
	c := w.dial()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("%v, after %q", err, all)
	}
	return string(all)
}

// echoing is a server without TLS that answers every request with what talk says.
func echoing(w *world, talk func(key string) string) uint16 {
	return w.raw(func(c *net.TCPConn) {
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, talk(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")))
	})
}

// TestEchoes: a server that sends back what it got, wherever in an answer there
// is room for it. The box sees asterisks, or nothing.
func TestEchoes(t *testing.T) {
	const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
	for what, one := range map[string]struct {
		more string // headers of the request
		talk func(key string) string
	}{
		"the reason": {talk: func(key string) string { return "HTTP/1.1 200 " + key + "\r\nContent-Length: 2\r\n\r\nok" }},
		"the reason of a WebSocket's opening": {
			more: upgrade + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
			talk: func(key string) string {
				return "HTTP/1.1 101 " + key + "\r\n" + upgrade + "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
			},
		},
		"a header's name": {talk: func(key string) string {
			return "HTTP/1.1 200 OK\r\n" + key + ": 1\r\nContent-Length: 2\r\n\r\nok"
		}},
		"a header's name, with more in it": {talk: func(key string) string {
			return "HTTP/1.1 200 OK\r\nX-" + strings.ToUpper(key) + "-Y: 1\r\nContent-Length: 2\r\n\r\nok"
		}},
		"a header": {talk: func(key string) string {
			return "HTTP/1.1 302 Found\r\nLocation: /?k=" + key + "\r\nSet-Cookie: k=" + key + "\r\nContent-Length: 0\r\n\r\n"
		}},
		"an early answer": {talk: func(key string) string {
			return "HTTP/1.1 103 Early Hints\r\nLink: </" + key + ">\r\n" + key + ": 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
		}},
		"an announced trailer": {talk: func(key string) string {
			return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n2\r\nok\r\n0\r\nX-End: " + key + "\r\n\r\n"
		}},
		"a trailer that was not announced": {talk: func(key string) string {
			return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-End: " + key + "\r\n\r\n"
		}},
		"a trailer's name": {talk: func(key string) string {
			return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: " + key + "\r\n\r\n2\r\nok\r\n0\r\n" + key + ": 1\r\n\r\n"
		}},
		"an extension of a chunk": {talk: func(key string) string {
			return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;k=" + key + "\r\nok\r\n0\r\n\r\n"
		}},
		"two chunks": {talk: func(key string) string {
			return fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", key[:5], len(key)-5, key[5:])
		}},
		"the type of the answer": {talk: func(key string) string {
			return "HTTP/1.1 200 OK\r\nContent-Type: multipart/byteranges; boundary=" + key + "\r\nContent-Length: 2\r\n\r\nok"
		}},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			port := echoing(w, one.talk)
			w.leads(port)
			binds(w, port, bearer)
			w.answer(func(packet.Query) packet.Verdict {
				v := yes()
				v.Values = []packet.Value{{Secret: "key", Value: []byte(quiet)}}
				return v
			})
			if one.more == "" {
				one.more = "Connection: close\r\n"
			}
			got := spoken(t, w, fmt.Sprintf("GET / HTTP/1.1\r\nHost: %s:%d\r\nAuthorization: Bearer %s\r\n%s\r\n", name, port, placeholder, one.more))
			if !strings.HasPrefix(got, "HTTP/1.1 ") {
				t.Fatalf("no answer: %q", got)
			}
			if strings.Contains(strings.ToLower(got), quiet) {
				t.Errorf("the box got the value: %q", got)
			}
		})
	}
}

// TestTrailersOfTwo: the same over HTTP/2, where trailers need no announcement.
func TestTrailersOfTwo(t *testing.T) {
	w := newWorld(t)
	port := w.server("https", func(rw http.ResponseWriter, r *http.Request) {
		key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		_, _ = io.WriteString(rw, "ok")
		rw.Header().Set(http.TrailerPrefix+"X-End", key)
		rw.Header().Set(http.TrailerPrefix+"X-"+key, "1")
	})
	w.leads(port)
	binds(w, port, bearer)
	r := request(t, "GET", at("https", port, "/"), nil)
	r.Header.Set("Authorization", "Bearer "+placeholder)
	answer, _ := get(t, w.client("h2"), r)
	if text := fmt.Sprint(answer.Header, answer.Trailer); strings.Contains(strings.ToLower(text), value) || answer.Trailer.Get("X-End") == "" {
		t.Errorf("%s", text)
	}
}

// TestTokenEchoes: a token that is captured is masked in all of the answer that
// it came in.
func TestTokenEchoes(t *testing.T) {
	const token = "eyJ-the-token-of-the-endpoint-0123456789"
	w := newWorld(t)
	w.capture = func(packet.Captured) packet.Verdict {
		return packet.Verdict{Allow: true, Placeholder: "clawsup-secret:key.access_token:0123456789abcdef"}
	}
	port := echoing(w, func(string) string {
		body := `{"access_token":"` + token + `","again":"` + token + `"}`
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Token: %s\r\nTransfer-Encoding: chunked\r\nTrailer: X-Told\r\n\r\n%x\r\n%s\r\n0\r\nX-Told: %[1]s\r\nX-Untold: %[1]s\r\n\r\n", token, len(body), body)
	})
	w.leads(port)
	binds(w, port, bearer)
	got := spoken(t, w, fmt.Sprintf("GET /token HTTP/1.1\r\nHost: %s:%d\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n", name, port, placeholder))
	if !strings.Contains(got, "clawsup-secret:key.access_token") || strings.Contains(got, token) {
		t.Errorf("%q", got)
	}
}

// TestCertificateEchoes: names in a certificate are the server's words too, and
// go into an answer and a receipt.
func TestCertificateEchoes(t *testing.T) {
	w := newWorld(t)
	var other atomic.Bool
	port := w.server("https", func(rw http.ResponseWriter, _ *http.Request) {
		other.Store(true)
		rw.Header().Set("Connection", "close")
	}, func(_ *http.Server, c *tls.Config) {
		leaf := w.beyond.leaf(t, quiet+".example.com")
		c.NextProtos = []string{"http/1.1"}
		c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if other.Load() {
				return &leaf, nil
			}
			return &c.Certificates[0], nil
		}
	})
	w.leads(port)
	binds(w, port, bearer)
	w.answer(func(packet.Query) packet.Verdict {
		v := yes()
		v.Values = []packet.Value{{Secret: "key", Value: []byte(quiet)}}
		return v
	})
	var body string
	for range 2 {
		r := request(t, "GET", at("https", port, "/"), nil)
		r.Header.Set("Authorization", "Bearer "+placeholder)
		_, body = get(t, w.client("http/1.1"), r)
	}
	w.until(t, "the end of both", func() bool { return len(w.ended) == 2 })
	for what, text := range map[string]string{"answer": body, "receipt": w.ended[2].Error} {
		if !strings.Contains(text, "certificate is refused") || strings.Contains(text, quiet) {
			t.Errorf("the %s is %q", what, text)
		}
	}
}

// TestValuesAreBounded: who has a token endpoint can make a box have any number of
// tokens, which take memory that is everybody's.
func TestValuesAreBounded(t *testing.T) {
	w := newWorld(t)
	token := func(n int) []packet.Value {
		return []packet.Value{{Secret: "key.access_token", Value: fmt.Appendf(nil, "%08d%s", n, strings.Repeat("x", 4096))}}
	}
	for n := range 3 * maxOfSecret {
		if !w.box.given(token(n)) {
			t.Fatalf("no room for token %d, which takes the place of the first", n)
		}
	}
	if n := len(w.box.values); n != maxOfSecret {
		t.Errorf("%d values are kept", n)
	}
	text := w.box.mask.Load().Text(string(token(3*maxOfSecret - 1)[0].Value))
	if strings.Trim(text, "*") != "" {
		t.Error("the newest is not masked")
	}
	for n := 0; w.box.given([]packet.Value{{Secret: fmt.Sprint(n), Value: fmt.Appendf(nil, "%d%s", n, strings.Repeat("y", 8000))}}); n++ {
		if n > maxValueBytes/8000 {
			t.Fatal("there is room without end")
		}
	}
}

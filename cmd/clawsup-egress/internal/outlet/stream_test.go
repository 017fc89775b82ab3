// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"bufio"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// Each event of a server arrives before the next is made.
func TestEvents(t *testing.T) {
	for _, protocol := range []string{"http/1.1", "h2"} {
		w := newWorld(t)
		next := make(chan bool)
		port := w.server("https", func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "text/event-stream")
			for i := range 3 {
				_, _ = fmt.Fprintf(rw, "data: %d\n\n", i)
				_ = http.NewResponseController(rw).Flush()
				<-next
			}
		})
		w.leads(port)
		answer, err := w.client(protocol).Get(at("https", port, "/"))
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		lines := bufio.NewReader(answer.Body)
		for i := range 3 {
			if line, err := lines.ReadString('\n'); err != nil || line != fmt.Sprintf("data: %d\n", i) {
				t.Fatalf("%q, %v", line, err)
			}
			_, _ = lines.ReadString('\n')
			next <- true
		}
	}
}

// zeros is a long body.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// A long body passes both ways, and memory stays as it was.
func TestLongStreams(t *testing.T) {
	const long = 1 << 30
	if testing.Short() {
		t.Skip("moves gigabytes")
	}
	for _, protocol := range []string{"http/1.1", "h2"} {
		w := newWorld(t)
		port := w.server("https", func(rw http.ResponseWriter, r *http.Request) {
			if n, err := io.Copy(io.Discard, r.Body); r.Method == "POST" && (n != long/4 || err != nil) {
				t.Errorf("the server got %d bytes: %v", n, err)
			}
			if r.Method == "GET" {
				_, _ = io.Copy(rw, io.LimitReader(zeros{}, long))
			}
		})
		w.leads(port)
		c := w.client(protocol)
		c.Timeout = 0
		answer, err := c.Get(at("https", port, "/"))
		if err != nil {
			t.Fatal(err)
		}
		inUse := func() int64 { // by what lives: other tests have left the rest
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		before, most := inUse(), int64(0)
		var read int64
		p := make([]byte, 1<<20)
		for {
			n, err := io.ReadFull(answer.Body, p)
			if read += int64(n); read>>27 != (read-int64(n))>>27 {
				most = max(most, inUse()-before)
			}
			if err != nil {
				break
			}
		}
		_ = answer.Body.Close()
		if read != long {
			t.Errorf("%d bytes arrived", read)
		}
		if most > 32<<20 {
			t.Errorf("%d MiB more were in use on the way", most>>20)
		}
		r := request(t, "POST", at("https", port, "/"), io.LimitReader(zeros{}, long/4))
		if answer, _ := get(t, c, r); answer.StatusCode != 200 {
			t.Error(answer.Status)
		}
		w.until(t, "the ends", func() bool { return len(w.ended) == 2 })
		if w.ended[1].Received != long || w.ended[2].Sent != long/4 {
			t.Errorf("%+v", w.ended)
		}
	}
}

// shake opens a WebSocket.
func shake(t *testing.T, c net.Conn, port uint16) (*bufio.Reader, *http.Response) {
	t.Helper()
	key := make([]byte, 16)
	_, _ = rand.Read(key)
	fmt.Fprintf(c, "GET /socket HTTP/1.1\r\nHost: %s:%d\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n",
		name, port, base64.StdEncoding.EncodeToString(key))
	r := bufio.NewReader(c)
	answer, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r, answer
}

// echoSocket is a server's WebSocket that sends back each message.
func echoSocket(rw http.ResponseWriter, r *http.Request) {
	c, _, _, err := ws.UpgradeHTTP(r, rw)
	if err != nil {
		return
	}
	defer c.Close()
	for {
		b, op, err := wsutil.ReadClientData(c)
		if err != nil || wsutil.WriteServerMessage(c, op, b) != nil {
			return
		}
	}
}

func TestWebSocket(t *testing.T) {
	w := newWorld(t)
	port := w.server("https", echoSocket)
	w.leads(port)
	c := tls.Client(w.dial(), &tls.Config{ServerName: name, RootCAs: w.inside.pool()})
	r, answer := shake(t, c, port)
	if answer.StatusCode != 101 {
		t.Fatal(answer.Status)
	}
	for _, text := range []string{"hello", strings.Repeat("long", 100_000)} {
		if err := wsutil.WriteClientText(c, []byte(text)); err != nil {
			t.Fatal(err)
		}
		back, err := wsutil.ReadServerText(struct {
			io.Reader
			io.Writer
		}{r, c})
		if err != nil || string(back) != text {
			t.Errorf("%.20q of %d bytes, %v", back, len(back), err)
		}
	}
	if q := w.asked(); len(q) != 1 || q[0].Method != "WEBSOCKET" || q[0].Path != "/socket" {
		t.Errorf("asked for %+v", q)
	}
	_ = c.Close()
	w.until(t, "the end", func() bool { return len(w.ended) == 1 })
	if e := w.ended[1]; e.Status != 101 || e.Sent < 400_000 || e.Received < 400_000 {
		t.Errorf("ended as %+v", e)
	}
}

func TestWebSocketDenied(t *testing.T) {
	w := newWorld(t)
	port := w.server("http", echoSocket)
	w.leads(port)
	w.answer(func(packet.Query) packet.Verdict { return packet.Verdict{} })
	if _, answer := shake(t, w.dial(), port); answer.StatusCode != 403 {
		t.Error(answer.Status)
	}
}

// A program that reads slowly, or stops, holds up nobody, and the server is not
// read faster than the program reads.
func TestSlowReader(t *testing.T) {
	w := newWorld(t)
	sent := make(chan int64, 1)
	port := w.server("http", func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/quick" {
			return
		}
		n, _ := io.Copy(rw, io.LimitReader(zeros{}, 1<<30))
		sent <- n
	})
	w.leads(port)
	answer, err := w.client("http/1.1").Get(at("http", port, "/slow"))
	if err != nil {
		t.Fatal(err)
	}
	if answer, _ := get(t, w.client("http/1.1"), request(t, "GET", at("http", port, "/quick"), nil)); answer.StatusCode != 200 {
		t.Error(answer.Status)
	}
	_ = answer.Body.Close()
	if n := <-sent; n > 64<<20 {
		t.Errorf("the server could send %d bytes to a program that reads none", n)
	}
}

func TestServerErrors(t *testing.T) {
	for _, c := range []struct {
		what   string
		scheme string
		server func(w *world) uint16
		want   string
	}{
		{"nobody listens", "http", func(w *world) uint16 {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				w.t.Fatal(err)
			}
			defer l.Close()
			return uint16(l.Addr().(*net.TCPAddr).Port)
		}, "refuses the connection"},
		{"another's certificate", "https", func(w *world) uint16 {
			return w.server("https", nil, func(_ *http.Server, c *tls.Config) {
				c.Certificates = []tls.Certificate{w.beyond.leaf(w.t, "other.example.com")}
			})
		}, "certificate is refused"},
		{"an unknown authority", "https", func(w *world) uint16 {
			return w.server("https", nil, func(_ *http.Server, c *tls.Config) {
				c.Certificates = []tls.Certificate{newCA(w.t).leaf(w.t, name)}
			})
		}, "certificate is refused"},
		{"old TLS", "https", func(w *world) uint16 {
			return w.server("https", nil, func(_ *http.Server, c *tls.Config) { c.MaxVersion, c.MinVersion = tls.VersionTLS11, tls.VersionTLS10 })
		}, ""},
		{"no TLS", "https", func(w *world) uint16 { return w.server("http", nil) }, "does not speak TLS"},
		{"no HTTP", "http", func(w *world) uint16 {
			return w.raw(func(c *net.TCPConn) { _, _ = io.WriteString(c, "220 hello\r\n") })
		}, ""},
		{"an end", "http", func(w *world) uint16 { return w.raw(func(c *net.TCPConn) { _, _ = c.Read(make([]byte, 1)) }) }, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			w := newWorld(t)
			port := c.server(w)
			w.leads(port)
			answer, body := get(t, w.client("http/1.1"), request(t, "GET", at(c.scheme, port, "/"), nil))
			if answer.StatusCode != 502 || !strings.HasPrefix(body, "clawsup: failed: ") || !strings.Contains(body, c.want) || strings.Count(body, "\n") != 1 {
				t.Errorf("%s %q", answer.Status, body)
			}
			if strings.Contains(body, "127.0.0.1") {
				t.Errorf("it tells of the host: %q", body)
			}
			w.until(t, "the end", func() bool { return len(w.ended) == 1 })
			if w.ended[1].Error == "" {
				t.Errorf("%+v", w.ended[1])
			}
		})
	}
}

// A redirect is the program's to follow.
func TestRedirect(t *testing.T) {
	w := newWorld(t)
	port := w.server("http", func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, "http://169.254.169.254/latest", http.StatusFound)
	})
	w.leads(port)
	answer, _ := get(t, w.client("http/1.1"), request(t, "GET", at("http", port, "/"), nil))
	if answer.StatusCode != 302 || answer.Header.Get("Location") != "http://169.254.169.254/latest" || w.connects.Load() != 1 {
		t.Errorf("%s, %d connections", answer.Status, w.connects.Load())
	}
}

// Early hints and the like pass before the answer.
func TestInformation(t *testing.T) {
	w := newWorld(t)
	port := w.server("http", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Link", "</style.css>; rel=preload")
		rw.WriteHeader(http.StatusEarlyHints)
		rw.WriteHeader(http.StatusNoContent)
	})
	w.leads(port)
	c := w.dial()
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s:%d\r\nConnection: close\r\n\r\n", name, port)
	b, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 103 Early Hints\r\nLink: ") || !strings.Contains(string(b), "HTTP/1.1 204 No Content\r\n") {
		t.Errorf("%q, %v", b, err)
	}
}

// What waits on a connection that a box holds costs little.
func TestIdleMemory(t *testing.T) {
	const many = 100
	for _, way := range []string{"bytes", "http/1.1", "h2"} {
		w := newWorld(t)
		port := w.raw(echo)
		w.leads(port)
		if way == "bytes" {
			passing(w, port, packet.TCP)
		}
		before := inUse()
		for range many {
			switch c := w.dial(); way {
			case "bytes":
				_, _ = c.Write([]byte("x"))
				if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
			default:
				w.answer(func(packet.Query) packet.Verdict { return packet.Verdict{} })
				config := &tls.Config{ServerName: name, RootCAs: w.inside.pool(), NextProtos: []string{way}}
				inside := tls.Client(c, config)
				if way == "h2" {
					_, _ = inside.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
				} else {
					fmt.Fprintf(inside, "GET / HTTP/1.1\r\nHost: %s:%d\r\n\r\n", name, port)
				}
				if _, err := inside.Read(make([]byte, 512)); err != nil {
					t.Fatal(err)
				}
			}
		}
		each := (inUse() - before) / many
		t.Logf("%s: %d bytes for each connection, with the program's own end", way, each)
		if each > 100<<10 {
			t.Errorf("%s: %d bytes for each connection", way, each)
		}
	}
}

func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// A body that ends too early is no whole body for the server.
func TestCutBody(t *testing.T) {
	w := newWorld(t)
	seen := make(chan error, 1)
	port := w.server("http", func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		seen <- err
	})
	w.leads(port)
	c := w.dial()
	fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: %s:%d\r\nContent-Length: 1000000\r\n\r\n%s", name, port, strings.Repeat("x", 1000))
	w.until(t, "the question", func() bool { return len(w.queries) == 1 })
	_ = c.Close()
	select {
	case err := <-seen:
		if err == nil {
			t.Error("the server took it for whole")
		}
	case <-time.After(wait):
		t.Error("the server still waits")
	}
}

func TestHostFails(t *testing.T) {
	w := newWorld(t)
	w.leads(80)
	w.answer(func(packet.Query) packet.Verdict { return packet.Verdict{Allow: true} }) // no addresses, and no resolver
	answer, body := get(t, w.client("http/1.1"), request(t, "GET", "http://"+name+"/", nil))
	if answer.StatusCode != 502 || !strings.Contains(body, "could not be looked up") {
		t.Errorf("%s %q", answer.Status, body)
	}
	if w.connects.Load() != 0 {
		t.Error("a connection was made")
	}
}

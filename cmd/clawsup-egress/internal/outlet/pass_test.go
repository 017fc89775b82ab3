// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clawsup/clawsup/runtime/netns/origin"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// swap sends text with its end and gives what comes back until the end.
func swap(t testing.TB, c *net.TCPConn, text []byte) ([]byte, error) {
	t.Helper()
	go func() {
		_, _ = c.Write(text)
		_ = c.CloseWrite()
	}()
	return io.ReadAll(c)
}

func passing(w *world, port uint16, way packet.Through) {
	w.named.Store(&packet.Verdict{Allow: true, Passing: []packet.Passing{{Port: port, Through: way}}})
}

func TestBytes(t *testing.T) {
	text := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	for _, ruled := range []bool{true, false} {
		w := newWorld(t)
		port := w.raw(echo)
		w.leads(port)
		if ruled {
			passing(w, port, packet.TCP)
		}
		if back, err := swap(t, w.dial(), text); err != nil || !bytes.Equal(back, text) {
			t.Errorf("%d of %d bytes came back: %v", len(back), len(text), err)
		}
		if q := w.asked(); len(q) != 1 || q[0].Through != packet.TCP || q[0].Host != name || q[0].Port != port {
			t.Errorf("asked for %+v", q)
		}
		w.until(t, "the end", func() bool { return len(w.ended) == 1 })
		if e := w.ended[1]; e.Sent != int64(len(text)) || e.Received != int64(len(text)) || e.Error != "" || e.Address == "" {
			t.Errorf("ended as %+v", e)
		}
	}
}

// Where the program waits for the server, it is asked for as bytes.
func TestServerSpeaksFirst(t *testing.T) {
	w := newWorld(t)
	port := w.raw(func(c *net.TCPConn) { _, _ = c.Write([]byte("220 hello\r\n")); echo(c) })
	w.leads(port)
	c := w.dial()
	head := make([]byte, 11)
	if _, err := io.ReadFull(c, head); err != nil || string(head) != "220 hello\r\n" {
		t.Fatalf("%q, %v", head, err)
	}
	if back, err := swap(t, c, []byte("QUIT")); err != nil || string(back) != "QUIT" {
		t.Errorf("%q, %v", back, err)
	}
}

// A program that was slow to speak is looked at when it does.
func TestSlowProgram(t *testing.T) {
	w := newWorld(t)
	port := w.server("http", func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "answer") })
	w.leads(port)
	asked, answer := w.hold()
	c := w.dial()
	if q := <-asked; q.Through != packet.TCP {
		t.Errorf("first asked for %+v", q)
	}
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s:%d\r\nConnection: close\r\n\r\n", name, port)
	<-w.left
	if q := <-asked; q.Through != packet.HTTP {
		t.Errorf("then asked for %+v", q)
	}
	answer <- yes()
	if b, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(b), "answer") {
		t.Errorf("%q, %v", b, err)
	}
}

func TestHeldBytesLeave(t *testing.T) {
	w := newWorld(t)
	port := w.raw(echo)
	w.leads(port)
	asked, _ := w.hold()
	c := w.dial()
	_, _ = c.Write([]byte("hello there\n"))
	<-asked
	_ = c.Close()
	<-w.left
	if w.connects.Load() != 0 {
		t.Error("a connection was made for nobody")
	}
}

func TestBytesDenied(t *testing.T) {
	w := newWorld(t)
	port := w.raw(echo)
	w.leads(port)
	w.answer(func(packet.Query) packet.Verdict { return packet.Verdict{} })
	if _, err := swap(t, w.dial(), []byte("hello\n")); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("want a reset: %v", err)
	}
	if w.connects.Load() != 0 {
		t.Error("a connection was made")
	}
}

// A reset of the server's is one for the program, and the other way round.
func TestResets(t *testing.T) {
	w := newWorld(t)
	seen := make(chan error, 1)
	port := w.raw(func(c *net.TCPConn) {
		b := make([]byte, 6)
		_, _ = io.ReadFull(c, b)
		if string(b) == "reset\n" {
			_ = c.SetLinger(0)
			return
		}
		_, _ = c.Write(b)
		_, err := c.Read(b)
		seen <- err
	})
	w.leads(port)
	if _, err := swap(t, w.dial(), []byte("reset\n")); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the program saw %v", err)
	}
	c := w.dial()
	_, _ = c.Write([]byte("hello\n"))
	if _, err := io.ReadFull(c, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	_ = c.SetLinger(0)
	_ = c.Close()
	if err := <-seen; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server saw %v", err)
	}
}

// TLS passes unopened: the server's own certificate arrives.
func TestTLSPasses(t *testing.T) {
	w := newWorld(t)
	port := w.server("https", func(rw http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(rw, "unopened") })
	w.leads(port)
	passing(w, port, packet.TLS)
	c := w.client("h2")
	c.Transport.(*http.Transport).TLSClientConfig.RootCAs = w.beyond.pool()
	if _, body := get(t, c, request(t, "GET", at("https", port, "/"), nil)); body != "unopened" {
		t.Errorf("%q", body)
	}
	if q := w.asked(); len(q) != 1 || q[0].Through != packet.TLS || q[0].Path != "" {
		t.Errorf("asked for %+v", q)
	}
	for _, other := range []string{"other.example.com", ""} {
		before := w.connects.Load()
		err := tls.Client(w.dial(), &tls.Config{ServerName: other, InsecureSkipVerify: true}).Handshake()
		if err == nil {
			t.Errorf("a ClientHello for %q passed", other)
		}
		w.refused(t, packet.RefusedMismatch)
		if w.connects.Load() != before {
			t.Error("a connection was made")
		}
	}
	if _, err := swap(t, w.dial(), []byte("GET / HTTP/1.1\r\n\r\n")); err == nil {
		t.Error("something else than TLS passed")
	}
	w.refused(t, packet.RefusedProtocol)
}

func TestMismatches(t *testing.T) {
	var seen int
	w := newWorld(t)
	port := w.server("https", func(http.ResponseWriter, *http.Request) { seen++ })
	w.leads(port)
	t.Run("SNI", func(t *testing.T) {
		for _, other := range []string{"other.example.com", "xapi.example.com", ""} {
			if err := tls.Client(w.dial(), &tls.Config{ServerName: other, InsecureSkipVerify: true}).Handshake(); err == nil {
				t.Errorf("TLS for %q was ended", other)
			}
		}
		if err := tls.Client(w.dial(), &tls.Config{ServerName: "API.Example.com", RootCAs: w.inside.pool()}).Handshake(); err != nil {
			t.Error(err)
		}
	})
	for _, protocol := range []string{"http/1.1", "h2"} {
		c := w.client(protocol)
		for _, other := range []string{
			"other.example.com", name, name + ":443", "127.0.0.1", fmt.Sprintf("other.example.com:%d", port), fmt.Sprintf("a@%s:%d", name, port),
			fmt.Sprintf("%s:0%d", name, port), fmt.Sprintf("%s:%d:1", name, port), fmt.Sprintf("[%s]x:%d", name, port),
		} {
			r := request(t, "GET", at("https", port, "/"), nil)
			r.Host = other
			answer, err := c.Do(r)
			if err != nil {
				continue // the client itself, or the server, finds it malformed
			}
			_ = answer.Body.Close()
			if answer.StatusCode != 421 && answer.StatusCode != 400 {
				t.Errorf("%s for %q: %s", protocol, other, answer.Status)
			}
		}
		r := request(t, "GET", at("https", port, "/"), nil)
		r.Host = fmt.Sprintf("API.example.COM.:%d", port)
		if answer, _ := get(t, c, r); answer.StatusCode != 200 {
			t.Errorf("another spelling of the same: %s", answer.Status)
		}
	}
	if seen != 2 || len(w.asked()) != 2 {
		t.Errorf("the server saw %d requests, and clawsupd was asked for %d", seen, len(w.asked()))
	}
	w.refused(t, packet.RefusedMismatch)
}

// A client that does not trust the box's authority gets to know why it fails.
func TestDistrust(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		w := newWorld(t)
		w.leads(443)
		if err := tls.Client(w.dial(), &tls.Config{ServerName: name, RootCAs: w.beyond.pool(), MaxVersion: version}).Handshake(); err == nil {
			t.Error("the box's authority was trusted")
		}
		if r := w.refused(t, packet.RefusedProtocol); !strings.Contains(r.Detail, "does not trust") {
			t.Errorf("%+v", r)
		}
	}
}

// Inside of TLS is HTTP, or nothing.
func TestOtherInsideTLS(t *testing.T) {
	for _, text := range []string{"HELO there\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"} {
		w := newWorld(t)
		w.leads(443)
		c := tls.Client(w.dial(), &tls.Config{ServerName: name, RootCAs: w.inside.pool()})
		_, _ = c.Write([]byte(text))
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("there was an answer")
		}
		if r := w.refused(t, packet.RefusedProtocol); !strings.Contains(r.Detail, "through") {
			t.Errorf("%+v", r)
		}
	}
}

func TestLiterals(t *testing.T) {
	for to, kind := range map[string]packet.RefusalKind{
		"127.0.0.1:80": packet.RefusedAddress, "0.0.0.0:80": packet.RefusedAddress, "198.18.77.77:80": packet.RefusedName,
		"169.254.169.254:80": packet.RefusedAddress, "10.0.0.1:80": packet.RefusedAddress,
	} {
		w := newWorld(t)
		w.leadsTo(netip.MustParseAddrPort(to))
		w.answer(func(packet.Query) packet.Verdict { return packet.Verdict{Allow: true} })
		var b []byte
		if c, err := net.Dial("tcp", w.gate); err == nil { // it may be over already
			fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", strings.TrimSuffix(to, ":80"))
			b, _ = io.ReadAll(c)
			_ = c.Close()
		}
		if len(b) > 0 && !bytes.HasPrefix(b, []byte("HTTP/1.1 502 ")) {
			t.Errorf("%s: %q", to, b)
		}
		w.refused(t, kind)
		if w.connects.Load() != 0 {
			t.Errorf("%s was connected to", to)
		}
	}
}

func TestUnknownProxyPorts(t *testing.T) {
	w := newWorld(t)
	w.leadsTo(netip.AddrPortFrom(origin.Resolver, 80))
	c, err := net.Dial("tcp", w.gate)
	if err == nil {
		defer c.Close()
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("want a reset: %v", err)
	}
}

func TestCaps(t *testing.T) {
	w := newWorld(t, func(p *packet.Box) { p.Sent, p.Received, p.Connections = 10_000, 1<<30, 2 })
	var got bytes.Buffer
	done := make(chan struct{})
	port := w.raw(func(c *net.TCPConn) { _, _ = io.Copy(&got, c); close(done) })
	w.leads(port)
	passing(w, port, packet.TCP)
	c := w.dial()
	for {
		if _, err := c.Write(make([]byte, 512)); err != nil {
			break
		}
	}
	<-done
	if got.Len() > 10_000 {
		t.Errorf("%d bytes went out, the bound is 10000", got.Len())
	}
	w.refused(t, packet.RefusedCap)
	w.until(t, "the end", func() bool { return len(w.ended) == 1 })
	if e := w.ended[1]; e.Sent != int64(got.Len()) || e.Error == "" {
		t.Errorf("ended as %+v, and %d bytes went out", e, got.Len())
	}
}

func TestConnectionCap(t *testing.T) {
	w := newWorld(t, func(p *packet.Box) { p.Connections = 2 })
	port := w.raw(echo)
	w.leads(port)
	passing(w, port, packet.TCP)
	var open []*net.TCPConn
	for range 2 {
		c := w.dial()
		_, _ = c.Write([]byte("x"))
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	if c, err := net.Dial("tcp", w.gate); err == nil {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a third connection was served")
		}
		_ = c.Close()
	}
	w.refused(t, packet.RefusedCap)
	_ = open[0].Close()
	w.until(t, "the end of one", func() bool { return len(w.ended) == 1 })
	for limit := time.Now().Add(wait); ; { // its room is free a moment later
		c, err := net.Dial("tcp", w.gate)
		if err == nil {
			defer c.Close()
			_, _ = c.Write([]byte("x"))
			if _, err := io.ReadFull(c, make([]byte, 1)); err == nil {
				break
			}
		}
		if time.Now().After(limit) {
			t.Fatal("there is no room after one has gone")
		}
	}
}

// Shutting a box ends what goes on, and says so.
func TestShut(t *testing.T) {
	w := newWorld(t)
	port := w.raw(echo)
	web := w.server("http", func(rw http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(rw).Flush()
		<-r.Context().Done()
	})
	w.leads(port)
	c := w.dial()
	_, _ = c.Write([]byte("hello\n"))
	if _, err := io.ReadFull(c, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	w.leads(web)
	answer, err := w.client("http/1.1").Get(at("http", web, "/"))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := w.outlet.Shut(1); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(answer.Body); err == nil {
		t.Error("the answer ended as if it were whole")
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the bytes go on")
	}
	w.until(t, "the ends", func() bool { return len(w.ended) == 2 })
	if _, err := net.Dial("tcp", w.gate); err == nil {
		t.Error("the box still listens")
	}
	if err := w.outlet.Shut(1); !errors.Is(err, packet.ErrPacket) {
		t.Errorf("shut twice: %v", err)
	}
}

// A bound of bytes ends answers and requests alike, and then nothing goes out.
func TestCapsOfRequests(t *testing.T) {
	for _, protocol := range []string{"http/1.1", "h2"} {
		w := newWorld(t, func(p *packet.Box) { p.Sent, p.Received = 1<<20, 1<<20 })
		port := w.server("https", func(rw http.ResponseWriter, r *http.Request) {
			if r.Method == "POST" {
				if n, err := io.Copy(io.Discard, r.Body); err == nil || n > 1<<20 {
					t.Errorf("the server got %d bytes: %v", n, err)
				}
				return
			}
			_, _ = io.Copy(rw, io.LimitReader(zeros{}, 8<<20))
		})
		w.leads(port)
		c := w.client(protocol)
		if protocol == "h2" {
			answer, err := c.Get(at("https", port, "/"))
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, answer.Body); err == nil || n > 1<<20 {
				t.Errorf("%d bytes came: %v", n, err)
			}
			_ = answer.Body.Close()
		} else if answer, err := c.Post(at("https", port, "/"), "text/plain", io.LimitReader(zeros{}, 8<<20)); err == nil {
			if answer.StatusCode != 403 {
				t.Error(answer.Status)
			}
			_ = answer.Body.Close()
		}
		w.refused(t, packet.RefusedCap)
		w.until(t, "the end", func() bool { return len(w.ended) == 1 })
		if e := w.ended[1]; e.Error != errCap.detail {
			t.Errorf("%+v", e)
		}
	}
}

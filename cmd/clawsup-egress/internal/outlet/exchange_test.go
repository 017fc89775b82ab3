// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

func TestRequests(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		for _, protocol := range []string{"http/1.1", "h2"} {
			if scheme == "http" && protocol == "h2" {
				continue
			}
			t.Run(scheme+" "+protocol, func(t *testing.T) {
				w := newWorld(t)
				port := w.server(scheme, func(rw http.ResponseWriter, r *http.Request) {
					body, _ := io.ReadAll(r.Body)
					rw.Header().Set("X-Seen", fmt.Sprintf("%s %s %s %s %q", r.Proto, r.Method, r.Host, r.RequestURI, r.Header.Get("X-Forwarded-For")))
					rw.Header().Set("Trailer", "X-End")
					_, _ = rw.Write(body)
					rw.Header().Set("X-End", "trailer")
				})
				w.leads(port)
				c := w.client(protocol)
				r := request(t, "POST", at(scheme, port, "/a%2Fb/c;d?x=1;y&z"), strings.NewReader("the body"))
				r.Header.Set("X-Forwarded-For", "192.0.2.1")
				answer, body := get(t, c, r)
				upstream := map[string]string{"http": "HTTP/1.1", "https": "HTTP/2.0"}[scheme]
				want := fmt.Sprintf(`%s POST %s:%d /a%%2Fb/c;d?x=1;y&z "192.0.2.1"`, upstream, name, port)
				if answer.StatusCode != 200 || body != "the body" || answer.Header.Get("X-Seen") != want || answer.Trailer.Get("X-End") != "trailer" {
					t.Errorf("%v %q %v %v, want %s", answer.Status, body, answer.Header, answer.Trailer, want)
				}
				q := w.asked()[0]
				if q.Through != packet.HTTP || q.Host != name || q.Port != port || q.Scheme != scheme || q.Method != "POST" || q.Path != "/a%2Fb/c;d" || q.Search != "x=1;y&z" || q.Size != 8 {
					t.Errorf("asked for %+v", q)
				}
				w.until(t, "the end", func() bool { return len(w.ended) == 1 })
				if e := w.ended[1]; e.Status != 200 || e.Sent != 8 || e.Received != 8 || e.Took <= 0 || e.Error != "" || e.Address != fmt.Sprintf("127.0.0.1:%d", port) {
					t.Errorf("ended as %+v", e)
				}
				r = request(t, "HEAD", at(scheme, port, "/"), nil)
				if answer, body := get(t, c, r); answer.StatusCode != 200 || body != "" {
					t.Errorf("HEAD: %v %q", answer.Status, body)
				}
			})
		}
	}
}

// counting counts requests.
func counting(n *atomic.Int64) http.HandlerFunc {
	return func(http.ResponseWriter, *http.Request) { n.Add(1) }
}

func TestDenied(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		w := newWorld(t)
		var seen atomic.Int64
		port := w.server(scheme, counting(&seen))
		w.leads(port)
		w.answer(func(packet.Query) packet.Verdict { return packet.Verdict{Reason: "a person said no", Ticket: "T7"} })
		answer, body := get(t, w.client("http/1.1"), request(t, "GET", at(scheme, port, "/"), nil))
		if answer.StatusCode != 403 || body != "clawsup: denied: a person said no (ticket T7)\n" || answer.Header.Get("Clawsup-Ticket") != "T7" {
			t.Errorf("%v %q %v", answer.Status, body, answer.Header)
		}
		if seen.Load() != 0 || w.connects.Load() != 0 {
			t.Errorf("%d requests and %d connections went out", seen.Load(), w.connects.Load())
		}
		w.named.Store(&packet.Verdict{})
	}
}

// A name that nothing could allow is not connected to.
func TestDeniedName(t *testing.T) {
	w := newWorld(t)
	w.leads(443)
	w.named.Store(&packet.Verdict{})
	c, err := net.Dial("tcp", w.gate)
	if err == nil { // it may be over already
		defer c.Close()
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("want a reset: %v", err)
	}
	if q := w.asked(); len(q) > 0 {
		t.Errorf("asked for %+v", q)
	}
}

func TestHeldRequest(t *testing.T) {
	for _, protocol := range []string{"http/1.1", "h2"} {
		w := newWorld(t)
		var seen atomic.Int64
		port := w.server("https", func(rw http.ResponseWriter, r *http.Request) {
			seen.Add(1)
			_, _ = io.Copy(rw, r.Body)
		})
		w.leads(port)
		asked, answer := w.hold()
		done := make(chan error, 1)
		client := w.client(protocol)
		go func() {
			r, err := client.Post(at("https", port, "/"), "text/plain", strings.NewReader("held"))
			if err == nil {
				var b []byte
				if b, err = io.ReadAll(r.Body); err == nil && string(b) != "held" {
					err = fmt.Errorf("%q", b)
				}
			}
			done <- err
		}()
		<-asked
		if seen.Load() != 0 || w.connects.Load() != 0 {
			t.Error("something went out before the answer")
		}
		answer <- yes()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// Who is asked is told that nobody waits any more, whether or not there is a body
// that nobody has read.
func TestHeldRequestLeaves(t *testing.T) {
	for _, protocol := range []string{"http/1.1", "h2"} {
		for _, body := range []string{"", "a body"} {
			w := newWorld(t)
			port := w.server("https", func(http.ResponseWriter, *http.Request) {})
			w.leads(port)
			asked, _ := w.hold()
			ctx, cancel := context.WithCancel(context.Background())
			client := w.client(protocol)
			go func() {
				r := request(t, "POST", at("https", port, "/"), strings.NewReader(body)).WithContext(ctx)
				if r, err := client.Do(r); err == nil {
					_ = r.Body.Close()
				}
			}()
			<-asked
			cancel()
			<-w.left
			if w.connects.Load() != 0 {
				t.Error("a connection was made for nobody")
			}
		}
	}
}

// The program does not send its body before the yes.
func TestExpectContinue(t *testing.T) {
	for _, allow := range []bool{true, false} {
		w := newWorld(t)
		port := w.server("http", func(rw http.ResponseWriter, r *http.Request) { _, _ = io.Copy(rw, r.Body) })
		w.leads(port)
		asked, answer := w.hold()
		c := w.dial()
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: %s:%d\r\nContent-Length: 4\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n", name, port)
		<-asked
		if allow {
			answer <- yes()
		} else {
			answer <- packet.Verdict{Reason: "no"}
		}
		head := make([]byte, 25)
		if _, err := io.ReadFull(c, head); err != nil {
			t.Fatal(err)
		}
		want := "HTTP/1.1 403 Forbidden\r\n"
		if allow {
			want = "HTTP/1.1 100 Continue\r\n\r\n"
		}
		if !strings.HasPrefix(string(head), want) {
			t.Errorf("%q, want %q", head, want)
		}
		if allow {
			_, _ = c.Write([]byte("body"))
			rest, _ := io.ReadAll(c)
			if !bytes.HasSuffix(rest, []byte("\r\n\r\nbody")) {
				t.Errorf("%q", rest)
			}
		}
	}
}

// What a server leaves out of its answer is not made up.
func TestNothingIsAdded(t *testing.T) {
	w := newWorld(t)
	port := w.raw(func(c *net.TCPConn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX: y\r\nClawsup-Ticket: T1\r\n\r\n<html>")
		_, _ = io.Copy(io.Discard, c)
	})
	w.leads(port)
	answer, body := get(t, w.client("http/1.1"), request(t, "GET", at("http", port, "/"), nil))
	if body != "<html>" || len(answer.Header) != 2 {
		t.Errorf("%q %v", body, answer.Header)
	}
}

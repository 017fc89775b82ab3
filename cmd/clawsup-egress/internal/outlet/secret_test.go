// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gobwas/ws/wsutil"

	"github.com/clawsup/clawsup/cmd/clawsup-egress/internal/credential"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

const (
	placeholder = "clawsup-secret:key:0123456789abcdef0123456789"
	value       = "sk-the-value-that-nobody-may-see-0123456789"
)

// binds binds one secret to the port of the host, at places.
func binds(w *world, port uint16, places ...packet.Place) {
	w.t.Helper()
	err := w.outlet.Bind(1, packet.Binding{
		Secret: "key", Placeholder: placeholder, Hosts: []string{fmt.Sprintf("%s:%d", name, port)}, Places: places,
		Captures: []packet.Capture{{Path: "/token", Field: "access_token"}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.answer(func(q packet.Query) packet.Verdict {
		v := yes()
		for range q.Uses {
			v.Values = append(v.Values, packet.Value{Secret: "key", Value: []byte(value)})
		}
		return v
	})
}

var bearer = packet.Place{Kind: packet.Header, Name: "Authorization"}

func TestSecretIsPutIn(t *testing.T) {
	for _, protocol := range []string{"http/1.1", "h2"} {
		w := newWorld(t)
		port := w.server("https", func(rw http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Authorization"); got != "Bearer "+value {
				t.Errorf("the server got %q", got)
			}
			rw.Header().Set("X-Echo", r.Header.Get("Authorization"))
			_, _ = io.WriteString(rw, "you said "+r.Header.Get("Authorization"))
		})
		w.leads(port)
		binds(w, port, bearer)
		r := request(t, "GET", at("https", port, "/v1"), nil)
		r.Header.Set("Authorization", "Bearer "+placeholder)
		answer, body := get(t, w.client(protocol), r)
		if answer.StatusCode != 200 || body != "you said Bearer "+strings.Repeat("*", len(value)) || strings.Contains(answer.Header.Get("X-Echo"), value) {
			t.Errorf("%s %q %v", answer.Status, body, answer.Header)
		}
		if q := w.asked()[0]; len(q.Uses) != 1 || q.Uses[0].Secret != "key" {
			t.Errorf("asked for %+v", q)
		}
	}
}

// A placeholder anywhere else is refused, and nothing goes out.
func TestPlaceholderElsewhere(t *testing.T) {
	for what, change := range map[string]func(r *http.Request){
		"query":          func(r *http.Request) { r.URL.RawQuery = "key=" + placeholder },
		"path":           func(r *http.Request) { r.URL.Path = "/" + placeholder },
		"another header": func(r *http.Request) { r.Header.Set("X-Key", placeholder) },
		"basic":          func(r *http.Request) { r.SetBasicAuth("user", placeholder) },
		"cookie":         func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "key", Value: placeholder}) },
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			var seen atomic.Int64
			port := w.server("https", counting(&seen))
			w.leads(port)
			binds(w, port, packet.Place{Kind: packet.Header, Name: "X-Bound"})
			r := request(t, "GET", at("https", port, "/v1"), nil)
			change(r)
			answer, body := get(t, w.client("http/1.1"), r)
			if answer.StatusCode != 403 || strings.Contains(body, placeholder) || seen.Load() != 0 || len(w.asked()) != 0 {
				t.Errorf("%s %q, %d requests went out", answer.Status, body, seen.Load())
			}
			w.until(t, "a refusal", func() bool {
				return slices.ContainsFunc(w.refusals, func(r packet.Refusal) bool {
					return r.Kind == packet.RefusedPlaceholder || r.Kind == packet.RefusedCredential
				})
			})
		})
	}
}

// In a body that streams it is found when it passes: the server gets no whole
// request, and the program a 403.
func TestPlaceholderStreams(t *testing.T) {
	w := newWorld(t)
	whole := make(chan bool, 1)
	port := w.server("https", func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if bytes.Contains(b, []byte(placeholder)) {
			t.Error("the server got it")
		}
		whole <- err == nil
	})
	w.leads(port)
	binds(w, port, bearer)
	body := strings.Repeat("x", 3<<20) + placeholder + strings.Repeat("y", 1<<20)
	r := request(t, "POST", at("https", port, "/"), strings.NewReader(body))
	r.Header.Set("Content-Type", "application/octet-stream")
	answer, err := w.client("http/1.1").Do(r)
	if err == nil {
		_ = answer.Body.Close()
		if answer.StatusCode != 403 {
			t.Error(answer.Status)
		}
	}
	if <-whole {
		t.Error("the server took it for a whole request")
	}
	w.refused(t, packet.RefusedPlaceholder)
	w.until(t, "the end", func() bool { return len(w.ended) == 1 })
	if w.ended[1].Error == "" {
		t.Errorf("%+v", w.ended[1])
	}
}

func TestSecretInJSON(t *testing.T) {
	w := newWorld(t, func(p *packet.Box) { p.Fields = []string{"chat_id"} })
	port := w.server("https", func(_ http.ResponseWriter, r *http.Request) {
		var got struct{ Auth, Chat_id string }
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil || got.Auth != value || got.Chat_id != "7" {
			t.Errorf("the server got %+v, %v", got, err)
		}
	})
	w.leads(port)
	binds(w, port, packet.Place{Kind: packet.JSON, Name: "auth"})
	r := request(t, "POST", at("https", port, "/"), strings.NewReader(`{"chat_id":"7","auth":"`+placeholder+`"}`))
	r.Header.Set("Content-Type", "application/json")
	if answer, body := get(t, w.client("h2"), r); answer.StatusCode != 200 {
		t.Errorf("%s %q", answer.Status, body)
	}
	q := w.asked()[0]
	if len(q.Fields) != 1 || q.Fields[0] != (packet.Field{Name: "chat_id", Value: "7"}) || q.Unread || len(q.Uses) != 1 {
		t.Errorf("asked for %+v", q)
	}
	// One that is too long to be looked at can't be allowed.
	r = request(t, "POST", at("https", port, "/"), strings.NewReader(`{"x":"`+strings.Repeat("x", credential.MaxBody)+`"}`))
	r.Header.Set("Content-Type", "application/json")
	if answer, _ := get(t, w.client("http/1.1"), r); answer.StatusCode != 413 {
		t.Error(answer.Status)
	}
	if n := w.outlet.held.used.Load() + w.box.held.used.Load(); n != 0 {
		t.Errorf("%d bytes of bodies are still held", n)
	}
}

// On a host of a secret, another credential does not pass.
func TestOtherCredential(t *testing.T) {
	w := newWorld(t)
	var seen atomic.Int64
	port := w.server("https", counting(&seen))
	w.leads(port)
	binds(w, port, bearer)
	r := request(t, "GET", at("https", port, "/v1"), nil)
	r.Header.Set("Authorization", "Bearer of-its-own")
	if answer, _ := get(t, w.client("http/1.1"), r); answer.StatusCode != 403 || seen.Load() != 0 {
		t.Errorf("%s, %d went out", answer.Status, seen.Load())
	}
	w.refused(t, packet.RefusedCredential)
	if err := w.outlet.Unbind(1, "key"); err != nil {
		t.Fatal(err)
	}
	if answer, _ := get(t, w.client("http/1.1"), r); answer.StatusCode != 200 {
		t.Errorf("without the binding: %s", answer.Status)
	}
}

// What is compressed can't be masked.
func TestCompressedAnswer(t *testing.T) {
	w := newWorld(t)
	port := w.server("https", func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1" {
			if got := r.Header.Get("Accept-Encoding"); got != "identity" {
				t.Errorf("the server was told %q", got)
			}
		}
		rw.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(rw)
		_, _ = io.WriteString(z, value)
		_ = z.Close()
	})
	w.leads(port)
	binds(w, port, bearer)
	if answer, _ := get(t, w.client("http/1.1"), request(t, "GET", at("https", port, "/before"), nil)); answer.StatusCode != 200 {
		t.Errorf("before a value was given: %s", answer.Status)
	}
	r := request(t, "GET", at("https", port, "/v1"), nil)
	r.Header.Set("Authorization", "Bearer "+placeholder)
	r.Header.Set("Accept-Encoding", "gzip")
	if answer, body := get(t, w.client("http/1.1"), r); answer.StatusCode != 502 || strings.Contains(body, value) {
		t.Errorf("%s %q", answer.Status, body)
	}
}

func TestCapturedToken(t *testing.T) {
	const token, fresh = "a-token-made-by-the-server-42", "clawsup-secret:token:fedcba9876543210"
	for _, allow := range []bool{true, false} {
		w := newWorld(t)
		port := w.server("https", func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				_, _ = io.WriteString(rw, `{"access_token":"`+token+`","n":1}`)
				return
			}
			_, _ = io.WriteString(rw, "echo "+token)
		})
		w.leads(port)
		binds(w, port, bearer)
		var got packet.Captured
		w.capture = func(c packet.Captured) packet.Verdict {
			got = c
			return packet.Verdict{Allow: allow, Placeholder: fresh}
		}
		answer, body := get(t, w.client("h2"), request(t, "POST", at("https", port, "/token"), nil))
		if string(got.Value) != token || got.Secret != "key" || got.Field != "access_token" {
			t.Errorf("captured %+v", got)
		}
		if !allow {
			if answer.StatusCode != 502 || strings.Contains(body, token) {
				t.Errorf("%s %q", answer.Status, body)
			}
			continue
		}
		if answer.StatusCode != 200 || body != `{"access_token":"`+fresh+`","n":1}` {
			t.Errorf("%s %q", answer.Status, body)
		}
		if _, body := get(t, w.client("h2"), request(t, "GET", at("https", port, "/echo"), nil)); body != "echo "+strings.Repeat("*", len(token)) {
			t.Errorf("%q", body)
		}
	}
}

// The token in a message of a WebSocket is put in, and what comes back is masked.
func TestSecretInWebSocket(t *testing.T) {
	w := newWorld(t)
	port := w.server("http", echoSocket)
	w.leads(port)
	binds(w, port, packet.Place{Kind: packet.WebSocket, Name: "d.token"})
	c := w.dial()
	r, answer := shake(t, c, port)
	if answer.StatusCode != 101 {
		t.Fatal(answer.Status)
	}
	if err := wsutil.WriteClientText(c, []byte(`{"op":2,"d":{"token":"`+placeholder+`"}}`)); err != nil {
		t.Fatal(err)
	}
	back, err := wsutil.ReadServerText(struct {
		io.Reader
		io.Writer
	}{r, c})
	if want := `{"op":2,"d":{"token":"` + strings.Repeat("*", len(value)) + `"}}`; err != nil || string(back) != want {
		t.Errorf("%q, %v", back, err)
	}
	if err := wsutil.WriteClientText(c, []byte(`{"op":2,"d":{"other":"`+placeholder+`"}}`)); err != nil {
		t.Fatal(err)
	}
	w.refused(t, packet.RefusedPlaceholder)
	if rest, _ := io.ReadAll(r); bytes.Contains(rest, []byte("other")) {
		t.Error("the server got it")
	}
}

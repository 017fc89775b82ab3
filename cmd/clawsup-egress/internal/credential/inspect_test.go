// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// The secrets of the tests; a canary in anything but a filled request is a leak.
const (
	key      = "sk-placeholder-0a1b2c3d4e5f"
	bot      = "123456:placeholder-AAbbCCdd"
	git      = "ghp_placeholder0123456789"
	gateway  = "placeholder.gateway.012345"
	client   = "placeholder-client-0123456"
	keyValue = "sk-CANARY/+=value"
)

func bindings() []packet.Binding {
	return []packet.Binding{
		{Secret: "openai", Placeholder: key, Hosts: []string{"api.example.com:443"}, Places: []packet.Place{
			{Kind: packet.Header, Name: "Authorization"}, {Kind: packet.Header, Name: "X-Api-Key"}, {Kind: packet.QueryItem, Name: "key"}}},
		{Secret: "bot", Placeholder: bot, Hosts: []string{"telegram.example.com:443"}, Places: []packet.Place{{Kind: packet.Path}}},
		{Secret: "git", Placeholder: git, Hosts: []string{"*.git.example.com:443"}, Cookies: true, Places: []packet.Place{
			{Kind: packet.Basic, Name: "password"}, {Kind: packet.Basic, Name: "user"}}},
		{Secret: "gateway", Placeholder: gateway, Hosts: []string{"gateway.example.com:443"}, Places: []packet.Place{{Kind: packet.WebSocket, Name: "d.token"}}},
		{Secret: "client", Placeholder: client, Hosts: []string{"login.example.com:443"}, Places: []packet.Place{
			{Kind: packet.Form, Name: "client_secret"}, {Kind: packet.JSON, Name: "auth.secret"}},
			Captures: []packet.Capture{{Path: "/token", Field: "access_token"}}},
		{Secret: "closed", Hosts: []string{"closed.example.com:443"}, Places: []packet.Place{{Kind: packet.Header, Name: "X-Closed"}}},
	}
}

// canaries are the values, and nothing else has CANARY in it.
func canaries() []packet.Value {
	return []packet.Value{
		{Secret: "openai", Value: []byte(keyValue)},
		{Secret: "bot", Value: []byte("99:CANARY-bot_value")},
		{Secret: "git", Value: []byte("CANARY git:välue")},
		{Secret: "gateway", Value: []byte(`CANARY"gateway\value`)},
		{Secret: "client", Value: []byte("CANARY&client=<välue>\n")},
	}
}

func newSet(t testing.TB) *Set {
	t.Helper()
	s := &Set{}
	for _, b := range bindings() {
		if err := s.Bind(b); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// request reads one as a server does.
func request(t testing.TB, text string) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n"))))
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return r
}

func get(target string, headers ...string) string {
	return "GET " + target + " HTTP/1.1\nHost: h\n" + strings.Join(append(headers, "", ""), "\n")
}

func post(target, media, body string, headers ...string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\nHost: h\nContent-Length: %d\nContent-Type: %s\n%s\n", target, len(body), media, strings.Join(append(headers, ""), "\n")) + body
}

func basicHeader(user, password string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// pass takes a request all the way, and gives what is sent.
func pass(t testing.TB, s *Set, host, text string) (sent string, uses []packet.Use, refusal *packet.Refusal) {
	t.Helper()
	r := request(t, text)
	f, refusal := s.Inspect(host, 443, r)
	if refusal != nil {
		return "", nil, refusal
	}
	var body []byte
	if f.NeedsBody() {
		body, _ = io.ReadAll(r.Body)
		if refusal := f.InspectBody(body); refusal != nil {
			return "", nil, refusal
		}
	} else {
		r.Body = f.Watch(r.Body)
	}
	if shown := f.Path() + f.Search(); len(f.view.holders) > 0 && strings.Contains(shown, "placeholder") {
		t.Errorf("a placeholder is shown: %s", shown)
	}
	if _, err := f.Fill(r, body, canaries()); err != nil {
		t.Fatalf("%s %q: %v", host, text, err)
	}
	r.URL.Scheme, r.URL.Host = "https", host
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatalf("%s %q: %v", host, text, err)
	}
	return b.String(), f.Uses, nil
}

func TestFill(t *testing.T) {
	for _, test := range []struct {
		host, request string
		want          string // in what is sent
		use           string
	}{
		{"api.example.com", get("/", "Authorization: Bearer "+key), "Authorization: Bearer " + keyValue + "\r\n", "openai header Authorization"},
		{"API.example.com.", get("/", "authorization: "+key), "Authorization: " + keyValue + "\r\n", "openai header Authorization"},
		{"api.example.com", get("/", "x-api-key: "+key), "X-Api-Key: " + keyValue + "\r\n", "openai header X-Api-Key"},
		{"api.example.com", get("/a?b=c&key=" + key + "&d"), "GET /a?b=c&key=sk-CANARY%2F%2B%3Dvalue&d HTTP/1.1\r\n", "openai query key"},
		{"api.example.com", get("/?k%65y=%73" + key[1:]), "GET /?k%65y=sk-CANARY%2F%2B%3Dvalue HTTP/1.1\r\n", "openai query key"},
		{"api.example.com", get("/a%2Fb?x=%zz"), "GET /a%2Fb?x=%zz HTTP/1.1\r\n", ""},
		{"telegram.example.com", get("/bot" + bot + "/getMe"), "GET /bot99:CANARY-bot_value/getMe HTTP/1.1\r\n", "bot path "},
		{"telegram.example.com", get("/file/bot" + url.QueryEscape(bot) + "/a%20b?c=d"), "GET /file/bot99:CANARY-bot_value/a%20b?c=d HTTP/1.1\r\n", "bot path "},
		{"a.git.example.com", get("/", basicHeader("me", git)), basicHeader("me", "CANARY git:välue") + "\r\n", "git basic password"},
		{"login.example.com", post("/token", "application/x-www-form-urlencoded", "a=b&client_secret="+client+"&c=%20"), "\r\n\r\na=b&client_secret=CANARY%26client%3D%3Cv%C3%A4lue%3E%0A&c=%20", "client form client_secret"},
		{"login.example.com", post("/token", "application/json", `{"a": 1e2, "auth" :{ "secret" : "`+client+`"} }`), "\r\n\r\n" + `{"a": 1e2, "auth" :{ "secret" : "CANARY&client=<välue>\n"} }`, "client json auth.secret"},
		{"login.example.com", post("/token", "application/vnd.x+json", `{"auth":{"secret":"\u0070`+client[1:]+`"}}`), `{"auth":{"secret":"CANARY&client=<välue>\n"}}`, "client json auth.secret"},
		{"login.example.com", post("/token", "text/plain", "hello"), "\r\n\r\nhello", ""},
		{"a.git.example.com", get("/", "Cookie: a=b"), "Cookie: a=b\r\n", ""},
		{"other.example.com", get("/?token=a", "Authorization: Bearer mine", "Cookie: a=b"), "Authorization: Bearer mine\r\n", ""},
		{"other.example.com", post("/", "text/plain", strings.Repeat("streams ", 1000)), "streams streams", ""},
	} {
		sent, uses, refusal := pass(t, newSet(t), test.host, test.request)
		if refusal != nil {
			t.Errorf("%s %q: %+v", test.host, test.request, refusal)
			continue
		}
		got := ""
		for _, u := range uses {
			got += fmt.Sprintf("%s %s %s", u.Secret, u.Place.Kind, u.Place.Name)
		}
		if !strings.Contains(sent, test.want) || got != test.use || !strings.Contains(sent, "\r\nAccept-Encoding: identity\r\n") {
			t.Errorf("%s %q: uses %q, sent %q", test.host, test.request, got, sent)
		}
	}
}

func TestRefused(t *testing.T) {
	tests := []struct {
		host, request string
		kind          packet.RefusalKind
	}{
		// elsewhere
		{"evil.example.com", get("/", "Authorization: Bearer "+key), packet.RefusedPlaceholder},
		{"a.api.example.com", get("/", "Authorization: Bearer "+key), packet.RefusedPlaceholder},
		{"git.example.com", get("/", basicHeader("me", git)), packet.RefusedPlaceholder},
		{"telegram.example.com", get("/bot"+bot+"/getMe", "Authorization: Bearer "+key), packet.RefusedPlaceholder},
		// at another place, or not like this
		{"api.example.com", get("/" + key), packet.RefusedPlaceholder},
		{"api.example.com", get("/?other=" + key), packet.RefusedPlaceholder},
		{"api.example.com", get("/?" + key + "=x"), packet.RefusedPlaceholder},
		{"api.example.com", get("/?key=x" + key), packet.RefusedPlaceholder},
		{"api.example.com", get("/?a;key=" + key), packet.RefusedPlaceholder},
		{"api.example.com", get("/", "X-Other: "+key), packet.RefusedPlaceholder},
		{"api.example.com", get("/", "Referer: https://x/?key="+key), packet.RefusedPlaceholder},
		{"api.example.com", get("/", "Cookie: a="+key), packet.RefusedPlaceholder},
		{"api.example.com", get("/", "Authorization: Bearer "+strings.ToUpper(key)), packet.RefusedPlaceholder},
		{"api.example.com", get("/", "Authorization: Bearer mine, Bearer "+key), packet.RefusedPlaceholder},
		{"api.example.com", get("/", basicHeader("me", key)), packet.RefusedPlaceholder},
		{"api.example.com", get("/", "X-"+key+": a"), packet.RefusedPlaceholder},
		{key + ".example.com", "GET / HTTP/1.1\nHost: " + key + ".example.com\n\n", packet.RefusedPlaceholder},
		{"evil.example.com", key + " / HTTP/1.1\nHost: h\n\n", packet.RefusedPlaceholder},
		{"evil.example.com", "GET http://" + key + "@h/ HTTP/1.1\nHost: h\n\n", packet.RefusedPlaceholder},
		{"evil.example.com", "POST / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\nTrailer: X-" + key + "\n\n0\n\n", packet.RefusedPlaceholder},
		{"evil.example.com", get("/", "X: "+url.QueryEscape("\x00"+key[:3])+"%2d"+key[3:]), ""}, // another text
		{"evil.example.com", get("/", "X: "+strings.ReplaceAll(key, "-", "%2d")), packet.RefusedPlaceholder},
		{"evil.example.com", get("/", "X: "+base64.URLEncoding.EncodeToString([]byte("z"+key+"z"))), packet.RefusedPlaceholder},
		{"evil.example.com", get("/", `X: {"a":"`+strings.ReplaceAll(key, "-", `\u002D`)+`"}`), packet.RefusedPlaceholder},
		{"login.example.com", post("/", "application/json", `{"auth":{"other":"`+client+`"}}`), packet.RefusedPlaceholder},
		{"login.example.com", post("/", "application/json", `{"auth":[{"secret":"`+client+`"}]}`), packet.RefusedCredential},
		{"login.example.com", post("/", "application/json", `{"auth.secret":"`+client+`"}`), packet.RefusedPlaceholder},
		{"login.example.com", post("/", "application/x-www-form-urlencoded", "other="+client), packet.RefusedPlaceholder},
		{"login.example.com", post("/", "text/plain", client), packet.RefusedPlaceholder},
		// another credential
		{"api.example.com", get("/", "Authorization: Bearer mine"), packet.RefusedCredential},
		{"api.example.com", get("/", "Authorization: Bearer "+key, "Authorization: Bearer mine"), packet.RefusedCredential},
		{"api.example.com", get("/", "Authorization: Bearer "+key, "Api-Key: mine"), packet.RefusedCredential},
		{"api.example.com", get("/", "Proxy-Authorization: Basic x"), packet.RefusedCredential},
		{"api.example.com", get("/", "Cookie: a=b"), packet.RefusedCredential},
		{"api.example.com", get("/", "X-My-Token: a"), packet.RefusedCredential},
		{"api.example.com", get("/", "Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.mine"), packet.RefusedCredential},
		{"api.example.com", get("/?access_token=mine"), packet.RefusedCredential},
		{"api.example.com", get("/?KEY=mine"), packet.RefusedCredential},
		{"api.example.com", get("/?key=" + key + "&key=mine"), packet.RefusedCredential},
		{"api.example.com", get("/?key=&key=" + key), packet.RefusedCredential},
		{"api.example.com", get("/?a=b;key=mine"), packet.RefusedCredential},
		{"api.example.com", get("/?X-Amz-Signature=mine"), packet.RefusedCredential},
		{"api.example.com", get("http://me:mine@api.example.com/"), packet.RefusedCredential},
		{"api.example.com", post("/", "application/x-www-form-urlencoded", "token=mine"), packet.RefusedCredential},
		{"closed.example.com", get("/", "Authorization: Bearer mine"), packet.RefusedCredential},
		{"closed.example.com", get("/", "X-Closed: mine"), packet.RefusedCredential},
		{"telegram.example.com", get("/bot99:mine/getMe"), packet.RefusedCredential},
		{"telegram.example.com", get("/"), packet.RefusedCredential},
		{"telegram.example.com", get("/bot99:AAmine/x" + bot), packet.RefusedPlaceholder},
		{"a.git.example.com", get("/", basicHeader(git, "mine")), packet.RefusedCredential},
		{"login.example.com", post("/", "application/x-www-form-urlencoded", "client_secret=mine"), packet.RefusedCredential},
		{"login.example.com", post("/", "application/json", `{"auth":{"secret":"mine"}}`), packet.RefusedCredential},
		{"login.example.com", post("/", "application/json", `{"Auth":{"Secret":"mine"}}`), packet.RefusedCredential},
		{"login.example.com", post("/", "text/plain", `{"auth":{"secret":"mine"}}`), packet.RefusedCredential},
		// in two ways
		{"login.example.com", post("/", "application/json", `{"auth":{"secret":"mine","secret":"`+client+`"}}`), packet.RefusedProtocol},
		{"login.example.com", post("/", "application/json", `{"auth":{"secret":"`+client+`","secret":"`+client+`"}}`), packet.RefusedProtocol},
		{"login.example.com", post("/", "application/json", `{"a":1}{"a":1}`), packet.RefusedProtocol},
		{"login.example.com", post("/", "application/json", `{"a":1`), packet.RefusedProtocol},
		{"login.example.com", post("/", "application/json", strings.Repeat("[", 100)+strings.Repeat("]", 100)), packet.RefusedProtocol},
		{"login.example.com", post("/", "application/json", "{}", "Content-Encoding: gzip"), packet.RefusedProtocol},
		{"login.example.com", post("/", "application/json", "{}", "Content-Type: text/plain"), packet.RefusedProtocol},
	}
	for _, test := range tests {
		_, _, refusal := pass(t, newSet(t), test.host, test.request)
		if refusal == nil {
			refusal = &packet.Refusal{}
		}
		if refusal.Kind != test.kind {
			t.Errorf("%s %q: %+v, want %q", test.host, test.request, refusal, test.kind)
		}
		if lower := strings.ToLower(refusal.Detail); strings.Contains(lower, "mine") || strings.Contains(lower, "placeholder-") || strings.Contains(lower, "placeholder0") || len(lower) > packet.MaxDetail {
			t.Errorf("%s %q: it says %q", test.host, test.request, refusal.Detail)
		}
		// A set without bindings has nothing against any of them.
		if _, _, refusal := pass(t, &Set{}, test.host, test.request); refusal != nil {
			t.Errorf("%s %q without bindings: %+v", test.host, test.request, refusal)
		}
	}
}

// Headers that every client sends are none.
func TestNoCredentials(t *testing.T) {
	sent, _, refusal := pass(t, newSet(t), "api.example.com", get("/?page_token=a&q=token&max_tokens=1", "Authorization: Bearer "+key,
		"User-Agent: x/1", "Accept: */*", "Accept-Language: de", "Idempotency-Key: 1", "Sec-WebSocket-Key: a", "Sec-WebSocket-Protocol: graphql-ws",
		"X-Request-Id: 1", "Origin: https://x", "Traceparent: 00-1", "X-Csrf-Token: a", "Mcp-Session-Id: 1", "Anthropic-Version: 1", "If-None-Match: a", "Openai-Organization: o"))
	if refusal != nil || !strings.Contains(sent, "Idempotency-Key: 1") {
		t.Errorf("%+v %q", refusal, sent)
	}
}

// Half of an echo could not be masked.
func TestFillAsksForAll(t *testing.T) {
	for host, want := range map[string]bool{"api.example.com": false, "other.example.com": true} {
		headers := []string{"Range: bytes=0-3", "If-Range: a", "Accept-Encoding: gzip"}
		if host == "api.example.com" {
			headers = append(headers, "Authorization: Bearer "+key)
		}
		sent, _, refusal := pass(t, newSet(t), host, get("/", headers...))
		if refusal != nil || strings.Contains(sent, "Range:") != want || strings.Contains(sent, "gzip") {
			t.Errorf("%s: %+v %q", host, refusal, sent)
		}
	}
}

func TestShown(t *testing.T) {
	s := newSet(t)
	f, refusal := s.Inspect("telegram.example.com", 443, request(t, get("/bot"+bot+"/send%20it?chat_id=1")))
	if refusal != nil || f.Path() != "/bot(bot)/send%20it" || f.Search() != "chat_id=1" {
		t.Errorf("%+v, %+v", f, refusal)
	}
	f, refusal = s.Inspect("api.example.com", 443, request(t, get("/?a=b&key="+key)))
	if refusal != nil || f.Path() != "/" || f.Search() != "a=b&key=(openai)" {
		t.Errorf("%+v, %+v", f, refusal)
	}
	// What could be taken for it has no way to that host.
	if _, refusal = s.Inspect("telegram.example.com", 443, request(t, get("/bot(bot)/getMe/"+bot))); refusal == nil {
		t.Error("a path that looks like another passes")
	}
}

// What is bound or not at the time of Inspect counts to the end.
func TestBindAndUnbind(t *testing.T) {
	s := newSet(t)
	r := request(t, get("/", "Authorization: Bearer "+key))
	f, refusal := s.Inspect("api.example.com", 443, r)
	if refusal != nil {
		t.Fatal(refusal)
	}
	s.Unbind("openai")
	if _, err := f.Fill(r, nil, canaries()); err != nil || r.Header.Get("Authorization") != "Bearer "+keyValue {
		t.Error("the request did not go on: ", err)
	}
	if f, refusal := s.Inspect("api.example.com", 443, request(t, get("/", "Authorization: Bearer "+key))); refusal != nil || len(f.Uses) != 0 {
		t.Error("it is bound still")
	}
	for _, b := range []packet.Binding{
		{},
		{Secret: "a"},
		{Secret: "a", Places: []packet.Place{{Kind: "somewhere", Name: "a"}}},
		{Secret: "a", Places: []packet.Place{{Kind: packet.Basic, Name: "both"}}},
		{Secret: "a", Places: []packet.Place{{Kind: packet.Header}}},
		{Secret: "a", Places: []packet.Place{{Kind: packet.Path, Name: "x"}}},
		{Secret: "a", Places: []packet.Place{{Kind: packet.Path}}, Placeholder: "short"},
		{Secret: "a", Places: []packet.Place{{Kind: packet.Path}}, Placeholder: "with a space, and long enough"},
		{Secret: "a", Places: []packet.Place{{Kind: packet.Path}}, Placeholder: strings.ToUpper(git) + "x"},
	} {
		if err := s.Bind(b); err == nil {
			t.Errorf("bound %+v", b)
		}
	}
	full := &Set{}
	for i := range MaxSecrets + 1 {
		err := full.Bind(packet.Binding{Secret: fmt.Sprint(i), Places: []packet.Place{{Kind: packet.Path}}})
		if (err != nil) != (i == MaxSecrets) {
			t.Fatalf("binding %d: %v", i, err)
		}
	}
}

// Requests go on while bindings change; the race detector watches.
func TestSetConcurrently(t *testing.T) {
	s := newSet(t)
	text := get("/", "Authorization: Bearer "+key)
	var others sync.WaitGroup
	for range 4 {
		others.Go(func() {
			for range 200 {
				f, refusal := s.Inspect("api.example.com", 443, request(t, text))
				if refusal == nil && len(f.Uses) != 1 || refusal != nil && refusal.Kind != packet.RefusedCredential {
					t.Errorf("%+v %+v", f, refusal)
				}
			}
		})
	}
	for i := range 200 {
		b := bindings()[0]
		if i%2 == 0 { // while the box has no placeholder, it is another credential
			b.Placeholder = ""
		}
		if err := s.Bind(b); err != nil {
			t.Error(err)
		}
	}
	others.Wait()
}

func BenchmarkInspect(b *testing.B) {
	s := newSet(b)
	for i := range 500 {
		if err := s.Bind(packet.Binding{Secret: fmt.Sprint("more", i), Hosts: []string{fmt.Sprint(i, ".example.com:443")}, Places: []packet.Place{{Kind: packet.Path}}}); err != nil {
			b.Fatal(err)
		}
	}
	for _, host := range []string{"api.example.com", "other.example.com"} {
		b.Run(host, func(b *testing.B) {
			r := request(b, get("/v1/chat?a=b", "User-Agent: client/1.0", "Accept: application/json", "X-Request-Id: 0123456789abcdef", "Traceparent: 00-0123456789abcdef0123456789abcdef-01"))
			b.ReportAllocs()
			for b.Loop() {
				if _, refusal := s.Inspect(host, 443, r); refusal != nil {
					b.Fatal(refusal)
				}
			}
		})
	}
}

func TestFillRefuses(t *testing.T) {
	for _, test := range []struct {
		host, request, secret, value string
	}{
		{"api.example.com", get("/", "Authorization: Bearer "+key), "openai", "CANARY\r\nX: y"},
		{"api.example.com", get("/", "Authorization: Bearer "+key), "openai", "CANARY "},
		{"api.example.com", get("/", "Authorization: Bearer "+key), "openai", ""},
		{"api.example.com", get("/", "Authorization: Bearer "+key), "another", "CANARY"},
		{"telegram.example.com", get("/bot" + bot + "/getMe"), "bot", "CANARY/../x"},
		{"telegram.example.com", get("/bot" + bot + "/getMe"), "bot", "CANARY?x"},
		{"telegram.example.com", get("/" + bot + "/getMe"), "bot", ".."},
		{"a.git.example.com", get("/", basicHeader(git, "")), "git", "CANARY:x"},
		{"a.git.example.com", get("/", basicHeader("me", git)), "git", "CANARY\x00"},
		{"login.example.com", post("/", "application/json", `{"auth":{"secret":"`+client+`"}}`), "client", "CANARY\xff"},
	} {
		r := request(t, test.request)
		f, refusal := newSet(t).Inspect(test.host, 443, r)
		if refusal != nil {
			t.Fatal(refusal)
		}
		var body []byte
		if f.NeedsBody() {
			body, _ = io.ReadAll(r.Body)
			if refusal := f.InspectBody(body); refusal != nil {
				t.Fatal(refusal)
			}
		}
		_, err := f.Fill(r, body, []packet.Value{{Secret: test.secret, Value: []byte(test.value)}})
		if err == nil {
			t.Errorf("%s %q: filled with %q", test.host, test.request, test.value)
		} else if strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s %q: it says %v", test.host, test.request, err)
		}
	}
}

// Fill takes no other request than the one that was inspected.
func TestFillAnotherRequest(t *testing.T) {
	f, refusal := newSet(t).Inspect("api.example.com", 443, request(t, get("/", "Authorization: Bearer "+key)))
	if refusal != nil {
		t.Fatal(refusal)
	}
	for _, text := range []string{get("/"), get("/?key=" + key), get("/"+key, "Authorization: Bearer "+key), get("/", "Authorization: Bearer "+key, "X: "+key)} {
		if _, err := f.Fill(request(t, text), nil, canaries()); err == nil {
			t.Errorf("filled %q", text)
		}
	}
}

func TestWatch(t *testing.T) {
	for _, spelled := range spellings(key) {
		f, refusal := newSet(t).Inspect("other.example.com", 443, request(t, get("/")))
		if refusal != nil {
			t.Fatal(refusal)
		}
		text := strings.Repeat("some text ", 5000)
		body := f.Watch(io.NopCloser(&chunks{[]byte(text + spelled + " more"), testRand()}))
		got, err := io.ReadAll(body)
		var refused *RefusedError
		if !asRefused(err, &refused) || refused.Kind != packet.RefusedPlaceholder || !strings.Contains(refused.Detail, "openai") || strings.Contains(refused.Detail, key) {
			t.Errorf("%q: %v", spelled, err)
		}
		if len(got) > len(text)+8 { // of base64, what stands around has its part
			t.Errorf("%q: %q came through", spelled, got[len(text):])
		}
	}
}

// canary reports whether any part of what a request has is a value.
func canary(v any) bool {
	text, _ := json.Marshal(v)
	return bytes.Contains(text, []byte("CANARY"))
}

var fuzzHosts = []string{"api.example.com", "telegram.example.com", "a.git.example.com", "gateway.example.com", "login.example.com", "closed.example.com", "other.example.com"}

// Whatever a request is: without bindings it is not refused; with them, it is, or no
// placeholder is left in what is sent; and no value gets into what is not sent.
func FuzzInspect(f *testing.F) {
	f.Add("GET /?key="+key+" HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer "+key+"\r\n\r\n", uint8(0))
	f.Add("GET /bot"+bot+"/x HTTP/1.1\r\nHost: h\r\n\r\n", uint8(1))
	f.Add("GET / HTTP/1.1\r\nHost: h\r\n"+basicHeader("me", git)+"\r\n\r\n", uint8(2))
	for i, body := range []string{`{"auth":{"secret":"` + client + `"}}`, "client_secret=" + client} {
		media := []string{"application/json", "application/x-www-form-urlencoded"}[i]
		f.Add(fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", media, len(body), body), uint8(4))
	}
	f.Fuzz(func(t *testing.T, text string, which uint8) {
		read := func() *http.Request {
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
			if err != nil {
				return nil
			}
			return r
		}
		r := read()
		if r == nil {
			return
		}
		host := fuzzHosts[int(which)%len(fuzzHosts)]
		if _, refusal := (&Set{}).Inspect(host, 443, r); refusal != nil {
			t.Fatalf("refused without bindings: %+v", refusal)
		}
		s := newSet(t)
		found, refusal := s.Inspect(host, 443, r)
		if refusal != nil {
			return
		}
		body, err := io.ReadAll(io.LimitReader(r.Body, MaxBody))
		if err != nil {
			return
		}
		Fields([]string{"a", "auth.secret"}, r, body)
		if found.NeedsBody() {
			if refusal := found.InspectBody(body); refusal != nil {
				return
			}
		} else if body, err = io.ReadAll(found.Watch(io.NopCloser(bytes.NewReader(body)))); err != nil {
			return
		}
		uses := len(found.Uses)
		filled, err := found.Fill(r, body, canaries())
		if canary(err) || canary(found.Path()+found.Search()) {
			t.Fatalf("a value is told: %v", err)
		}
		if err != nil {
			t.Fatalf("it was inspected and can't be filled: %v", err)
		}
		sent := fmt.Sprint(r.Method, r.Host, r.URL, r.Header, r.Trailer, string(filled))
		for _, b := range bindings() {
			if b.Placeholder != "" && strings.Contains(sent, b.Placeholder) {
				t.Fatalf("a placeholder is left: %q", sent)
			}
		}
		if uses == 0 && strings.Contains(sent, "CANARY") && !strings.Contains(text, "CANARY") {
			t.Fatalf("a value without a use: %q", sent)
		}
	})
}

func TestFields(t *testing.T) {
	multi := func(parts ...string) string {
		return "--b\r\n" + strings.Join(parts, "\r\n--b\r\n") + "\r\n--b--\r\n"
	}
	part := func(name, value string) string {
		return "Content-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value
	}
	const form, object, parts = "application/x-www-form-urlencoded", "application/json; charset=utf-8", "multipart/form-data; boundary=b"
	for _, test := range []struct {
		target, media, body string
		want                string
		unread              bool
	}{
		{"/?chat_id=1&x=2&chat_id=3", "", "", "chat_id=1 chat_id=3", false},
		{"/?chat%5Fid=%31", "", "", "chat_id=1", false},
		{"/?Chat_id=1", "", "", "", true},
		{"/?chat_id[]=1", "", "", "", true},
		{"/?x=1;chat_id=2", "", "", "", true},
		{"/?chat_id=%zz", "", "", "chat_id=%zz", true},
		{"/", form, "chat_id=1&a=b", "chat_id=1", false},
		{"/?chat_id=9", form, "chat_id=1", "chat_id=9 chat_id=1", false},
		{"/", object, `{"chat_id":1}`, "chat_id=1", false},
		{"/", object, `{"chat_id":"1","to":{"id":-100}}`, "chat_id=1 to.id=-100", false},
		{"/", object, `{"chat_id":true}`, "chat_id=true", false},
		{"/", object, `{"chat_id":1.0}`, "", true},
		{"/", object, `{"chat_id":1e0}`, "", true},
		{"/", object, `{"chat_id":[1]}`, "", true},
		{"/", object, `{"CHAT_ID":2}`, "", true},
		{"/", object, `{"to":[{"id":2}]}`, "", true},
		{"/", object, `{"to.id":2}`, "", false},
		{"/", object, `[{"chat_id":1}]`, "", true},
		{"/", object, `{"chat_id":1,"chat_id":2}`, "chat_id=1", true},
		{"/", object, `{"chat_id":1} x`, "", true},
		{"/", parts, multi(part("chat_id", "1"), part("text", "hi")), "chat_id=1", false},
		{"/", parts, multi(part("chat_id\"; filename=\"f", "1")), "chat_id=1", true},
		{"/", parts, multi("Content-Type: text/plain\r\n\r\n1"), "", true},
		{"/", parts, "--b\r\n" + part("chat_id", "1"), "", true},
		{"/", "text/plain", "chat_id=1", "", true},
		{"/", object, `{"chat_id":"` + strings.Repeat("1", MaxField+1) + `"}`, "", true},
	} {
		r := httptest.NewRequest("POST", test.target, strings.NewReader(test.body))
		r.Header.Set("Content-Type", test.media)
		fields, unread := Fields([]string{"chat_id", "to.id"}, r, []byte(test.body))
		var got []string
		for _, f := range fields {
			got = append(got, f.Name+"="+f.Value)
		}
		if strings.Join(got, " ") != test.want || unread != test.unread {
			t.Errorf("%s %s %.80s: %q, unread %v", test.target, test.media, test.body, got, unread)
		}
	}
	r := httptest.NewRequest("POST", "/", strings.NewReader("x"))
	if _, unread := Fields([]string{"a"}, r, nil); !unread {
		t.Error("a body that was not read counts as read")
	}
	r.Header.Set("Content-Encoding", "gzip")
	if _, unread := Fields([]string{"a"}, r, []byte("x")); !unread {
		t.Error("a compressed body counts as read")
	}
}

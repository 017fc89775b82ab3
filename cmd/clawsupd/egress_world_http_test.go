// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/cmd/clawsupd/internal/world"
)

// narrow allows one path of API by GET and POST, and what is passed through.
func narrow() string {
	return "[network]\ndefault = \"deny\"\n" +
		rule("api.test", "allow", `methods = ["GET", "POST"]`, `paths = ["/echo/ok"]`) +
		rule("plain.test", "allow", "ports = [80]", `methods = ["GET", "POST"]`, `paths = ["/echo/ok"]`) +
		rule("sealed.test", "allow", `through = "tls"`) +
		rule("raw.test", "allow", "ports = [7000]", `through = "tcp"`)
}

// sendraw sends bytes as they are and shows what comes back: over TLS to a
// name (tls), to port 80 (tcp), or through CONNECT (connect, and then TLS for
// the name behind the comma). Bytes are Python's.
const sendraw = `#!/usr/bin/python3
import ast, socket, ssl, sys
way, to, data = sys.argv[1], sys.argv[2], ast.literal_eval("b'''" + sys.argv[3] + "'''")
to, _, sni = to.partition(",")
s = socket.create_connection((to, 443 if way == "tls" else 80), 20) if way in ("tls", "tcp") else socket.create_connection(("198.18.0.1", 3128), 20)
if way.startswith("connect"):
    s.sendall(b"CONNECT %s:443 HTTP/1.1\r\nHost: %s:443\r\n\r\n" % (to.encode(), to.encode()))
    answer = s.recv(4096)
    if b" 200 " not in answer.split(b"\r\n")[0]:
        print("CONNECT:", answer.decode())
        sys.exit(3)
if way in ("tls", "connect"):
    c = ssl.create_default_context()
    c.check_hostname = False
    c.verify_mode = ssl.CERT_NONE
    s = c.wrap_socket(s, server_hostname=sni or to)
s.settimeout(5)
s.sendall(data)
try:
    while b := s.recv(4096):
        print(b.decode(errors="replace"), end="")
except OSError as e:
    print(type(e).__name__, e)
`

// TestFronting: what a client says in one place does not lead elsewhere than
// what it says in another.
func TestFronting(t *testing.T) {
	needs(t, "/usr/bin/python3", "curl")
	o := newOutside(t, map[string]string{"narrow": narrow()})
	send := o.tool(t, "sendraw", []byte(sendraw))
	get := func(host string) string {
		return `GET /echo/ok HTTP/1.1\r\nHost: ` + host + `\r\nConnection: close\r\n\r\n`
	}
	for name, test := range map[string]struct {
		args []string
		only world.Name // the server that may be reached; empty: none
	}{
		"Host of another in TLS":              {[]string{send, "tls", "api.test", get("other.test")}, ""},
		"Host of another, plain":              {[]string{send, "tcp", "plain.test", get("other.test")}, ""},
		"Host of another allowed one":         {[]string{send, "tls", "api.test", get("plain.test")}, ""},
		"SNI of another":                      {[]string{send, "tls", "api.test,other.test", get("api.test")}, ""},
		"SNI and Host of another":             {[]string{send, "tls", "api.test,other.test", get("other.test")}, ""},
		"CONNECT, and SNI of another":         {[]string{send, "connect", "api.test,other.test", get("api.test")}, ""},
		"CONNECT, and Host of another":        {[]string{send, "connect", "api.test", get("other.test")}, ""},
		"CONNECT to another":                  {[]string{send, "connect", "other.test,api.test", get("api.test")}, ""},
		"CONNECT, and plain HTTP":             {[]string{send, "connect-plain", "api.test", get("api.test")}, ""},
		"CONNECT in CONNECT":                  {[]string{send, "connect", "api.test", `CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443\r\n\r\n`}, ""},
		"CONNECT where nothing said proxy":    {[]string{send, "tls", "api.test", `CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443\r\n\r\n`}, ""},
		"absolute form of another":            {[]string{send, "tls", "api.test", `GET https://other.test/echo/ok HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n`}, ""},
		"absolute form and Host disagree":     {[]string{send, "tcp", "plain.test", `GET http://plain.test/echo/ok HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n`}, world.Plain},
		"absolute form with another scheme":   {[]string{send, "tls", "api.test", `GET http://plain.test/echo/ok HTTP/1.1\r\nHost: plain.test\r\nConnection: close\r\n\r\n`}, ""},
		"two Hosts":                           {[]string{send, "tls", "api.test", `GET /echo/ok HTTP/1.1\r\nHost: api.test\r\nHost: other.test\r\nConnection: close\r\n\r\n`}, ""},
		"Host with a list":                    {[]string{send, "tls", "api.test", get("api.test, other.test")}, ""},
		"Host with userinfo":                  {[]string{send, "tls", "api.test", get("api.test@other.test")}, ""},
		"Host with another port":              {[]string{send, "tls", "api.test", get("api.test:8443")}, ""},
		"no Host":                             {[]string{send, "tls", "api.test", `GET /echo/ok HTTP/1.1\r\nConnection: close\r\n\r\n`}, ""},
		"forwarded headers":                   {[]string{send, "tls", "api.test", `GET /echo/ok HTTP/1.1\r\nHost: api.test\r\nX-Forwarded-Host: other.test\r\nX-Original-URL: /echo/no\r\nConnection: close\r\n\r\n`}, world.API},
		"SNI of another where TLS passes":     {[]string{send, "tls", "sealed.test,other.test", get("other.test")}, ""},
		"no SNI where TLS passes":             {[]string{"sh", "-c", "curl -sSk --max-time 20 https://$(getent ahostsv4 sealed.test | head -n 1 | cut -d ' ' -f 1)/echo/ok"}, ""},
		"plain HTTP where TLS passes":         {[]string{"curl", "-sS", "--max-time", "20", "http://sealed.test:443/echo/ok"}, ""},
		"HTTP/2 and an authority of another":  {[]string{"curl", "-sS", "--http2", "-H", "Host: other.test", "https://api.test/echo/ok"}, ""},
		"HTTP/2 without asking, over plain":   {[]string{"curl", "-sS", "--http2-prior-knowledge", "--max-time", "20", "http://plain.test/echo/no"}, ""},
		"an upgrade to HTTP/2":                {[]string{"curl", "-sS", "--http2", "http://plain.test/echo/no"}, ""},
		"another method":                      {[]string{"curl", "-sS", "-X", "DELETE", "https://api.test/echo/ok"}, ""},
		"another method by its name in lower": {[]string{"curl", "-sS", "-X", "get", "https://api.test/echo/ok"}, ""},
		"a WebSocket as GET":                  {[]string{"curl", "-sS", "--http1.1", "-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13", "-H", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "https://api.test/echo/ok"}, ""},
		"another path":                        {[]string{"curl", "-sS", "https://api.test/echo/no"}, ""},
		"dots":                                {[]string{"curl", "-sS", "--path-as-is", "https://api.test/echo/ok/../no"}, ""},
		"encoded dots":                        {[]string{"curl", "-sS", "--path-as-is", "https://api.test/echo/ok/%2e%2e/no"}, ""},
		"encoded slashes":                     {[]string{"curl", "-sS", "--path-as-is", "https://api.test/echo/ok/..%2fno"}, ""},
		"backslashes":                         {[]string{"curl", "-sS", "--path-as-is", `https://api.test/echo/ok\..\no`}, ""},
		"encoded twice":                       {[]string{"curl", "-sS", "--path-as-is", "https://api.test/echo/ok/%252e%252e/no"}, ""},
		"two slashes":                         {[]string{"curl", "-sS", "--path-as-is", "https://api.test//echo/ok"}, ""},
		"another port":                        {[]string{"curl", "-sS", "https://api.test:8443/echo/ok"}, ""},
		"raw bytes to a port of HTTP":         {[]string{send, "tcp", "plain.test", `SSH-2.0-OpenSSH_9.2\r\n`}, ""},
		"TLS where bytes pass":                {[]string{"curl", "-sSk", "--max-time", "20", "https://raw.test:443/"}, ""},
	} {
		mark := o.world.Sink.Mark(t)
		before := len(o.world.Log.All(nil))
		got := o.submitArgs(t, "narrow", test.args...).end()
		for _, s := range o.world.Log.All(nil)[before:] {
			if s.Server != test.only || s.Host != string(test.only) || !strings.HasSuffix(s.Target, "/echo/ok") {
				t.Errorf("%s: it got through to %v: %v", name, s, got)
			}
		}
		if test.only == "" {
			o.world.Sink.Silent(t, mark, question)
		} else {
			o.world.Sink.Silent(t, mark, at(test.only))
		}
	}
	for _, q := range o.world.Questions() {
		if n := world.Name(strings.TrimSuffix(strings.ToLower(q.Name), ".")); n != world.API && n != world.Plain && n != world.Sealed && n != world.Raw {
			t.Errorf("the resolver was asked about %s, which no rule names", n)
		}
	}
	// The same client gets what it may.
	if got := o.submitArgs(t, "narrow", send, "connect", "api.test", get("api.test")).end(); !strings.Contains(got.out, "200 OK") {
		t.Errorf("%v", got)
	}
}

// TestSmuggling: a server never sees a request that was not judged. What is
// smuggled asks for a path that is not allowed, so that one which is seen as a request
// of its own here is refused too.
func TestSmuggling(t *testing.T) {
	needs(t, "/usr/bin/python3", "curl")
	o := newOutside(t, map[string]string{"narrow": narrow()})
	o.tool(t, "sendraw", []byte(sendraw))
	const inner = `GET /echo/smuggled HTTP/1.1\r\nHost: api.test\r\nX: `
	body := `0\r\n\r\n` + inner
	payloads := map[string]string{
		"both lengths":                `POST /echo/ok HTTP/1.1\r\nHost: api.test\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n` + body,
		"both lengths, the other way": `POST /echo/ok HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5\r\nhello\r\n` + body,
		"two lengths":                 `POST /echo/ok HTTP/1.1\r\nHost: api.test\r\nContent-Length: 0\r\nContent-Length: %d\r\n\r\n` + body,
		"a list of lengths":           `POST /echo/ok HTTP/1.1\r\nHost: api.test\r\nContent-Length: 0, %d\r\n\r\n` + body,
		"a signed length":             `POST /echo/ok HTTP/1.1\r\nHost: api.test\r\nContent-Length: +%d\r\n\r\n` + body,
		"a length in hexadecimal":     `POST /echo/ok HTTP/1.1\r\nHost: api.test\r\nContent-Length: 0x10\r\n\r\n` + body,
		"a space before the colon":    `POST /echo/ok HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding : chunked\r\nContent-Length: %d\r\n\r\n` + body,
		"a tab":                       `POST /echo/ok HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding:\tchunked\r\nContent-Length: %d\r\n\r\n` + body,
		"a vertical tab":              `POST /echo/ok HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: \x0bchunked\r\nContent-Length: %d\r\n\r\n` + body,
		"another coding":              `POST /echo/ok HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: xchunked\r\nContent-Length: %d\r\n\r\n` + body,
		"two codings":                 `POST /echo/ok HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n` + body,
		"chunked, then another":       `POST /echo/ok HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked, identity\r\nContent-Length: %d\r\n\r\n` + body,
		"a folded header":             `POST /echo/ok HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding:\r\n chunked\r\nContent-Length: %d\r\n\r\n` + body,
		"a header hidden by a fold":   `POST /echo/ok HTTP/1.1\r\nHost: api.test\r\nX: x\r\n Transfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n` + body,
		"bare line feeds":             `POST /echo/ok HTTP/1.1\nHost: api.test\nContent-Length: 0\nTransfer-Encoding: chunked\n\n` + body,
		"a bare carriage return":      `POST /echo/ok HTTP/1.1\r\nHost: api.test\r\nX: x\rContent-Length: 0\r\nContent-Length: %d\r\n\r\n` + body,
		"a line feed in a header":     `GET /echo/ok HTTP/1.1\r\nHost: api.test\r\nX: a\nGET /echo/smuggled HTTP/1.1\r\n\r\n`,
		"a NUL in a header":           `POST /echo/ok HTTP/1.1\r\nHost: api.test\r\nX: \x00\r\nContent-Length: %d\r\n\r\n` + body,
		"chunk extensions":            `POST /echo/ok HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\n5\r\nhello\r\n` + body,
		"a chunk without an end":      `POST /echo/ok HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n` + inner,
		"a chunk of a huge length":    `POST /echo/ok HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n` + body,
		"a chunk of a negative one":   `POST /echo/ok HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n` + body,
		"trailers":                    `POST /echo/ok HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n5\r\nhello\r\n0\r\nContent-Length: 100\r\nHost: other.test\r\n\r\n` + inner,
		"a body of GET":               `GET /echo/ok HTTP/1.1\r\nHost: api.test\r\nContent-Length: %d\r\n\r\n` + body,
		"pipelining":                  `GET /echo/ok HTTP/1.1\r\nHost: api.test\r\n\r\n` + inner + `\r\n\r\n`,
		"a space in the path":         `GET /echo/ok HTTP/1.1\r\nX: GET /echo/smuggled HTTP/1.1\r\nHost: api.test\r\n\r\n`,
		"HTTP/0.9":                    `GET /echo/smuggled\r\n`,
		"HTTP/1.0 kept alive":         `POST /echo/ok HTTP/1.0\r\nHost: api.test\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n` + body,
		"HTTP of another version":     `POST /echo/ok HTTP/1.9\r\nHost: api.test\r\nContent-Length: 0\r\n\r\n` + inner + `\r\n\r\n`,
		"an expectation":              `POST /echo/ok HTTP/1.1\r\nHost: api.test\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n` + inner + `\r\n\r\n`,
		"hop-by-hop by name":          `POST /echo/ok HTTP/1.1\r\nHost: api.test\r\nConnection: Content-Length, Host\r\nContent-Length: %d\r\n\r\n` + body,
		"an upgrade that fails":       `GET /echo/ok HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\nSec-WebSocket-Key: x\r\n\r\n` + inner + `\r\n\r\n`,
		"an upgrade to h2c":           `GET /echo/ok HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`,
	}
	payloads["nothing wrong"] = `GET /echo/ok HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n`
	length := len(strings.NewReplacer(`\r`, "r", `\n`, "n").Replace(body))
	var script strings.Builder // all of them at a time: what hangs hangs for seconds
	cases := 0
	for name, data := range payloads {
		data = strings.ReplaceAll(data, "%d", fmt.Sprint(length))
		data = strings.Replace(data, `Host: api.test\r\n`, `Host: api.test\r\nX-Case: `+strings.ReplaceAll(name, " ", "-")+`\r\n`, 1)
		for _, way := range []string{"tls", "connect"} {
			cases++
			fmt.Fprintf(&script, "%s/sendraw %s api.test '%s' >/tmp/%d 2>&1 &\n", o.tools, way, data, cases)
			if cases%16 == 0 {
				script.WriteString("wait\n")
			}
		}
	}
	got := o.run(t, "narrow", script.String()+"wait\ncat /tmp/*\n")
	if !got.ok() || strings.Contains(got.out, `"target":"/echo/smuggled"`) {
		t.Errorf("%v", got)
	}
	right := 0
	for _, s := range o.world.Log.All(nil) {
		if s.Server != world.API || s.Host != "api.test" || s.Target != "/echo/ok" {
			t.Errorf("the server saw %v", s)
		}
		if s.Header.Get("X-Case") == "nothing-wrong" {
			right++
		}
	}
	if right != 2 {
		t.Errorf("what is right came %d times: %v", right, got)
	}
}

// TestDenials: what was refused is told to the program in a line, to the caller
// as data, and to the log.
func TestDenials(t *testing.T) {
	o := newOutside(t, map[string]string{"narrow": narrow()})
	got := o.run(t, "narrow", `curl -sS -i https://api.test/echo/no; curl -sS -X DELETE https://api.test/echo/ok; for i in 1 2 3; do curl -sS https://api.test/echo/thrice; done; curl -sS https://other.test/; bash -c 'exec 3<>/dev/tcp/raw.test/7001 && head -c 1 <&3'; true`)
	if !strings.Contains(got.out, " 403") || strings.Count(got.out, "clawsup: denied: ") != 5 {
		t.Errorf("the program was told %q", got.out)
	}
	for _, parts := range [][]string{
		{"net.request", "GET https://api.test:443/echo/no"},
		{"net.request", "DELETE https://api.test:443/echo/ok"},
		{"other.test"},
		{"net.connect", "raw.test:7001"},
	} {
		if !got.denied(parts...) {
			t.Errorf("%q is not in the result: %v", parts, got)
		}
	}
	for _, d := range got.Reached.Denied {
		if strings.Contains(d.Target, "thrice") && d.Times != 3 {
			t.Errorf("%+v", d)
		}
		if d.Reason == "" || strings.Contains(d.Reason, "\n") {
			t.Errorf("%+v", d)
		}
	}
	denied := 0
	for _, r := range o.receipts()[got.ID] {
		if r.Decision == "deny" {
			denied++
		}
	}
	if denied < 4 {
		t.Errorf("%d receipts of denials", denied)
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/cmd/clawsupd/internal/world"
	"github.com/clawsup/clawsup/supervisor/audit"
)

// open allows what the world's good servers have.
func open() string {
	var b strings.Builder
	for _, n := range []world.Name{world.API, world.Git, world.Wheels, world.Packages, world.Moved} {
		b.WriteString(rule(string(n), "allow"))
	}
	b.WriteString(rule(string(world.Plain), "allow", "ports = [80]"))
	b.WriteString(rule(string(world.Raw), "allow", "ports = [7000, 7001]", `through = "tcp"`))
	b.WriteString(rule(string(world.Sealed), "allow", `through = "tls"`))
	return "[network]\ndefault = \"deny\"\n" + b.String()
}

// programs of boxes, in Python. Each is one line for each thing it does.
const (
	pythonGreeting = `
import socket
s = socket.create_connection(("raw.test", 7001), 30)
print(s.recv(100).decode().strip())
s.sendall(b"thanks\n")
print(s.recv(100).decode().strip())
`
	pythonSOCKS = `
import socket
s = socket.create_connection(("198.18.0.1", 1080), 30)
s.sendall(b"\x05\x01\x00")
s.recv(2)
s.sendall(b"\x05\x01\x00\x03\x08raw.test" + (7001).to_bytes(2, "big"))
while b := s.recv(100):
    print(b.decode(errors="replace"))
    if b"service" in b:
        break
`
	pythonSealed = `
import socket, ssl
c = ssl.create_default_context()
s = c.wrap_socket(socket.create_connection(("sealed.test", 443), 30), server_hostname="sealed.test")
print(s.getpeercert()["issuer"])
s.sendall(b"GET /echo/sealed HTTP/1.1\r\nHost: sealed.test\r\nConnection: close\r\n\r\n")
while b := s.recv(4096):
    print(b.decode(), end="")
`
)

// clients are programs that know nothing of clawsup, as people use them.
var clients = []struct {
	name   string
	needs  string // the program, where it isn't everybody's
	script string // %s: the path of world/client
	says   string // part of its output
	server world.Name
	target string // of the request; empty: there is none
	effect string // of the receipt
}{
	{"curl", "curl", "curl -sS https://api.test/echo/curl", `"target":"/echo/curl"`, world.API, "/echo/curl", "net.request"},
	{"curl and plain HTTP", "curl", "curl -sS http://plain.test/echo/plain", `"target":"/echo/plain"`, world.Plain, "/echo/plain", "net.request"},
	{"curl and HTTP/1.1", "curl", "curl -sS --http1.1 https://api.test/echo/one", `"target":"/echo/one"`, world.API, "/echo/one", "net.request"},
	{"curl with a body", "curl", "curl -sS --data some=thing https://api.test/echo/post", `"body":"some=thing"`, world.API, "/echo/post", "net.request"},
	{"wget", "wget", "wget -qO- https://api.test/echo/wget", `"target":"/echo/wget"`, world.API, "/echo/wget", "net.request"},
	{"git", "git", "cd /tmp && git clone -q https://git.test/garden.git && cat garden/README", world.Bloom, world.Git, "/garden.git/git-upload-pack", "net.request"},
	{"pip", "/usr/bin/pip3", "cd /tmp && /usr/bin/python3 -m pip install -q --target here --index-url https://wheels.test/simple sunflower && cd here && /usr/bin/python3 -c 'import sunflower'", world.Bloom, world.Wheels, "/files/sunflower-1.0.0-py3-none-any.whl", "net.request"},
	{"npm", "npm", "cd /tmp && npm install --registry https://packages.test sunflower && node -e 'require(\"sunflower\")'", world.Bloom, world.Packages, "/sunflower/-/sunflower-1.0.0.tgz", "net.request"},
	{"requests", "/usr/bin/python3", "/usr/bin/python3 -c 'import requests; print(requests.get(\"https://api.test/echo/requests\").text)'", `"target":"/echo/requests"`, world.API, "/echo/requests", "net.request"},
	{"urllib", "/usr/bin/python3", "/usr/bin/python3 -c 'import urllib.request as u; print(u.urlopen(\"https://api.test/echo/urllib\").read().decode())'", `"target":"/echo/urllib"`, world.API, "/echo/urllib", "net.request"},
	{"fetch", "node", "node -e 'fetch(\"https://api.test/echo/fetch\").then(r => r.text()).then(console.log)'", `"target":"/echo/fetch"`, world.API, "/echo/fetch", "net.request"},
	{"net/http", "", "%s get https://api.test/echo/go", `"target":"/echo/go"`, world.API, "/echo/go", "net.request"},
	{"a WebSocket", "", "%s websocket wss://api.test/socket hello again", "hello\nagain\n", world.API, "/socket", "net.request"},
	{"bash", "bash", "bash -c 'exec 3<>/dev/tcp/raw.test/7000; echo hello >&3; read -r line <&3; echo got $line'", "got hello", world.Raw, "", "net.connect"},
	{"a server that speaks first", "/usr/bin/python3", "/usr/bin/python3 -c '" + pythonGreeting + "'", "220 raw.test at your service\nthanks", world.Raw, "", "net.connect"},
	{"TLS that nobody opens", "/usr/bin/python3", "/usr/bin/python3 -c '" + pythonSealed + "'", "authority of the test's world", world.Sealed, "/echo/sealed", "net.connect"},
	{"a proxy", "curl", "curl -sS --proxy http://198.18.0.1:3128 https://api.test/echo/proxy", `"target":"/echo/proxy"`, world.API, "/echo/proxy", "net.request"},
	{"a proxy and plain HTTP", "curl", "http_proxy=http://198.18.0.1:3128 curl -sS http://plain.test/echo/proxied", `"target":"/echo/proxied"`, world.Plain, "/echo/proxied", "net.request"},
	{"SOCKS", "curl", "ALL_PROXY=socks5h://198.18.0.1:1080 curl -sS https://api.test/echo/socks", `"target":"/echo/socks"`, world.API, "/echo/socks", "net.request"},
	{"SOCKS and bytes", "/usr/bin/python3", "/usr/bin/python3 -c '" + pythonSOCKS + "'", world.Greeting[:20], world.Raw, "", "net.connect"},
}

// TestRealClients: programs get what they ask for without knowing of clawsup;
// the servers saw them, and every one has its receipt.
func TestRealClients(t *testing.T) {
	o := newOutside(t, map[string]string{"open": open()})
	calls := map[string]string{} // call, by name
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			script := c.script
			if strings.Contains(script, "%s") {
				script = fmt.Sprintf(script, o.client(t))
			} else {
				needs(t, c.needs)
			}
			before := len(o.world.Log.All(nil))
			got := o.run(t, "open", script)
			calls[c.name] = got.ID
			if !got.ok() || !strings.Contains(got.out, c.says) {
				t.Errorf("%v", got)
			}
			seen := o.world.Log.All(nil)[before:]
			if !slices.ContainsFunc(seen, func(s world.Seen) bool { return s.Server == c.server && s.Target == c.target }) {
				t.Errorf("the servers saw %v", seen)
			}
			for _, s := range seen {
				if s.SNI != "" && (s.SNI != string(s.Server) || s.Version < tls.VersionTLS12) {
					t.Errorf("%s was called %s, by TLS version %#x", s.Server, s.SNI, s.Version)
				}
			}
		})
	}
	receipts := o.receipts()
	for _, c := range clients {
		if id, ran := calls[c.name]; ran && !slices.ContainsFunc(receipts[id], func(r audit.Receipt) bool {
			return r.Effect == c.effect && r.Decision == "allow" && about(r, string(c.server))
		}) {
			t.Errorf("%s: no receipt among %+v", c.name, receipts[id])
		}
	}
}

// TestDig: names have addresses of no network there is, and nobody else is asked.
func TestDig(t *testing.T) {
	needs(t, "dig")
	o := newOutside(t, map[string]string{"open": open()})
	mark := o.world.Sink.Mark(t)
	for name, test := range map[string]struct{ args, want string }{
		"an address":     {"+short api.test", "198.1"},
		"by TCP":         {"+short +tcp api.test", "198.1"},
		"another server": {"+short @9.9.9.9 api.test", "198.1"},
		"upper case":     {"+short API.test.", "198.1"},
		"IPv6":           {"+noall +comments AAAA api.test", "status: NOERROR"},
		"HTTPS":          {"+noall +comments HTTPS api.test", "status: NOERROR"},
		"SVCB":           {"+noall +comments SVCB api.test", "status: NOERROR"},
		"not allowed":    {"+noall +comments other.test", "status: NXDOMAIN"},
		"nowhere":        {"+noall +comments nowhere.invalid", "status: NXDOMAIN"},
		"transfer":       {"+noall +comments AXFR test", "REFUSED"},
	} {
		got := o.run(t, "open", "dig "+test.args)
		if !strings.Contains(got.out+got.err, test.want) {
			t.Errorf("%s: %v", name, got)
		}
		if name == "IPv6" || name == "HTTPS" || name == "SVCB" {
			if !strings.Contains(got.out, "ANSWER: 0") {
				t.Errorf("%s: %v", name, got)
			}
		}
	}
	o.world.Sink.Silent(t, mark)
	if q := o.world.Questions(); len(q) > 0 {
		t.Errorf("the resolver was asked %v", q)
	}
}

// TestStrictUpstream: clawsup believes no server that the client would not.
func TestStrictUpstream(t *testing.T) {
	names := []world.Name{world.Expired, world.Stranger, world.Misnamed, world.Old}
	var rules string
	for _, n := range names {
		rules += rule(string(n), "allow")
	}
	o := newOutside(t, map[string]string{"open": rules})
	for _, n := range names {
		got := o.run(t, "open", "curl -sS --fail https://"+string(n)+"/echo")
		if got.ok() || strings.Contains(got.out, `"target"`) {
			t.Errorf("%s: %v", n, got)
		}
		if seen := o.world.Log.All(func(s world.Seen) bool { return s.Server == n }); len(seen) > 0 {
			t.Errorf("%s saw %v", n, seen)
		}
	}
}

// TestStreams: what is large passes whole, and what comes in parts comes as it
// comes.
func TestStreams(t *testing.T) {
	o := newOutside(t, map[string]string{"open": open()})
	const size = 40 << 20 // more than a helper could hold unnoticed
	for _, version := range []string{"--http1.1", "--http2"} {
		got := o.run(t, "open", fmt.Sprintf("curl -sS %s 'https://api.test/download?size=%d' | sha256sum", version, size))
		if !got.ok() || !strings.HasPrefix(got.out, world.Digest(size)) {
			t.Errorf("%s: %v", version, got)
		}
		got = o.run(t, "open", fmt.Sprintf("head -c %d /dev/zero | curl -sS %s -T - https://api.test/upload", size, version))
		if !got.ok() || !strings.HasPrefix(got.out, fmt.Sprint(size, " ")) {
			t.Errorf("%s: %v", version, got)
		}
		for _, path := range []string{"/events", "/wait"} {
			g := o.submit(t, "open", "curl -sS --no-buffer "+version+" 'https://api.test"+path+"?parts=3'")
			for i := range 3 {
				g.said(fmt.Sprintf("part %d\n", i))
				if i < 2 {
					o.world.Gate <- struct{}{} // taken only once the client has what came before
				}
			}
			if got := g.end(); !got.ok() {
				t.Errorf("%s %s: %v", path, version, got)
			}
		}
	}
	g := o.submit(t, "open", "bash -c 'exec 3<>/dev/tcp/raw.test/7000; head -c 5000000 /dev/zero >&3 & head -c 5000000 <&3 | wc -c'")
	if got := g.end(); !got.ok() || strings.TrimSpace(got.out) != "5000000" {
		t.Errorf("%v", got)
	}
}

// TestCaps: a call that sends or gets more than its profile has is cut off.
func TestCaps(t *testing.T) {
	limits := "[limits]\nnet_sent = \"1M\"\nnet_received = \"1M\"\nnet_connections = 4\n"
	o := newOutside(t, map[string]string{"capped": limits + open()})
	const size = 8 << 20
	got := o.run(t, "capped", fmt.Sprintf("head -c %d /dev/zero | curl -sS -T - https://api.test/upload", size))
	if strings.HasPrefix(got.out, fmt.Sprint(size, " ")) || !got.denied("api.test") {
		t.Errorf("sent: %v", got)
	}
	s := o.world.Log.Await(t, func(s world.Seen) bool { return s.Target == "/upload" && s.Ended })
	if s.Size > 1<<20 {
		t.Errorf("%d bytes arrived", s.Size)
	}
	got = o.run(t, "capped", fmt.Sprintf("curl -sS 'https://api.test/download?size=%d' | wc -c", size))
	var n int64
	if _, err := fmt.Sscan(got.out, &n); err != nil || n > 1<<20 || !got.denied("api.test") {
		t.Errorf("received: %d %v", n, got)
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/cmd/clawsupd/internal/world"
)

// inward allows every name that leads inwards, by all ways: only what clawsup
// itself refuses stands between a box and the addresses.
func inward() string {
	s := "[network]\ndefault = \"deny\"\n"
	hosts := []string{"*.inward.test", string(world.Rebind), string(world.Endless), "localhost.test"}
	for _, h := range hosts {
		s += rule(h, "allow", "ports = [80]", `scheme = "http"`)
		s += rule(h, "allow", "ports = [443]")
		s += rule(h, "allow", "ports = [22, 6379]", `through = "tcp"`)
	}
	return s
}

// question says whether a packet is one to the resolver.
func question(p world.Packet) bool {
	return p.To == netip.AddrPortFrom(world.Resolver, 53)
}

// TestNamesThatLeadInwards: a name that policy allows is not a way to an address
// that is not public. Canaries at all of them are looked at when the world ends.
func TestNamesThatLeadInwards(t *testing.T) {
	o := newOutside(t, map[string]string{"inward": inward()})
	for _, n := range world.Inward {
		mark := o.world.Sink.Mark(t)
		got := o.run(t, "inward", fmt.Sprintf("curl -sS --fail http://%[1]s/ || curl -sS --fail --insecure https://%[1]s/ || curl -sS --max-time 20 telnet://%[1]s:6379 </dev/null", n))
		if got.ok() || got.out != "" {
			t.Errorf("%s: %v", n, got)
		}
		if !got.denied(string(n)) {
			t.Errorf("%s: the call was not told: %v", n, got)
		}
		o.world.Sink.Silent(t, mark, question)
	}
	// One good address does not make the other good.
	mark := o.world.Sink.Mark(t)
	for range 4 {
		o.run(t, "inward", "curl -sS --insecure https://"+string(world.ToMixed)+"/echo")
	}
	o.world.Sink.Silent(t, mark, at(world.API))
	mark = o.world.Sink.Mark(t)
	if got := o.run(t, "inward", "curl -sS http://"+string(world.Endless)+"/ -o /dev/null -w '%{http_code}'"); got.out == "200" {
		t.Errorf("%v", got)
	}
	o.world.Sink.Silent(t, mark, question)
}

// spellings are addresses in forms that some parser takes for 127.0.0.1, or
// for others inside.
var spellings = []string{
	"127.0.0.1", "127.1", "127.0.1", "2130706433", "017700000001", "0177.0.0.1", "0x7f000001", "0x7f.0.0.1", "0x7f.1",
	"127.0.0.1.", "127.000.000.001", "0", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]",
	"[0:0:0:0:0:0:0:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "localhost", "LOCALHOST", "localhost.", "a.localhost",
	"①②⑦.⓪.⓪.①", "127。0。0。1", "１２７.0.0.1", "%31%32%37.0.0.1",
	"169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "[::ffff:169.254.169.254]", "[fd00:ec2::254]",
	"10.1.2.3", "167838211", "012.1.2.3", "[::ffff:10.1.2.3]", "[fd00::3]", "100.64.0.1", "224.0.0.251", "255.255.255.255",
	"20.0.0.1", "[2600:20::1]", "335544321", "[::ffff:20.0.0.1]", "198.18.0.1", "198.19.255.255",
}

// TestSpellings: no spelling of an address gets through, by any way: none is
// taken for another host than it leads to, or for a name.
func TestSpellings(t *testing.T) {
	needs(t, "/usr/bin/python3")
	o := newOutside(t, map[string]string{"inward": inward() + rule("plain.test", "allow", "ports = [80]")})
	script := o.tool(t, "spellings", []byte(`#!/usr/bin/python3
import socket, sys
def exchange(port, data):
    try:
        s = socket.create_connection(("198.18.0.1", port), 10)
    except OSError as e:
        return repr(e).encode()
    got = b""
    try:
        for d in data:
            s.sendall(d)
            got = s.recv(4096)
            if not got:
                break
        else:
            s.settimeout(10)
            while b := s.recv(4096):
                got += b
    except OSError:
        pass
    return got
for host in sys.argv[1:]:
    raw = host.encode()
    for port in (80, 443, 6379):
        answers = [
            exchange(3128, [b"GET http://%s:%d/echo HTTP/1.1\r\nHost: %s:%d\r\nConnection: close\r\n\r\n" % (raw, port, raw, port)]),
            exchange(3128, [b"CONNECT %s:%d HTTP/1.1\r\nHost: %s:%d\r\n\r\n" % (raw, port, raw, port), b"GET /echo HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % raw]),
            exchange(1080, [b"\x05\x01\x00", b"\x05\x01\x00\x03" + bytes([len(raw)]) + raw + port.to_bytes(2, "big"), b"GET /echo HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % raw]),
        ]
        bare = host.strip("[]")
        try:
            s = socket.create_connection((bare, port), 10)
            s.sendall(b"GET /echo HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % raw)
            answers.append(s.recv(4096))
        except (OSError, UnicodeError) as e:
            answers.append(b"")
        for a in answers:
            if b" 200 OK" in a:
                print("ANSWERED", host, port, a)
`))
	got := o.submitArgs(t, "inward", script, "plain.test").end()
	if strings.Count(got.out, "ANSWERED plain.test 80") != 4 {
		t.Errorf("what is allowed, by each way: %v", got)
	}
	mark := o.world.Sink.Mark(t)
	got = o.submitArgs(t, "inward", append([]string{script}, spellings...)...).end()
	if !got.ok() || strings.Contains(got.out, "ANSWERED") {
		t.Errorf("%v", got)
	}
	o.world.Sink.Silent(t, mark)

	// The same as a browser or curl spells it.
	mark = o.world.Sink.Mark(t)
	got = o.submitArgs(t, "inward", append([]string{"sh", "-c", `for host; do for scheme in http https; do curl -sSgk --max-time 20 --fail "$scheme://$host/" && echo ANSWERED "$host"; done; done; true`, "-"}, spellings...)...).end()
	if !got.ok() || strings.Contains(got.out, "ANSWERED") {
		t.Errorf("%v", got)
	}
	o.world.Sink.Silent(t, mark)
}

// TestTunnelling: what is asked of DNS goes nowhere, whether or not policy
// allows the names: there is nothing to carry bytes out by.
func TestTunnelling(t *testing.T) {
	needs(t, "dig")
	o := newOutside(t, map[string]string{
		"closed": "[network]\ndefault = \"deny\"\n",
		"open":   "[network]\ndefault = \"deny\"\n" + rule("*.tunnel.test", "allow") + rule("tunnel.test", "allow"),
		"asking": "",
	})
	script := o.tool(t, "tunnel", []byte(`#!/bin/bash
label=$(printf 'x%.0s' {1..63})
for type in A AAAA TXT NULL MX CNAME SRV PTR ANY HTTPS SVCB NAPTR CAA DNSKEY; do
	dig +tries=1 +time=10 +noall +answer -t $type c2VjcmV0.tunnel.test
	dig +tries=1 +time=10 +noall +answer -t $type $label.$label.$label.tunnel.test
	dig +tries=1 +time=10 +noall +answer +tcp -t $type @20.53.0.53 direct.tunnel.test
done
dig +tries=1 +time=10 +noall +answer +opcode=update tunnel.test
dig +tries=1 +time=10 +noall +answer -c CH TXT version.bind
for n in {1..600}; do echo secret$n.tunnel.test; done >/tmp/names
dig +tries=1 +time=10 +short -f /tmp/names | grep -c .
true
`))
	for _, profile := range []string{"closed", "open", "asking"} {
		mark := o.world.Sink.Mark(t)
		got := o.run(t, profile, script)
		if !got.ok() || strings.Contains(got.out, "orders from afar") {
			t.Errorf("%s: %v", profile, got)
		}
		if (profile == "closed") == strings.Contains(got.out, "198.1") {
			t.Errorf("%s: %v", profile, got)
		}
		o.world.Sink.Silent(t, mark)
	}
	if q := o.world.Questions(); len(q) > 0 {
		t.Errorf("the resolver was asked %v", q)
	}
}

// TestRebinding: the address that was looked at is the one that is connected to.
func TestRebinding(t *testing.T) {
	o := newOutside(t, map[string]string{"inward": inward()})
	mark := o.world.Sink.Mark(t)
	if got := o.run(t, "inward", "curl -sS --fail http://rebind.test/echo/first"); !got.ok() || !strings.Contains(got.out, "/echo/first") {
		t.Errorf("%v", got)
	}
	n := 0
	for _, q := range o.world.Questions() {
		if q.Type == "A" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d questions for an address that is used once", n)
	}
	o.killEgress(t) // which remembers what it looked up
	if got := o.run(t, "inward", "curl -sS --fail http://rebind.test/echo/second"); got.ok() || !got.denied("rebind.test") {
		t.Errorf("%v", got)
	}
	o.world.Sink.Silent(t, mark, at(world.Plain))
}

// TestPrivateByName: what a rule names opens, and nothing beside it.
func TestPrivateByName(t *testing.T) {
	o := newOutside(t, map[string]string{
		"named":  "[network]\ndefault = \"deny\"\n" + rule("internal.test", "allow", `addresses = ["10.1.2.10/32"]`) + rule("*.inward.test", "allow", `addresses = ["10.1.2.10/32"]`),
		"beside": "[network]\ndefault = \"deny\"\n" + rule("internal.test", "allow", `addresses = ["10.1.3.0/24"]`),
	})
	if got := o.run(t, "named", "curl -sS https://internal.test/echo"); !got.ok() || !strings.Contains(got.out, "internal.test") {
		t.Errorf("%v", got)
	}
	mark := o.world.Sink.Mark(t)
	for _, c := range [][2]string{{"named", "private.inward.test"}, {"named", "metadata.inward.test"}, {"beside", "internal.test"}} {
		if got := o.run(t, c[0], "curl -sS --fail --insecure https://"+c[1]+"/"); got.ok() {
			t.Errorf("%v: %v", c, got)
		}
	}
	o.world.Sink.Silent(t, mark, question)
}

// TestRedirects: where a server sends to is judged as if it were asked for anew.
func TestRedirects(t *testing.T) {
	o := newOutside(t, map[string]string{"open": "[network]\ndefault = \"deny\"\n" + rule("moved.test", "allow")})
	mark := o.world.Sink.Mark(t)
	for _, path := range []string{"/echo", "/down", "/in"} {
		got := o.run(t, "open", "curl -sS --fail --location https://moved.test"+path)
		if got.ok() || got.out != "" {
			t.Errorf("%s: %v", path, got)
		}
	}
	o.world.Sink.Silent(t, mark, at(world.Moved))
	if len(o.world.Log.All(func(s world.Seen) bool { return s.Server == world.Moved })) != 3 {
		t.Error("the redirects themselves were not asked for")
	}
}

// TestOtherProtocols: nothing leaves a box but what goes over TCP through
// clawsup-egress.
func TestOtherProtocols(t *testing.T) {
	needs(t, "/usr/bin/python3")
	o := openOutside(t, map[string]string{"open": open()})
	script := o.tool(t, "others", []byte(`#!/usr/bin/python3
import ctypes, socket, struct
def attempt(name, f):
    try:
        got = f()
        print(name, "did", got or "")
    except OSError as e:
        print(name, "failed", e)
def udp(family, host, port, options=()):
    def f():
        s = socket.socket(family, socket.SOCK_DGRAM)
        s.settimeout(0.2)
        for o in options:
            s.setsockopt(*o)
        for _ in range(3):
            s.sendto(b"\xc0\x00\x00\x00\x01" + b"x" * 1195, (host, port))
        try:
            return s.recvfrom(4096)
        except TimeoutError:
            return None
    return f
def tcp6(host, port):
    def f():
        socket.create_connection((host, port), 5).close()
        return "CONNECTED"
    return f
def raw(family, protocol, host):
    return lambda: socket.socket(family, socket.SOCK_RAW, protocol).sendto(b"\x08\x00\xf7\xff\x00\x00\x00\x00", (host, 0))
def ping(family, protocol, host):
    return lambda: socket.socket(family, socket.SOCK_DGRAM, protocol).sendto(b"\x08\x00\xf7\xff\x00\x00\x00\x00", (host, 0))
i4, i6 = socket.AF_INET, socket.AF_INET6
for host in ("20.80.0.10", "20.53.0.53", "20.0.0.1", "10.1.2.3", "169.254.169.254", "198.18.0.1", "198.18.0.77", "255.255.255.255", "224.0.0.251", "239.255.255.250"):
    for port in (53, 123, 443, 1900, 3128, 5353):
        attempt(f"udp {host} {port}", udp(i4, host, port, [(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)]))
    attempt(f"raw {host}", raw(i4, socket.IPPROTO_ICMP, host))
    attempt(f"ping {host}", ping(i4, socket.IPPROTO_ICMP, host))
for host in ("2600:80::10", "2600:20::1", "fd00::3", "::ffff:20.80.0.10", "ff02::1", "ff02::fb", "::1"):
    attempt(f"tcp6 {host}", tcp6(host, 443))
    attempt(f"udp6 {host}", udp(i6, host, 443))
    attempt(f"ping6 {host}", ping(i6, 58, host))
for kind, protocol in ((socket.SOCK_STREAM, 132), (socket.SOCK_SEQPACKET, 132), (socket.SOCK_RAW, 255), (socket.SOCK_DGRAM, 136), (6, 33), (socket.SOCK_STREAM, 262)):
    def f():
        s = socket.socket(i4, kind, protocol)
        s.settimeout(5)
        s.connect(("20.80.0.10", 443))
        s.sendall(b"x")
        return "CONNECTED"
    attempt(f"{kind} {protocol}", f)
for family in (16, 17, 31, 38, 40):  # netlink, packet, bluetooth, alg, vsock
    attempt(f"family {family}", lambda: socket.socket(family, socket.SOCK_RAW, 0) and "OPENED")
attempt("fast open", lambda: socket.socket(i4, socket.SOCK_STREAM).sendto(b"GET / HTTP/1.0\r\n\r\n", 0x20000000, ("20.80.0.20", 80)) and None)
`))
	mark := o.world.Sink.Mark(t)
	got := o.run(t, "open", script)
	if !got.ok() || strings.Count(got.out, "\n") < 80 {
		t.Errorf("%v", got)
	}
	if strings.Contains(got.out, "family 17 did") {
		t.Errorf("a packet socket: %v", got)
	}
	o.world.Sink.Silent(t, mark)
	if q := o.world.Questions(); len(q) > 0 {
		t.Errorf("the resolver was asked %v", q)
	}
}

// TestOneBoxIsNotAnother: what one call may, the next may not, also with the
// addresses that the first had.
func TestOneBoxIsNotAnother(t *testing.T) {
	o := newOutside(t, map[string]string{"open": open(), "closed": "[network]\ndefault = \"deny\"\n"})
	got := o.run(t, "open", "getent ahostsv4 api.test | head -n 1 | cut -d ' ' -f 1")
	a, err := netip.ParseAddr(strings.TrimSpace(got.out))
	if err != nil {
		t.Fatalf("%v", got)
	}
	mark := o.world.Sink.Mark(t)
	for _, profile := range []string{"closed", "open"} { // in the second the name has not been asked for
		got := o.run(t, profile, fmt.Sprintf("curl -sS --fail --insecure --resolve api.test:443:%s https://api.test/echo; curl -sS --fail --insecure https://%s/echo", a, a))
		if profile == "closed" && (got.ok() || got.out != "") {
			t.Errorf("%v", got)
		}
		if strings.Contains(got.out, `"host":"`+a.String()) {
			t.Errorf("%v", got)
		}
	}
	o.world.Sink.Silent(t, mark, at(world.API))
	// No box has another's network, nor the host's.
	got = o.run(t, "open", "cat /proc/net/route /proc/net/dev /proc/net/if_inet6 2>/dev/null; true")
	if strings.Contains(got.out, "eth0") || strings.Contains(got.out, " up:") {
		t.Errorf("%v", got)
	}
}

// TestManyConnections: a box that opens all it can takes nothing from another.
func TestManyConnections(t *testing.T) {
	needs(t, "/usr/bin/python3")
	o := newOutside(t, map[string]string{"open": open()})
	if n := len(o.world.Log.All(nil)); n != 0 {
		t.Fatal(n)
	}
	flood := o.submit(t, "open", `exec /usr/bin/python3 -c '
import socket, time
held = []
for n in range(400):
    try:
        s = socket.create_connection(("raw.test", 7000), 10)
        s.setblocking(False)
        held.append(s)
    except OSError:
        break
print("holding", flush=True)
import sys, signal
signal.pause()
'`)
	flood.said("holding")
	if got := o.run(t, "open", "curl -sS --fail https://api.test/echo/beside"); !got.ok() || !strings.Contains(got.out, "/echo/beside") {
		t.Errorf("%v", got)
	}
	out, status := o.command("stop", flood.id)
	if status != 0 {
		t.Errorf("%d %s", status, out)
	}
	flood.end()
	connections := o.world.Log.All(func(s world.Seen) bool { return s.Server == world.Raw })
	if len(connections) > 64 {
		t.Errorf("%d connections at a time, over the profile's net_connections", len(connections))
	}
	for _, c := range connections { // with the call they end
		o.world.Log.Await(t, func(s world.Seen) bool { return s.From == c.From && s.Ended })
	}
	if slices.ContainsFunc(o.world.Sink.Since(t, 0), func(p world.Packet) bool { return p.Protocol == unix.IPPROTO_ICMP }) {
		t.Error("some of it was refused by the servers' host")
	}
}

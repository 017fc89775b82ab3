// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/cmd/clawsupd/internal/world"
)

// TestOwnNetwork: what a hostile program can do to the network of its own box
// deceives nobody but itself: nothing that it binds, marks or makes anew is a way out
// beside clawsup-egress.
func TestOwnNetwork(t *testing.T) {
	o := newOutside(t, map[string]string{"open": "[network]\ndefault = \"deny\"\n" + rule("api.test", "allow")})
	script := o.tool(t, "own", []byte(`#!/usr/bin/python3
import ctypes, os, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, f):
    try:
        f()
        print("DID", name, flush=True)
    except OSError as e:
        print("failed", name, e, flush=True)
def call(name, *args):
    if getattr(libc, name)(*args) < 0:
        raise OSError(ctypes.get_errno(), name)
tcp = lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)
real = socket.gethostbyname("api.test")
for name, level, option, value in (
    ("transparent", 0, 19, 1), ("mark", 1, 36, 7), ("device", 1, 25, b"lo\0"), ("repair", 6, 19, 1),
    ("options", 0, 4, b"\x83\x07\x04\x14\x50\x00\x14\x00"), ("filter", 1, 26, struct.pack("HL", 0, 0)), ("ulp", 6, 31, b"tls\0"),
):
    attempt(name, lambda: tcp().setsockopt(level, option, value))
for flag in (0x10000000, 0x40000000, 0x50000000, 0x00020000 | 0x10000000 | 0x40000000):  # user, network, both, with mounts
    attempt(f"unshare {flag:x}", lambda: call("unshare", flag))
attempt("setns", lambda: call("setns", os.open("/proc/1/ns/net", os.O_RDONLY), 0))
# Its own resolver, proxy and server, at addresses that are clawsup-egress's.
def take(kind, address, port):
    s = socket.socket(socket.AF_INET, kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        s.setsockopt(0, 15, 1)  # IP_FREEBIND
    except OSError:
        pass
    s.bind((address, port))
    if kind == socket.SOCK_STREAM:
        s.listen(8)
    held.append(s)
held = []
for address in ("198.18.0.0", "198.18.0.1", "198.18.0.2", real, "20.80.0.10", "0.0.0.0", "127.0.0.1"):
    for port in (53, 80, 443, 1080, 3128, 8443):
        attempt(f"tcp {address} {port}", lambda: take(socket.SOCK_STREAM, address, port))
        attempt(f"udp {address} {port}", lambda: take(socket.SOCK_DGRAM, address, port))
print("took", len(held))
os.execvp("sh", ["sh", "-c", """
curl -sS --fail https://api.test/echo/past && echo PAST
curl -sS --fail -x http://198.18.0.1:3128 https://api.test/echo/proxy && echo PROXY
curl -sS --fail -x socks5h://198.18.0.1:1080 https://api.test/echo/socks && echo SOCKS
curl -sS --fail https://other.test/echo && echo OTHER
true"""])
`))
	mark := o.world.Sink.Mark(t)
	got := o.run(t, "open", script)
	if !got.ok() {
		t.Fatalf("%v", got)
	}
	for _, no := range []string{"DID transparent", "DID mark", "DID device", "DID repair", "DID options", "DID filter", "DID ulp", "DID unshare", "DID setns", " 53\n", "OTHER"} {
		for line := range strings.Lines(got.out) {
			if strings.Contains(line, no) && !strings.HasPrefix(line, "failed") {
				t.Errorf("%s", line)
			}
		}
	}
	for _, yes := range []string{"PAST", "PROXY", "SOCKS"} {
		if !strings.Contains(got.out, yes) {
			t.Errorf("not %s: %v", yes, got)
		}
	}
	o.world.Sink.Silent(t, mark, at(world.API))
}

// frames writes HTTP/2 by hand.
const frames = `
import socket, ssl, struct, sys
def frame(kind, flags, stream, body=b""):
    return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body
def field(name, value):
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
def head(method, path):
    return field(b":method", method) + field(b":scheme", b"https") + field(b":authority", b"api.test") + field(b":path", path)
def opened():
    c = ssl.create_default_context()
    c.set_alpn_protocols(["h2"])
    s = c.wrap_socket(socket.create_connection(("api.test", 443), 30), server_hostname="api.test")
    s.settimeout(30)
    s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
    return s
`

// status is a number of /proc/PID/status.
func status(t *testing.T, pid int, name string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no %s of process %d: %s", name, pid, text)
	return 0
}

// TestFloodsOfFrames: what HTTP/2 lets a client do without end is ended, or takes
// nothing from others; nothing of it goes out but what a rule allows.
func TestFloodsOfFrames(t *testing.T) {
	o := newOutside(t, map[string]string{
		"some": "[network]\ndefault = \"deny\"\n" + rule("api.test", "allow", `paths = ["/echo/allowed"]`),
	})
	if got := o.run(t, "some", "curl -sS --fail https://api.test/echo/allowed"); !got.ok() {
		t.Fatalf("%v", got)
	}
	before := status(t, o.egress(), "VmRSS")
	for name, script := range map[string]string{
		"continuation": `
s = opened()
s.sendall(frame(1, 0, 1, head(b"GET", b"/echo/secret")))
try:
    for n in range(20000):
        s.sendall(frame(9, 0, 1, field(b"x-%d" % n, b"v" * 250) * 60))
    print("ENDLESS")
except OSError as e:
    print("ended", e)`,
		"rapid reset": `
try:
    for again in range(20):
        s = opened()
        for n in range(1, 4001, 2):
            s.sendall(frame(1, 5, n, head(b"GET", b"/echo/secret%d" % n)) + frame(3, 0, n, b"\0\0\0\x08"))
        s.close()
except OSError as e:
    print("ended", e)
print("ended")`,
		"settings and pings": `
s = opened()
try:
    for n in range(200000):
        s.sendall(frame(4, 0, 0, b"\0\x03\0\0\0\x64") + frame(6, 0, 0, b"12345678"))
except OSError as e:
    print(e)
print("ended")`,
		"a huge table": `
s = opened()
try:
    for n in range(1, 20001, 2):
        s.sendall(frame(1, 5, n, head(b"GET", b"/echo/secret") + b"\x40\x03big\x7f\x81\x1e" + b"v" * 4000 + b"\xbe" * 4000))
except OSError as e:
    print(e)
print("ended")`,
	} {
		file := o.tool(t, "frames", []byte("#!/usr/bin/python3\n"+frames+script+"\n"))
		g := o.submitArgs(t, "some", file)
		if got := o.run(t, "some", "curl -sS --fail --max-time 20 https://api.test/echo/allowed"); !got.ok() {
			t.Errorf("%s: another box: %v", name, got)
		}
		if got := g.end(); !got.ok() || !strings.Contains(got.out, "ended") {
			t.Errorf("%s: %v", name, got)
		}
	}
	if after := status(t, o.egress(), "VmRSS"); after > before+256<<10 {
		t.Errorf("clawsup-egress has %d KiB, and had %d", after, before)
	}
	for _, s := range o.world.Log.All(nil) {
		if s.Target != "" && s.Target != "/echo/allowed" {
			t.Errorf("%+v", s)
		}
	}
}

// TestPipelined: behind a request that a rule allows, on its connection and in its
// packet, nothing goes along.
func TestPipelined(t *testing.T) {
	o := newOutside(t, map[string]string{"some": "[network]\ndefault = \"deny\"\n" + rule("plain.test", "allow", "ports = [80]", `methods = ["GET", "POST"]`, `paths = ["/echo/allowed"]`)})
	script := o.tool(t, "pipelined", []byte(`#!/usr/bin/python3
import socket
hidden = b"POST /echo/hidden HTTP/1.1\r\nHost: plain.test\r\nContent-Length: 6\r\n\r\nsecret"
good = b"GET /echo/allowed HTTP/1.1\r\nHost: plain.test\r\n"
post = b"POST /echo/allowed HTTP/1.1\r\nHost: plain.test\r\n"
for data in (
    good + b"\r\n" + hidden,
    good + b"Content-Length: 0\r\n\r\n" + hidden,
    post + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
    post + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + hidden,
    post + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + hidden,
    post + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + hidden,
    post + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + hidden,
    post + b"Transfer-Encoding: chunked\r\n\r\n0;x=\n\r\n\r\n" + hidden,
    post + b"Transfer-Encoding: chunked\r\n\r\n00000000000000000\r\n\r\n" + hidden,
    post + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: secret\r\n\r\n" + hidden,
    post + b"Content-Length: 0\r\nContent-Length: 60\r\n\r\n" + hidden,
    post + b"Content-Length: +0\r\n\r\n" + hidden,
    post + b"Content-Length: 0,0\r\n\r\n" + hidden,
    post + b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n" + hidden,
    good + b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n" + hidden,
    good + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" + hidden,
    good + b"X: y\r\n " + hidden,
    good + b"X: y\n\n" + hidden,
    good + b"X: y\r\r\n\r\n" + hidden,
    b"GET /echo/allowed\r\n\r\n" + hidden,
    b"GET /echo/allowed HTTP/1.1\r\nHost: plain.test\r\nHost: other.test\r\n\r\n" + hidden,
    b"GET http://plain.test/echo/allowed HTTP/1.1\r\nHost: other.test\r\n\r\n" + hidden,
    b"GET http://user:pass@plain.test/echo/allowed HTTP/1.1\r\nHost: plain.test\r\n\r\n" + hidden,
    b"GET file:///echo/allowed HTTP/1.1\r\nHost: plain.test\r\n\r\n" + hidden,
    b"GET /echo/allowed HTTP/1.1\r\nHost: plain.test@other.test\r\n\r\n" + hidden,
):
    try:
        s = socket.create_connection(("plain.test", 80), 20)
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        while s.recv(65536):
            pass
    except OSError:
        pass
print("over")
`))
	if got := o.run(t, "some", script); !got.ok() || !strings.Contains(got.out, "over") {
		t.Errorf("%v", got)
	}
	for _, s := range o.world.Log.All(nil) {
		if s.Target != "" && s.Target != "/echo/allowed" || s.Server != world.Plain || strings.Contains(string(s.Body), "secret") {
			t.Errorf("%+v", s)
		}
	}
}

// TestPrivateAndForeign: with something private and a stranger's words in a
// session, what a rule allows takes a person.
func TestPrivateAndForeign(t *testing.T) {
	o := newOutside(t, map[string]string{"open": "[network]\ndefault = \"deny\"\n" + rule("api.test", "allow")}) // which shows files of the host
	o.session = "talk"
	g := o.submit(t, "open", "curl -sS --fail https://api.test/echo/first; curl -sS --fail https://api.test/echo/second")
	k := o.ticket(t, g.id)
	if !strings.Contains(k.Target, "/echo/second") || !k.Labels.Private || !k.Labels.Untrusted {
		t.Errorf("%+v", k)
	}
	if out, status := o.command("deny", k.ID); status != 0 {
		t.Errorf("%d %s", status, out)
	}
	if got := g.end(); got.ok() || !strings.Contains(got.out, "/echo/first") {
		t.Errorf("%v", got)
	}
	for _, s := range o.world.Log.All(nil) {
		if s.Target == "/echo/second" {
			t.Errorf("%+v", s)
		}
	}
}

// TestNothingIsLeftOfWays: calls that reached out leave no socket behind, in
// clawsupd or clawsup-egress, and those of a daemon that was killed nothing on the disk.
func TestNothingIsLeftOfWays(t *testing.T) {
	o := newOutside(t, map[string]string{"open": open()})
	some := func() {
		var all []*going
		for range 8 {
			all = append(all, o.submit(t, "open", "curl -sS --fail https://api.test/echo && ! getent hosts none.test"))
		}
		for _, g := range all {
			if got := g.end(); !got.ok() {
				t.Fatalf("%v", got)
			}
		}
	}
	sockets := func(pid int) (n int) {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if to, _ := os.Readlink(f); strings.HasPrefix(to, "socket:") {
				n++
			}
		}
		return n
	}
	some()
	daemon, helper := o.daemon.c.Process.Pid, o.egress()
	if helper == 0 {
		t.Fatal("clawsup-egress has ended")
	}
	had := [2]int{sockets(daemon), sockets(helper)}
	some()
	some()
	const slack = 8 // connections of this test
	if has := [2]int{sockets(daemon), sockets(helper)}; has[0] > had[0]+slack || has[1] > had[1]+slack {
		t.Errorf("%v sockets, and before %v", has, had)
	}
	if now := o.egress(); now != helper {
		t.Errorf("clawsup-egress was started again: %d, %d", helper, now)
	}
	g := o.submit(t, "open", "curl -sS --fail https://api.test/echo && echo up; exec sleep 600")
	g.said("up")
	_ = o.daemon.end(unix.SIGKILL)
	o.begin()
	if left, err := filepath.Glob(o.dir + "/run/trust/*"); err != nil || len(left) > 0 {
		t.Errorf("%v %v", left, err)
	}
}

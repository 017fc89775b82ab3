// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// resolver is a server that sends back what it gets, over UDP and TCP.
func resolver(t testing.TB) netip.AddrPort {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(tcp.Addr().String())
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = tcp.Close(), udp.Close() })
	go func() {
		message := make([]byte, 64<<10)
		for {
			n, from, err := udp.ReadFromUDPAddrPort(message)
			if err != nil {
				return
			}
			_, _ = udp.WriteToUDPAddrPort(message[:n], from)
		}
	}()
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	}()
	return at
}

func TestLookup(t *testing.T) {
	w := newWorld(t)
	list := []netip.AddrPort{resolver(t), resolver(t)}
	w.egress.resolvers.configured = func() []netip.AddrPort { return list }
	w.open(BoxOptions{})
	f := w.start()
	if o := f.want(packet.Open); o.Box.Resolvers != 2 {
		t.Errorf("%d resolvers", o.Box.Resolvers)
	}
	f.want(packet.Datagrams)
	lookup := func(server int, tcp bool) (net.Conn, string) {
		t.Helper()
		id := f.say(packet.Word{Kind: packet.Lookup, Server: server, TCP: tcp})
		o := f.next()
		if o.ID != id {
			t.Fatalf("%+v", o)
		}
		if o.Kind == packet.Refuse {
			return nil, o.Detail
		}
		defer o.file.Close()
		c, err := net.FileConn(o.file)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		return c, ""
	}
	message := make([]byte, 2*packet.MaxDatagram)
	for server, kind := range map[int]bool{0: false, 1: true} {
		c, why := lookup(server, kind)
		if c == nil {
			t.Fatal(why)
		}
		if _, tcp := c.(*net.TCPConn); tcp != kind {
			t.Errorf("%T", c)
		}
		for _, question := range [][]byte{[]byte("question"), bytes.Repeat([]byte("q"), packet.MaxDatagram)} {
			if _, err := c.Write(question); err != nil {
				t.Error(err)
			}
			if _, err := io.ReadFull(c, message[:len(question)]); err != nil || !bytes.Equal(message[:len(question)], question) {
				t.Errorf("%q, %v", message[:len(question)], err)
			}
		}
	}
	// What is too long for a datagram is lost, and nothing else.
	c, _ := lookup(0, false)
	for _, question := range []string{strings.Repeat("x", packet.MaxDatagram+1), "question"} {
		if _, err := c.Write([]byte(question)); err != nil {
			t.Error(err)
		}
	}
	if n, err := c.Read(message); string(message[:n]) != "question" {
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, why := lookup(2, false); why == "" {
		t.Error("a resolver that there is none of")
	}

	// They are bounded, and there is room again when they are closed.
	var open []net.Conn
	for len(open) <= packet.MaxLookups {
		c, _ := lookup(0, false)
		if c == nil {
			break
		}
		open = append(open, c)
	}
	if at := len(open) + 2; at > packet.MaxLookups { // with those above
		t.Errorf("%d at a time", at)
	}
	for _, c := range open {
		_ = c.Close()
	}
	for deadline := time.Now().Add(patience); ; {
		if c, _ := lookup(0, false); c != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("there is no room any more")
		}
	}
	streams := 0
	for ; streams <= 2*atOnce; streams++ {
		if c, _ := lookup(1, true); c == nil {
			break
		}
	}
	if streams > atOnce+aSecond {
		t.Errorf("%d streams", streams)
	}
}

func TestResolvers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	write := func(text string, mode os.FileMode) {
		t.Helper()
		next := file + ".next"
		if err := os.WriteFile(next, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(next, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, file); err != nil {
			t.Fatal(err)
		}
	}
	var configured []netip.AddrPort
	r := newResolvers(func() []netip.AddrPort { return configured })
	r.path = file
	want := func(name string, addresses ...string) {
		t.Helper()
		var list []netip.AddrPort
		for _, a := range addresses {
			list = append(list, netip.MustParseAddrPort(a))
		}
		r.mu.Lock()
		r.seen = time.Time{} // its time is over
		r.mu.Unlock()
		if got := r.list(); !slices.Equal(got, list) {
			t.Errorf("%s: %v, want %v", name, got, list)
		}
	}
	want("no file")
	write("nameserver 192.0.2.1\n", 0o644)
	want("one", "192.0.2.1:53")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	want("the file is gone", "192.0.2.1:53")
	write("nameserver 192.0.2.66\n", 0o666)
	want("everybody can write it", "192.0.2.1:53")
	write("nameserver 192.0.2.66\n"+strings.Repeat("#", maxResolvConf), 0o644)
	want("too long", "192.0.2.1:53")
	write("nameserver 192.0.2.2\nnameserver 2001:db8::1\n", 0o644)
	want("changed", "192.0.2.2:53", "[2001:db8::1]:53")
	want("unchanged", "192.0.2.2:53", "[2001:db8::1]:53")
	configured = []netip.AddrPort{netip.MustParseAddrPort("198.51.100.1:5353")}
	want("configured", "198.51.100.1:5353")
}

func TestParseResolvers(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "127.0.0.1:53",
		"# nameserver 192.0.2.1\n": "127.0.0.1:53",
		"nameserver 192.0.2.1":     "192.0.2.1:53",
		"nameserver\t192.0.2.1 # a comment\nsearch x\noptions edns0\n;nameserver 192.0.2.9": "192.0.2.1:53",
		"nameserver x\nnameserver 192.0.2.01\nnameserver\nnameserver ::1":                   "[::1]:53",
		"nameserver fe80::1%eth0":             "[fe80::1%eth0]:53",
		"nameserver ::ffff:192.0.2.1":         "192.0.2.1:53",
		"nameservers 192.0.2.1\r\n":           "127.0.0.1:53",
		"nameserver 192.0.2.1\r\n":            "192.0.2.1:53",
		strings.Repeat("nameserver ::1\n", 9): "[::1]:53 [::1]:53 [::1]:53",
	} {
		var got []string
		for _, a := range parseResolvers(text) {
			got = append(got, a.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %v, want %s", text, got, want)
		}
	}
}

func FuzzParseResolvers(f *testing.F) {
	f.Add("nameserver 192.0.2.1\n")
	f.Add("nameserver fe80::1%\x00")
	f.Fuzz(func(t *testing.T, text string) {
		list := parseResolvers(text)
		if len(list) == 0 || len(list) > maxResolvers {
			t.Errorf("%q: %v", text, list)
		}
		for _, a := range list {
			if !a.IsValid() || a.Addr().Is4In6() {
				t.Errorf("%q: %v", text, a)
			}
		}
	})
}

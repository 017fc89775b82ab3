// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// A program that asks an address for a name gets the answer from that address,
// and can connect to what it says.
func TestDNS(t *testing.T) {
	w := newWorld(t)
	l, err := net.ListenPacket("udp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	file, err := l.(*net.UDPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	port := netip.MustParseAddrPort(l.LocalAddr().String()).Port()
	raw, err := file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_PKTINFO, 1) }); err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if err := w.outlet.Datagrams(1, file); err != nil {
		t.Fatal(err)
	}
	for _, resolver := range []string{"127.0.0.1", "127.0.0.53"} {
		var q dns.Msg
		q.SetQuestion(name+".", dns.TypeA)
		c := &dns.Client{Timeout: wait} // which wants the answer from where it asked
		answer, _, err := c.Exchange(&q, netip.AddrPortFrom(netip.MustParseAddr(resolver), port).String())
		if err != nil || len(answer.Answer) != 1 {
			t.Fatalf("%s: %v, %v", resolver, answer, err)
		}
		a, _ := netip.AddrFromSlice(answer.Answer[0].(*dns.A).A.To4())
		if bound, ok := w.box.names.Table.Name(a); !ok || bound != name {
			t.Errorf("%v stands for %q", a, bound)
		}
	}
	// Over TCP too, whatever address was meant.
	w.leadsTo(netip.MustParseAddrPort("8.8.8.8:53"))
	var q dns.Msg
	q.SetQuestion(name+".", dns.TypeA)
	c := &dns.Conn{Conn: w.dial()}
	if err := c.WriteMsg(&q); err != nil {
		t.Fatal(err)
	}
	if answer, err := c.ReadMsg(); err != nil || len(answer.Answer) != 1 {
		t.Errorf("%v, %v", answer, err)
	}
	if q := w.asked(); len(q) > 0 {
		t.Errorf("asked for %+v", q)
	}
}

// resolver is one of the host, that says these addresses.
func resolver(t *testing.T, addresses ...string) func(int, bool) (*os.File, error) {
	return func(_ int, tcp bool) (*os.File, error) {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return nil, err
		}
		ours := os.NewFile(uintptr(fds[0]), "resolver")
		go func() {
			defer ours.Close()
			b := make([]byte, 4096)
			n, err := ours.Read(b)
			var q dns.Msg
			if err != nil || q.Unpack(b[:n]) != nil {
				return
			}
			var answer dns.Msg
			answer.SetReply(&q)
			for _, text := range addresses {
				a := netip.MustParseAddr(text)
				h := dns.RR_Header{Name: q.Question[0].Name, Class: dns.ClassINET, Ttl: 60}
				switch {
				case a.Is4() && q.Question[0].Qtype == dns.TypeA:
					h.Rrtype = dns.TypeA
					answer.Answer = append(answer.Answer, &dns.A{Hdr: h, A: a.AsSlice()})
				case a.Is6() && q.Question[0].Qtype == dns.TypeAAAA:
					h.Rrtype = dns.TypeAAAA
					answer.Answer = append(answer.Answer, &dns.AAAA{Hdr: h, AAAA: a.AsSlice()})
				}
			}
			packed, err := answer.Pack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = ours.Write(packed)
		}()
		return os.NewFile(uintptr(fds[1]), "helper"), nil
	}
}

func looksUp(p *packet.Box) { p.Resolvers = 1 }

// A name that leads to where no rule opens is not connected to.
func TestAddressesAreJudged(t *testing.T) {
	for _, leads := range [][]string{{"127.0.0.1"}, {"169.254.169.254"}, {"10.1.2.3", "192.168.1.1"}, {"::1"}, {"::ffff:127.0.0.1"}, {"0.0.0.0"}, {"224.0.0.1"}, {"64:ff9b::7f00:1"}} {
		w := newWorld(t, looksUp)
		w.lookup = resolver(t, leads...)
		w.leads(80)
		w.answer(func(packet.Query) packet.Verdict { return packet.Verdict{Allow: true} })
		answer, body := get(t, w.client("http/1.1"), request(t, "GET", "http://"+name+"/", nil))
		if answer.StatusCode != 502 || !strings.Contains(body, "no rule opens") || strings.Contains(body, leads[0]) {
			t.Errorf("%v: %s %q", leads, answer.Status, body)
		}
		w.refused(t, packet.RefusedAddress)
		if w.connects.Load() != 0 {
			t.Errorf("%v: %d connections", leads, w.connects.Load())
		}
	}
}

// Of several addresses those that are refused are passed over.
func TestAddressesThatAreNamed(t *testing.T) {
	w := newWorld(t, looksUp)
	w.lookup = resolver(t, "10.9.9.9", "127.0.0.1")
	port := w.server("http", func(http.ResponseWriter, *http.Request) {})
	w.leads(port)
	w.answer(func(packet.Query) packet.Verdict {
		v := yes()
		v.Addresses = nil
		return v
	})
	if answer, body := get(t, w.client("http/1.1"), request(t, "GET", at("http", port, "/"), nil)); answer.StatusCode != 200 || w.connects.Load() != 1 {
		t.Errorf("%s %q, %d connections", answer.Status, body, w.connects.Load())
	}
}

// Nothing is looked up before the yes, unless the name was the operator's.
func TestLookupsWait(t *testing.T) {
	for _, early := range []bool{true, false} {
		w := newWorld(t, looksUp)
		looked := make(chan bool, 16)
		answer := resolver(t, "127.0.0.1")
		w.lookup = func(server int, tcp bool) (*os.File, error) {
			looked <- true
			return answer(server, tcp)
		}
		w.leads(80)
		w.named.Store(&packet.Verdict{Allow: true, Early: early})
		asked, no := w.hold()
		go func() {
			if r, err := w.client("http/1.1").Get("http://" + name + "/"); err == nil {
				_ = r.Body.Close()
			}
		}()
		q := <-asked
		if early != slices.Contains(q.Addresses, loopback) || early != (len(looked) > 0) {
			t.Errorf("early %v: %d lookups before the question for %v", early, len(looked), q.Addresses)
		}
		no <- packet.Verdict{}
	}
}

// A connection is not used for requests whose rule opens less.
func TestConnectionsAreOfOneRule(t *testing.T) {
	w := newWorld(t)
	port := w.server("http", func(http.ResponseWriter, *http.Request) {})
	w.leads(port)
	w.answer(func(q packet.Query) packet.Verdict {
		v := yes()
		if q.Path == "/less" {
			v.Networks = nil
		}
		return v
	})
	c := w.client("http/1.1")
	for _, path := range []string{"/more", "/less", "/more"} {
		want := 200
		if path == "/less" {
			want = 502
		}
		if answer, _ := get(t, c, request(t, "GET", at("http", port, path), nil)); answer.StatusCode != want {
			t.Errorf("%s: %s", path, answer.Status)
		}
	}
}

// A resolver that is none is no way to wait for ever.
func TestLookupFails(t *testing.T) {
	w := newWorld(t, looksUp)
	w.lookup = func(int, bool) (*os.File, error) { return nil, errors.New("10.0.0.53 refused") }
	w.leads(80)
	w.answer(func(packet.Query) packet.Verdict { return packet.Verdict{Allow: true} })
	_, body := get(t, w.client("http/1.1"), request(t, "GET", "http://"+name+"/", nil))
	if body != "clawsup: failed: the host could not be looked up\n" {
		t.Errorf("%q", body)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := w.box.lookup(ctx, "other.example.com"); err == nil {
		t.Error("looked up for nobody")
	}
}

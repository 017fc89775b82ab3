// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// TestClaim: however many take all that they can, there is some for who comes next.
func TestClaim(t *testing.T) {
	const most = 1000
	all := allowance{most: most}
	greedy := make([]allowance, 8)
	for range 2 * most {
		for i := range greedy {
			greedy[i].most = most
			claim(&greedy[i], &all, 1)
		}
	}
	next := allowance{most: 3}
	for i, want := range []bool{true, true, true, false} {
		if got := claim(&next, &all, 1); got != want {
			t.Errorf("%d of who came last: %v; %d are taken", i, got, all.used.Load())
		}
	}
	for i := range greedy {
		if n := greedy[i].used.Load(); n < most/(int64(len(greedy))+2) {
			t.Errorf("number %d has %d", i, n)
		}
		give(&greedy[i], &all, greedy[i].used.Load())
	}
	give(&next, &all, 3)
	if n := all.used.Load(); n != 0 {
		t.Errorf("%d are taken by nobody", n)
	}
}

// TestSlowNames: names whose servers don't answer are waited for by the box that
// wanted them.
func TestSlowNames(t *testing.T) {
	w := newWorld(t, func(p *packet.Box) { p.Resolvers = 1 })
	began := make(chan struct{}, 1000)
	w.host.lookup = func(int, bool) (*os.File, error) {
		began <- struct{}{}
		ours, theirs, err := packet.Pair()
		if err != nil {
			return nil, err
		}
		c, err := net.FileConn(ours)
		if err := errors.Join(err, ours.Close()); err != nil {
			return nil, err
		}
		go func() {
			defer c.Close()
			question := make([]byte, packet.MaxDatagram)
			for {
				n, err := c.Read(question)
				var m, answer dns.Msg
				if err != nil || m.Unpack(question[:n]) != nil {
					return
				}
				if m.Question[0].Name[0] == 's' { // slow
					continue
				}
				answer.SetReply(&m)
				if q := m.Question[0]; q.Qtype == dns.TypeA {
					answer.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: q.Qclass, Ttl: 60}, A: net.IPv4(192, 0, 2, 7)}}
				}
				packed, err := answer.Pack()
				if err != nil {
					return
				}
				if _, err := c.Write(packed); err != nil {
					return
				}
			}
		}()
		return theirs, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file, err := l.(*net.TCPListener).File()
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(w.inside.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.outlet.Open(2, packet.Box{Certificate: w.inside.der, Key: key, Resolvers: 1}, file); err != nil {
		t.Fatal(err)
	}
	other := w.outlet.boxes[2]
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for i := range 200 {
		go func() { _, _ = w.box.lookup(ctx, fmt.Sprintf("s%d.example", i)) }()
	}
	for range 2 * maxBoxLookups {
		<-began
	}
	for i := range 20 {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second) // a slow one takes six
		got, err := other.lookup(ctx, fmt.Sprintf("quick%d.example", i))
		cancel()
		if err != nil || len(got) != 1 || got[0] != netip.MustParseAddr("192.0.2.7") {
			t.Fatalf("name %d: %v, %v", i, got, err)
		}
	}
}

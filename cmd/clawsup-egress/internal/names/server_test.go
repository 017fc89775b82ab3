// SPDX-License-Identifier: Apache-2.0

package names

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// box is a Server with a daemon that allows *.allowed.example and single, and
// notes what it was asked for.
type box struct {
	*Server
	mu       sync.Mutex
	asked    []string         // mu
	refusals []packet.Refusal // mu
}

func newBox() *box {
	b := &box{}
	b.Server = &Server{
		Table: NewTable(),
		Ask: func(_ context.Context, host string) (packet.Verdict, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.asked = append(b.asked, host)
			if host == "broken.example" {
				return packet.Verdict{}, errors.New("clawsupd is away")
			}
			return packet.Verdict{Allow: strings.HasSuffix(host, ".allowed.example") || host == "single", Rule: "r"}, nil
		},
		Refused: func(r packet.Refusal) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.refusals = append(b.refusals, r)
		},
	}
	return b
}

func query(name string, kind uint16) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), kind)
	return m
}

// exchange has a query answered; nil: it was dropped.
func (b *box) exchange(t testing.TB, m *dns.Msg) *dns.Msg {
	t.Helper()
	packed, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b.raw(t, packed)
}

func (b *box) raw(t testing.TB, packed []byte) *dns.Msg {
	t.Helper()
	answer := b.answer(t.Context(), packed)
	if answer == nil {
		return nil
	}
	reply := new(dns.Msg)
	if err := reply.Unpack(answer); err != nil {
		t.Fatalf("%x: %v", answer, err)
	}
	if reply.Id != binary.BigEndian.Uint16(packed) || !reply.Response {
		t.Errorf("no answer to this: %v", reply)
	}
	return reply
}

func TestAnswers(t *testing.T) {
	b := newBox()
	synthetic, err := b.Table.Address("a.allowed.example")
	if err != nil {
		t.Fatal(err)
	}
	reverse, err := dns.ReverseAddr(synthetic.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		kind  uint16
		rcode int
		want  string // of the only record; empty: there is none
		asked bool
	}{
		{"a.allowed.example", dns.TypeA, dns.RcodeSuccess, synthetic.String(), true},
		{"A.Allowed.eXAMPLE", dns.TypeA, dns.RcodeSuccess, synthetic.String(), true},
		{"a.allowed.example", dns.TypeAAAA, dns.RcodeSuccess, "", true},
		{"a.allowed.example", dns.TypeHTTPS, dns.RcodeSuccess, "", true},
		{"a.allowed.example", dns.TypeSVCB, dns.RcodeSuccess, "", true},
		{"a.allowed.example", dns.TypeTXT, dns.RcodeSuccess, "", true},
		{"a.allowed.example", dns.TypeMX, dns.RcodeSuccess, "", true},
		{"a.allowed.example", dns.TypeNULL, dns.RcodeSuccess, "", true},
		{"a.allowed.example", dns.TypeCNAME, dns.RcodeSuccess, "", true},
		{"a.allowed.example", 65280, dns.RcodeSuccess, "", true},
		{"denied.example", dns.TypeA, dns.RcodeNameError, "", true},
		{"denied.example", dns.TypeTXT, dns.RcodeNameError, "", true},
		{"broken.example", dns.TypeA, dns.RcodeServerFailure, "", true},
		{"nothing", dns.TypeA, dns.RcodeNameError, "", true},

		{"localhost", dns.TypeA, dns.RcodeSuccess, "127.0.0.1", false},
		{"localhost", dns.TypeAAAA, dns.RcodeSuccess, "::1", false},
		{"x.LocalHost", dns.TypeA, dns.RcodeSuccess, "127.0.0.1", false},
		{"localhost", dns.TypeMX, dns.RcodeSuccess, "", false},
		{reverse, dns.TypePTR, dns.RcodeSuccess, "a.allowed.example.", false},
		{reverse, dns.TypeA, dns.RcodeSuccess, "", false},
		{"1.0.0.127.in-addr.arpa", dns.TypePTR, dns.RcodeSuccess, "localhost.", false},
		{"1.0.18.198.in-addr.arpa", dns.TypePTR, dns.RcodeNameError, "", false},
		{"8.8.8.8.in-addr.arpa", dns.TypePTR, dns.RcodeNameError, "", false},
		{"a.b.c.d.in-addr.arpa", dns.TypePTR, dns.RcodeNameError, "", false},
		{"1.ip6.arpa", dns.TypePTR, dns.RcodeNameError, "", false},
		{"ipv4only.arpa", dns.TypeAAAA, dns.RcodeNameError, "", false},
		{"_dns.resolver.arpa", dns.TypeSVCB, dns.RcodeNameError, "", false},
		{"nas.home.arpa", dns.TypeA, dns.RcodeNameError, "", true},
		{"x.invalid", dns.TypeA, dns.RcodeNameError, "", false},
		{"x.onion", dns.TypeA, dns.RcodeNameError, "", false},
		{".", dns.TypeNS, dns.RcodeSuccess, "", false},

		{"127.0.0.1", dns.TypeA, dns.RcodeNameError, "", false},
		{"2130706433", dns.TypeA, dns.RcodeNameError, "", false},
		{"0x7f.allowed.example.0x1", dns.TypeA, dns.RcodeNameError, "", false},
		{`a\.b.allowed.example`, dns.TypeA, dns.RcodeNameError, "", false},
		{`a\000.allowed.example`, dns.TypeA, dns.RcodeNameError, "", false},
		{`\255.allowed.example`, dns.TypeA, dns.RcodeNameError, "", false},
		{`a\@b.allowed.example`, dns.TypeA, dns.RcodeNameError, "", false},

		{"a.allowed.example", dns.TypeANY, dns.RcodeRefused, "", false},
		{"a.allowed.example", dns.TypeAXFR, dns.RcodeRefused, "", false},
		{"a.allowed.example", dns.TypeIXFR, dns.RcodeRefused, "", false},
		{"a.allowed.example", dns.TypeTSIG, dns.RcodeRefused, "", false},
		{"a.allowed.example", dns.TypeOPT, dns.RcodeFormatError, "", false},
		{"a.allowed.example", dns.TypeNone, dns.RcodeFormatError, "", false},
	} {
		b.kept, b.asked = nil, nil
		reply := b.exchange(t, query(c.name, c.kind))
		got := ""
		for _, rr := range reply.Answer {
			if rr.Header().Name != reply.Question[0].Name || rr.Header().Ttl != ttl {
				t.Errorf("%s %d: %s", c.name, c.kind, rr)
			}
			got += strings.TrimPrefix(rr.String(), rr.Header().String())
		}
		if reply.Rcode != c.rcode || got != c.want || (len(b.asked) > 0) != c.asked {
			t.Errorf("%s %d: %s %q, asked for %q; want %s %q", c.name, c.kind, dns.RcodeToString[reply.Rcode], got, b.asked, dns.RcodeToString[c.rcode], c.want)
		}
		if !reply.RecursionAvailable || !reply.RecursionDesired || len(reply.Extra) != 0 || reply.Question[0].Name != dns.Fqdn(c.name) {
			t.Errorf("%s %d: %v", c.name, c.kind, reply)
		}
	}
}

func TestOtherMessages(t *testing.T) {
	change := func(f func(*dns.Msg)) *dns.Msg {
		m := query("a.allowed.example", dns.TypeA)
		f(m)
		return m
	}
	for _, c := range []struct {
		what  string
		m     *dns.Msg
		rcode int // -1: dropped
	}{
		{"an answer", change(func(m *dns.Msg) { m.Response = true }), -1},
		{"an update", change(func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), dns.RcodeNotImplemented},
		{"a notification", change(func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }), dns.RcodeNotImplemented},
		{"an opcode of nobody", change(func(m *dns.Msg) { m.Opcode = 15 }), dns.RcodeNotImplemented},
		{"no question", change(func(m *dns.Msg) { m.Question = nil }), dns.RcodeFormatError},
		{"two questions", change(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), dns.RcodeFormatError},
		{"an answer section", change(func(m *dns.Msg) { m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: "."}}} }), dns.RcodeFormatError},
		{"an authority section", change(func(m *dns.Msg) { m.Ns = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: "."}}} }), dns.RcodeFormatError},
		{"two OPT", change(func(m *dns.Msg) { m.SetEdns0(512, false).SetEdns0(512, false) }), dns.RcodeFormatError},
		{"a signature", change(func(m *dns.Msg) { m.SetTsig("k.", dns.HmacSHA256, 300, 0) }), dns.RcodeFormatError},
		{"CHAOS", change(func(m *dns.Msg) {
			m.Question[0] = dns.Question{Name: "version.bind.", Qtype: dns.TypeTXT, Qclass: dns.ClassCHAOS}
		}), dns.RcodeRefused},
		{"any class", change(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassANY }), dns.RcodeRefused},
	} {
		b := newBox()
		reply := b.exchange(t, c.m)
		switch {
		case c.rcode < 0 && reply != nil, c.rcode >= 0 && (reply == nil || reply.Rcode != c.rcode || len(reply.Answer) != 0):
			t.Errorf("%s: %v", c.what, reply)
		case len(b.asked) > 0:
			t.Errorf("%s: asked for %q", c.what, b.asked)
		}
	}
}

func TestHostileBytes(t *testing.T) {
	header := func(counts ...byte) []byte {
		return []byte{1, 2, 1, 0, 0, counts[0], 0, counts[1], 0, counts[2], 0, counts[3]}
	}
	loop := append(header(1, 0, 0, 0), 0xc0, 12, 0, 1, 0, 1)
	bomb := header(1, 0, 0, 0)
	for i := range 200 {
		next := 12 + 2*i + 2
		bomb = append(bomb, 0xc0|byte(next>>8), byte(next))
	}
	for what, c := range map[string]struct {
		body  []byte
		rcode int // -1: dropped
	}{
		"nothing":            {nil, -1},
		"a byte":             {[]byte{0}, -1},
		"half a header":      {header(1, 0, 0, 0)[:11], -1},
		"a promise":          {header(1, 0, 0, 0), dns.RcodeFormatError},
		"a pointer to it":    {loop, dns.RcodeFormatError},
		"pointers forward":   {append(bomb, 0, 0, 1, 0, 1), dns.RcodeFormatError},
		"a cut label":        {append(header(1, 0, 0, 0), 63, 'a'), dns.RcodeFormatError},
		"a label of 64":      {append(append(header(1, 0, 0, 0), 64), make([]byte, 70)...), dns.RcodeFormatError},
		"a promise of OPT":   {append(header(1, 0, 0, 1), 1, 'a', 0, 0, 1, 0, 1), dns.RcodeFormatError},
		"OPT of a name":      {append(header(1, 0, 0, 1), 1, 'a', 0, 0, 1, 0, 1, 1, 'b', 0, 0, 41, 2, 0, 0, 0, 0, 0, 0, 0), dns.RcodeFormatError},
		"an option cut":      {append(header(1, 0, 0, 1), 1, 'a', 0, 0, 1, 0, 1, 0, 0, 41, 2, 0, 0, 0, 0, 0, 0, 4, 0, 3, 0, 9), dns.RcodeFormatError},
		"thousands promised": {[]byte{1, 2, 1, 0, 255, 255, 255, 255, 255, 255, 255, 255}, dns.RcodeFormatError},
	} {
		b := newBox()
		switch reply := b.raw(t, c.body); {
		case c.rcode < 0 && reply != nil, c.rcode >= 0 && (reply == nil || reply.Rcode != c.rcode):
			t.Errorf("%s: %v", what, reply)
		case len(b.asked) > 0:
			t.Errorf("%s: asked for %q", what, b.asked)
		}
	}
}

func TestEDNS(t *testing.T) {
	b := newBox()
	m := query("a.allowed.example", dns.TypeA).SetEdns0(4096, true)
	m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_NSID{Code: dns.EDNS0NSID, Nsid: "aabb"}, &dns.EDNS0_PADDING{Padding: make([]byte, 300)}}
	reply := b.exchange(t, m)
	opt := reply.IsEdns0()
	if reply.Rcode != dns.RcodeSuccess || len(reply.Answer) != 1 || opt == nil || opt.Do() || opt.Version() != 0 || opt.UDPSize() != maxQuery || len(opt.Option) != 0 {
		t.Error(reply)
	}
	m.IsEdns0().SetVersion(1)
	reply = b.exchange(t, m)
	if opt := reply.IsEdns0(); reply.Rcode != dns.RcodeBadVers || len(reply.Answer) != 0 || opt == nil || opt.Version() != 0 {
		t.Error(reply)
	}
}

// A name can carry 253 bytes. They go to clawsupd in bounded number, and
// nowhere else.
func TestTooManyNames(t *testing.T) {
	b := newBox()
	const tries = newBurst * 4
	began := time.Now()
	rcodes := map[int]int{}
	for i := range tries {
		rcodes[b.exchange(t, query(fmt.Sprintf("%060d.%060d.%060d.allowed.example", i, i, i), dns.TypeTXT)).Rcode]++
	}
	most := newBurst + int(time.Since(began)*newPerSecond/time.Second) + 1
	if n := len(b.asked); n > most || n < newBurst {
		t.Errorf("asked for %d names, want %d to %d", n, newBurst, most)
	}
	if rcodes[dns.RcodeRefused] != tries-len(b.asked) || rcodes[dns.RcodeSuccess] != len(b.asked) {
		t.Errorf("answers: %v", rcodes)
	}
	if len(b.refusals) != 1 || b.refusals[0].Kind != packet.RefusedName || !strings.Contains(b.refusals[0].Detail, "too many names") {
		t.Errorf("told %+v", b.refusals)
	}
	if len(b.kept) > maxKept {
		t.Errorf("%d verdicts are kept", len(b.kept))
	}
}

func TestNamesOfOldStayWhenNewOnesAreTooMany(t *testing.T) {
	b := newBox()
	if reply := b.exchange(t, query("old.allowed.example", dns.TypeA)); len(reply.Answer) != 1 {
		t.Fatal(reply)
	}
	for i := range newBurst * 2 {
		b.exchange(t, query(fmt.Sprintf("h%d.example", i), dns.TypeA))
	}
	b.mu.Lock()
	b.kept = nil
	b.mu.Unlock()
	if reply := b.exchange(t, query("old.allowed.example", dns.TypeA)); len(reply.Answer) != 1 {
		t.Error(reply)
	}
}

func TestFullTable(t *testing.T) {
	b := newBox()
	for i := range MaxNames {
		if _, err := b.Table.Address(fmt.Sprintf("h%d.allowed.example", i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		if reply := b.exchange(t, query(fmt.Sprintf("more%d.allowed.example", i), dns.TypeA)); reply.Rcode != dns.RcodeRefused || len(reply.Answer) != 0 {
			t.Error(reply)
		}
	}
	if reply := b.exchange(t, query("h7.allowed.example", dns.TypeA)); len(reply.Answer) != 1 {
		t.Error(reply)
	}
	if len(b.refusals) != 1 || b.refusals[0].Host != "more0.allowed.example" {
		t.Errorf("told %+v", b.refusals)
	}
}

func TestWhatIsNoNameIsToldOnceAndShort(t *testing.T) {
	b := newBox()
	long := strings.Repeat(strings.Repeat(`\255`, 60)+".", 4)
	for range 3 {
		b.exchange(t, query(long, dns.TypeA))
		b.exchange(t, query("127.0.0.1", dns.TypeA))
	}
	if len(b.refusals) != 2 {
		t.Fatalf("told %+v", b.refusals)
	}
	for _, r := range b.refusals {
		if r.Kind != packet.RefusedName || r.Detail == "" || len(r.Detail) > packet.MaxDetail || strings.ContainsFunc(r.Detail, func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Errorf("told %+v", r)
		}
	}
}

func TestWhatIsNoNameIsNotToldForEver(t *testing.T) {
	b := newBox()
	for i := range newBurst * 2 {
		b.exchange(t, query(fmt.Sprintf("127.0.0.%d", i), dns.TypeA))
	}
	if len(b.refusals) != maxWrong+1 { // and that they are too many
		t.Errorf("told %d", len(b.refusals))
	}
}

func TestVerdictsAreKeptForAWhile(t *testing.T) {
	b := newBox()
	for _, host := range []string{"a.allowed.example", "denied.example"} {
		for range 3 {
			if _, err := b.Verdict(t.Context(), host); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(b.asked) != 2 {
		t.Errorf("asked for %q", b.asked)
	}
	// What could not be asked is asked again.
	for range 2 {
		if _, err := b.Verdict(t.Context(), "broken.example"); err == nil {
			t.Error("a verdict without clawsupd")
		}
	}
	if len(b.asked) != 4 {
		t.Errorf("asked for %q", b.asked)
	}
	for _, c := range []struct {
		host string
		keep time.Duration
	}{{"a.allowed.example", keepYes}, {"denied.example", keepNo}} {
		until := b.kept[c.host].until
		if _, mine, err := b.enter(c.host, until.Add(-1)); mine || err != nil {
			t.Errorf("%s is asked for again too early", c.host)
		}
		if _, mine, err := b.enter(c.host, until); !mine || err != nil {
			t.Errorf("%s is not asked for again", c.host)
		}
		if left := time.Until(until); left > c.keep {
			t.Errorf("%s is kept for %s", c.host, left)
		}
	}
}

func TestVerdictsAreBounded(t *testing.T) {
	b := newBox()
	waiting := &kept{done: make(chan struct{})}
	b.keep("waiting.example", waiting, time.Now())
	for i := range maxKept * 2 {
		k := &kept{done: make(chan struct{}), until: time.Now().Add(time.Hour)}
		close(k.done)
		b.keep(fmt.Sprintf("h%d.example", i), k, time.Now())
	}
	if len(b.kept) > maxKept || b.kept["waiting.example"] != waiting {
		t.Errorf("%d are kept", len(b.kept))
	}
}

func TestOneQuestionForManyWhoAsk(t *testing.T) {
	b := newBox()
	asking, release := make(chan struct{}, 100), make(chan struct{})
	var asks atomic.Int32
	b.Ask = func(ctx context.Context, _ string) (packet.Verdict, error) {
		asks.Add(1)
		asking <- struct{}{}
		<-release
		return packet.Verdict{Allow: true}, ctx.Err()
	}
	verdict := func(ctx context.Context) {
		if v, err := b.Verdict(ctx, "a.allowed.example"); err != nil || !v.Allow {
			t.Errorf("%+v, %v", v, err)
		}
	}
	// Who came first and who comes later go away: neither takes anybody along.
	first, cancelFirst := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = b.Verdict(first, "a.allowed.example")
	}()
	<-asking
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { verdict(t.Context()) })
	}
	cancelFirst()
	later, cancelLater := context.WithCancel(t.Context())
	cancelLater()
	if _, err := b.Verdict(later, "a.allowed.example"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(release)
	wg.Wait()
	<-gone
	if asks.Load() != 1 {
		t.Errorf("asked %d times", asks.Load())
	}
}

func TestSilentDaemonStopsNothingElse(t *testing.T) {
	b := newBox()
	asking, release := make(chan struct{}), make(chan struct{})
	b.Ask = func(context.Context, string) (packet.Verdict, error) {
		asking <- struct{}{}
		<-release
		return packet.Verdict{}, nil
	}
	var wg sync.WaitGroup
	for i := range maxAsks {
		wg.Go(func() { _, _ = b.Verdict(t.Context(), fmt.Sprintf("h%d.example", i)) })
	}
	for range maxAsks {
		<-asking
	}
	if reply := b.exchange(t, query("one.more.example", dns.TypeA)); reply.Rcode != dns.RcodeRefused {
		t.Error(reply)
	}
	if reply := b.exchange(t, query("localhost", dns.TypeA)); len(reply.Answer) != 1 {
		t.Error(reply)
	}
	close(release)
	wg.Wait()
	if b.asks != 0 {
		t.Errorf("%d asks are left", b.asks)
	}
}

// listen gives sockets of both kinds on one port of loopback.
func listen(t testing.TB) (udp net.PacketConn, tcp net.Listener) {
	t.Helper()
	for {
		udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		tcp, err := net.Listen("tcp4", udp.LocalAddr().String())
		if err == nil {
			return udp, tcp
		}
		_ = udp.Close()
		if !errors.Is(err, syscall.EADDRINUSE) { // somebody else's connection may have that port
			t.Fatal(err)
		}
	}
}

// serve has the box answer on loopback, over UDP and TCP on one port.
func (b *box) serve(t testing.TB) netip.AddrPort {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	udp, tcp := listen(t)
	at := udp.LocalAddr().(*net.UDPAddr).AddrPort()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := b.ServeUDP(ctx, udp); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	wg.Go(func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { _ = b.ServeTCP(ctx, conn) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = tcp.Close()
		wg.Wait()
		_ = udp.Close()
	})
	return at
}

func TestDig(t *testing.T) {
	if _, err := exec.LookPath("dig"); err != nil {
		t.Skip("there is no dig: install bind9-dnsutils")
	}
	b := newBox()
	at := b.serve(t)
	a, err := b.Table.Address("a.allowed.example")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		want []string
	}{
		{"a.allowed.example", []string{"status: NOERROR", "flags: qr rd ra;", "\tIN\tA\t" + a.String()}},
		{"a.allowed.example +tcp", []string{"status: NOERROR", "\tIN\tA\t" + a.String(), "(TCP)"}},
		{"a.allowed.example +dnssec +nsid +cookie +ednsopt=65001:00", []string{"status: NOERROR", "EDNS: version: 0, flags:; udp: 1232", "\tIN\tA\t" + a.String()}},
		{"a.allowed.example +noedns", []string{"status: NOERROR", "ADDITIONAL: 0"}},
		{"a.allowed.example +edns=1 +noednsnegotiation", []string{"status: BADVERS"}},
		{"a.allowed.example +header-only", []string{"status: FORMERR"}},
		{"a.allowed.example +opcode=5", []string{"status: NOTIMP"}},
		{"a.allowed.example AAAA", []string{"status: NOERROR", "ANSWER: 0"}},
		{"a.allowed.example HTTPS", []string{"status: NOERROR", "ANSWER: 0"}},
		{"a.allowed.example TXT", []string{"status: NOERROR", "ANSWER: 0"}},
		{"a.allowed.example ANY", []string{"status: REFUSED"}},
		{"a.allowed.example AXFR", []string{"Transfer failed"}},
		{"version.bind CH TXT", []string{"status: REFUSED"}},
		{"denied.example", []string{"status: NXDOMAIN"}},
		{"localhost AAAA", []string{"\tIN\tAAAA\t::1"}},
		{"-x " + a.String(), []string{"\tIN\tPTR\ta.allowed.example."}},
		{"-x 8.8.8.8", []string{"status: NXDOMAIN"}},
	} {
		args := append([]string{"-r", "@127.0.0.1", "-p", fmt.Sprint(at.Port()), "+tries=1", "+time=5"}, strings.Fields(c.args)...)
		out, _ := exec.CommandContext(t.Context(), "dig", args...).CombinedOutput() // its status is about the query
		for _, want := range c.want {
			if !strings.Contains(string(out), want) {
				t.Errorf("dig %s: no %q in\n%s", c.args, want, out)
			}
		}
		if strings.Contains(string(out), "malformed") || strings.Contains(string(out), "extra bytes") {
			t.Errorf("dig %s:\n%s", c.args, out)
		}
	}
}

func TestTCP(t *testing.T) {
	packed, err := query("a.allowed.example", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	frame := append([]byte{0, byte(len(packed))}, packed...)
	for _, c := range []struct {
		what    string
		sent    []byte
		answers int
		failed  bool
	}{
		{"nothing", nil, 0, false},
		{"three at once", append(append(append([]byte{}, frame...), frame...), frame...), 3, false},
		{"a length of all", append([]byte{255, 255}, packed...), 0, true},
		{"a length of nothing", []byte{0, 0}, 0, true},
		{"half a query", frame[:20], 0, true},
		{"half a length", frame[:1], 0, true},
		{"an answer", append([]byte{0, 12}, 1, 2, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0, true},
		{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), 0, true},
	} {
		b := newBox()
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		client, err := net.Dial("tcp4", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = listener.Close()
		served := make(chan error, 1)
		go func() { served <- b.ServeTCP(t.Context(), conn) }()
		if _, err := client.Write(c.sent); err != nil {
			t.Fatal(err)
		}
		_ = client.(*net.TCPConn).CloseWrite()
		got, _ := io.ReadAll(client) // a reset is an end
		if err := <-served; (err != nil) != c.failed {
			t.Errorf("%s: %v", c.what, err)
		}
		answers := 0
		for len(got) > 2 {
			answers++
			got = got[2+int(binary.BigEndian.Uint16(got)):]
		}
		if answers != c.answers {
			t.Errorf("%s: %d answers, want %d", c.what, answers, c.answers)
		}
		_ = client.Close()
	}
}

func TestOverlongDatagramIsDropped(t *testing.T) {
	b := newBox()
	at := b.serve(t)
	conn, err := net.Dial("udp4", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	packed, err := query("a.allowed.example", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	long, err := query("long.allowed.example", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range [][]byte{append(long, make([]byte, maxQuery)...), {}, packed} {
		if _, err := conn.Write(m); err != nil {
			t.Fatal(err)
		}
	}
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	reply := make([]byte, maxQuery)
	if n, err := conn.Read(reply); err != nil || n < headerSize || reply[0] != packed[0] || reply[1] != packed[1] {
		t.Errorf("%x, %v", reply[:n], err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Contains(b.asked, "long.allowed.example") {
		t.Error("it was read")
	}
}

// Whatever comes, an answer is one to this query, can be read, is short, and
// has an address only of the table or loopback.
func FuzzAnswer(f *testing.F) {
	for _, m := range []*dns.Msg{
		query("a.allowed.example", dns.TypeA), query("a.allowed.example", dns.TypeA).SetEdns0(512, true), query(`\000\..allowed.example`, dns.TypeA),
		query("localhost", dns.TypeAAAA), query("1.0.0.127.in-addr.arpa", dns.TypePTR), query("x", dns.TypeANY),
	} {
		packed, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	f.Add([]byte{1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1})
	b := newBox()
	f.Fuzz(func(t *testing.T, body []byte) {
		b.mu.Lock()
		b.asked, b.refusals, b.pace = nil, nil, pace{}
		b.mu.Unlock()
		answer := b.answer(t.Context(), body)
		if answer == nil {
			return
		}
		var reply dns.Msg
		if err := reply.Unpack(answer); err != nil || len(answer) > 1024 {
			t.Fatalf("%x is answered by %x: %v", body, answer, err)
		}
		if !reply.Response || answer[0] != body[0] || answer[1] != body[1] || body[2]&0x80 != 0 {
			t.Errorf("%x is answered by %x", body, answer)
		}
		if len(reply.Answer) > 1 || reply.Rcode != dns.RcodeSuccess && len(reply.Answer) > 0 {
			t.Errorf("%x is answered by %v", body, reply)
		}
		for _, rr := range reply.Answer {
			if a, ok := rr.(*dns.A); ok && !a.A.IsLoopback() {
				at, _ := netip.AddrFromSlice(a.A.To4())
				if _, known := b.Table.Name(at); !known {
					t.Errorf("%x is answered by %s", body, a)
				}
			}
		}
		for _, host := range b.asked {
			if strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" || len(host) > 253 {
				t.Errorf("%x asks for %q", body, host)
			}
		}
	})
}

func BenchmarkAnswer(b *testing.B) {
	box := newBox()
	packed, err := query("a.allowed.example", dns.TypeA).SetEdns0(1232, false).Pack()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if box.answer(b.Context(), packed) == nil {
			b.Fatal("no answer")
		}
	}
}

func BenchmarkUDP(b *testing.B) {
	box := newBox()
	at := box.serve(b)
	packed, err := query("a.allowed.example", dns.TypeA).Pack()
	if err != nil {
		b.Fatal(err)
	}
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.Dial("udp4", at.String())
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		reply := make([]byte, maxQuery)
		for pb.Next() {
			if _, err := conn.Write(packed); err != nil {
				b.Error(err)
				return
			}
			if _, err := conn.Read(reply); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
}

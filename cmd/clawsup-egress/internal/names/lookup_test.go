// SPDX-License-Identifier: Apache-2.0

package names

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// upstream is a resolver on loopback.
type upstream struct {
	at        string
	udp, tcp  atomic.Int32 // queries
	connected atomic.Int32 // sockets
}

// resolver starts one that answers with a handler.
func resolver(t testing.TB, handle func(w dns.ResponseWriter, m *dns.Msg)) *upstream {
	t.Helper()
	u := new(upstream)
	packets, listener := listen(t)
	u.at = packets.LocalAddr().String()
	var wg sync.WaitGroup
	for _, s := range []*dns.Server{{PacketConn: packets}, {Listener: listener}} {
		count := &u.tcp
		if s.PacketConn != nil {
			count = &u.udp
		}
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		s.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
			count.Add(1)
			handle(w, m)
		})
		wg.Go(func() {
			if err := s.ActivateAndServe(); err != nil {
				t.Error(err)
			}
		})
		<-started
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return u
}

// dialer leads to resolvers in their order.
func dialer(list ...*upstream) Dial {
	return func(ctx context.Context, server int, tcp bool) (net.Conn, error) {
		u := list[server]
		u.connected.Add(1)
		network := "udp4"
		if tcp {
			network = "tcp4"
		}
		return new(net.Dialer).DialContext(ctx, network, u.at)
	}
}

// records answers from lines of a zone, whatever is asked for.
func records(lines ...string) func(dns.ResponseWriter, *dns.Msg) {
	return func(w dns.ResponseWriter, m *dns.Msg) {
		reply := new(dns.Msg)
		reply.SetReply(m)
		for _, line := range lines {
			rr, err := dns.NewRR(strings.ReplaceAll(line, "@", m.Question[0].Name))
			if err != nil {
				panic(err)
			}
			if t := rr.Header().Rrtype; t == m.Question[0].Qtype || t == dns.TypeCNAME {
				reply.Answer = append(reply.Answer, rr)
			}
		}
		_ = w.WriteMsg(reply)
	}
}

func rcode(code int) func(dns.ResponseWriter, *dns.Msg) {
	return func(w dns.ResponseWriter, m *dns.Msg) { _ = w.WriteMsg(new(dns.Msg).SetRcode(m, code)) }
}

func texts(list []netip.Addr) string {
	var s []string
	for _, a := range list {
		s = append(s, a.String())
	}
	return strings.Join(s, " ")
}

func TestLookup(t *testing.T) {
	var many []string
	for i := range 40 {
		many = append(many, fmt.Sprintf("@ 60 IN A 8.8.0.%d", i), fmt.Sprintf("@ 60 IN AAAA 2606:4700::%d", i))
	}
	var chain []string
	for i := range 40 {
		chain = append(chain, fmt.Sprintf("c%d.example. 60 IN CNAME c%d.example.", i, i+1))
	}
	for _, c := range []struct {
		what   string
		handle func(dns.ResponseWriter, *dns.Msg)
		want   string
		err    error
	}{
		{"both families", records("@ 60 IN AAAA 2606:4700::1", "@ 60 IN A 8.8.8.8", "@ 60 IN A 8.8.4.4"), "8.8.8.8 8.8.4.4 2606:4700::1", nil},
		{"one family", records("@ 60 IN AAAA 2606:4700::1"), "2606:4700::1", nil},
		{"an alias", records("@ 60 IN CNAME b.example.", "B.example. 60 IN A 8.8.8.8"), "8.8.8.8", nil},
		{"aliases out of order", records("c.example. 60 IN A 8.8.8.8", "b.example. 60 IN CNAME c.example.", "@ 60 IN CNAME b.example."), "8.8.8.8", nil},
		{"addresses of others", records("other.example. 60 IN A 8.8.8.8"), "", ErrNoAddress},
		{"an alias to nothing", records("@ 60 IN CNAME b.example.", "c.example. 60 IN A 8.8.8.8"), "", ErrNoAddress},
		{"an alias to itself", records("@ 60 IN CNAME @"), "", ErrNoAddress},
		{"aliases in a ring", records("@ 60 IN CNAME b.example.", "b.example. 60 IN CNAME @"), "", ErrNoAddress},
		{"aliases without end", records(append(chain, "@ 60 IN CNAME c0.example.", "c40.example. 60 IN A 8.8.8.8")...), "", ErrNoAddress},
		{"another class", records("@ 60 CH A 8.8.8.8"), "", ErrNoAddress},
		{"nothing", records(), "", ErrNoAddress},
		{"no such name", rcode(dns.RcodeNameError), "", ErrNoAddress},
		{"failure", rcode(dns.RcodeServerFailure), "", ErrNoResolver},
		{"refusal", rcode(dns.RcodeRefused), "", ErrNoResolver},
		// Judging them is not for here.
		{"private and mapped", records("@ 60 IN A 127.0.0.1", "@ 60 IN AAAA ::ffff:10.0.0.1"), "127.0.0.1 ::ffff:10.0.0.1", nil},
		{"a family that fails", func(w dns.ResponseWriter, m *dns.Msg) {
			if m.Question[0].Qtype == dns.TypeAAAA {
				rcode(dns.RcodeServerFailure)(w, m)
				return
			}
			records("@ 60 IN A 8.8.8.8")(w, m)
		}, "8.8.8.8", nil},
		{"a family that fails, and nothing else", func(w dns.ResponseWriter, m *dns.Msg) {
			if m.Question[0].Qtype == dns.TypeAAAA {
				rcode(dns.RcodeServerFailure)(w, m)
				return
			}
			records()(w, m)
		}, "", ErrNoResolver},
		{"no EDNS", func(w dns.ResponseWriter, m *dns.Msg) {
			if m.IsEdns0() != nil {
				_ = w.WriteMsg(&dns.Msg{MsgHdr: dns.MsgHdr{Id: m.Id, Response: true, Rcode: dns.RcodeFormatError}})
				return
			}
			records("@ 60 IN A 8.8.8.8")(w, m)
		}, "8.8.8.8", nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			u := resolver(t, c.handle)
			got, err := Lookup(t.Context(), dialer(u), 1, "a.example")
			if texts(got) != c.want || !errors.Is(err, c.err) {
				t.Errorf("%v, %v", got, err)
			}
			if n := u.udp.Load() + u.tcp.Load(); u.connected.Load() != n {
				t.Errorf("%d queries over %d sockets", n, u.connected.Load())
			}
		})
	}
	t.Run("too many", func(t *testing.T) {
		got, err := Lookup(t.Context(), dialer(resolver(t, records(many...))), 1, "a.example")
		if err != nil || len(got) != MaxAddresses || !got[0].Is4() || !got[MaxAddresses-1].Is6() {
			t.Errorf("%v, %v", got, err)
		}
	})
}

func TestLookupSaysWhatHappened(t *testing.T) {
	_, err := Lookup(t.Context(), dialer(resolver(t, records())), 1, "a.example")
	if err == nil || err.Error() != "a.example has no address" {
		t.Error(err)
	}
	_, err = Lookup(t.Context(), dialer(resolver(t, rcode(dns.RcodeServerFailure))), 1, "a.example")
	if err == nil || err.Error() != "no resolver of the host answered for a.example: a resolver answered SERVFAIL (2)" {
		t.Error(err)
	}
	_, err = Lookup(t.Context(), dialer(), 0, "a.example")
	if err == nil || err.Error() != "no resolver of the host answered for a.example: it has none" {
		t.Error(err)
	}
}

func TestLookupTakesNamesAlone(t *testing.T) {
	u := resolver(t, records("@ 60 IN A 8.8.8.8"))
	for _, name := range []string{"", ".", "A.example", "a.example.", "127.0.0.1", "a b.example", `a\.b.example`, strings.Repeat("a", 64) + ".example", strings.Repeat("a.", 127) + "example"} {
		if got, err := Lookup(t.Context(), dialer(u), 1, name); err == nil {
			t.Errorf("%q has %v", name, got)
		}
	}
	if u.connected.Load() != 0 {
		t.Error("a resolver was asked")
	}
}

// The bytes that tell an answer from a guess are new in every question.
func TestQuestionsAreUnlike(t *testing.T) {
	var mu sync.Mutex
	ids, spellings, ports := map[uint16]bool{}, map[string]bool{}, map[string]bool{}
	u := resolver(t, func(w dns.ResponseWriter, m *dns.Msg) {
		mu.Lock()
		ids[m.Id], spellings[m.Question[0].Name], ports[w.RemoteAddr().String()] = true, true, true
		mu.Unlock()
		records("@ 60 IN A 8.8.8.8")(w, m)
	})
	const name = "quite-a-long-name-with-many-letters.example"
	for range 10 {
		if _, err := Lookup(t.Context(), dialer(u), 1, name); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(ids) < 15 || len(spellings) < 15 || len(ports) < 10 {
		t.Errorf("20 questions with %d ids, %d spellings, from %d ports", len(ids), len(spellings), len(ports))
	}
	for s := range spellings {
		if strings.ToLower(s) != name+"." {
			t.Errorf("asked for %s", s)
		}
	}
}

func TestTruncationAndCaseGoToTCP(t *testing.T) {
	for what, over := range map[string]func(m *dns.Msg){
		"cut":             func(m *dns.Msg) { m.Truncated, m.Answer = true, nil },
		"cut with a part": func(m *dns.Msg) { m.Truncated = true },
		"lower case":      func(m *dns.Msg) { m.Question[0].Name = strings.ToLower(m.Question[0].Name) },
	} {
		t.Run(what, func(t *testing.T) {
			u := resolver(t, func(w dns.ResponseWriter, m *dns.Msg) {
				reply := new(dns.Msg).SetReply(m)
				address := "9.9.9.9"
				if w.RemoteAddr().Network() == "tcp" {
					address = "8.8.8.8"
				}
				if m.Question[0].Qtype == dns.TypeA {
					rr, _ := dns.NewRR(m.Question[0].Name + " 60 IN A " + address)
					reply.Answer = append(reply.Answer, rr)
				}
				if address == "9.9.9.9" || what == "lower case" {
					over(reply)
				}
				_ = w.WriteMsg(reply)
			})
			got, err := Lookup(t.Context(), dialer(u), 1, "a-name-with-many-letters.example")
			if texts(got) != "8.8.8.8" || err != nil || u.tcp.Load() != 2 {
				t.Errorf("%v, %v, %d over TCP", got, err, u.tcp.Load())
			}
		})
	}
}

// Who guesses at answers changes nothing, and does not end the wait for the
// true one.
func TestLiesAreDropped(t *testing.T) {
	u := resolver(t, func(w dns.ResponseWriter, m *dns.Msg) {
		if w.RemoteAddr().Network() == "tcp" {
			t.Error("a lie led to TCP")
		}
		evil, _ := dns.NewRR(m.Question[0].Name + " 60 IN A 6.6.6.6")
		for _, lie := range []func(*dns.Msg){
			func(r *dns.Msg) { r.Id++ },
			func(r *dns.Msg) { r.Question[0].Name = "b.example." },
			func(r *dns.Msg) { r.Question[0].Qtype = dns.TypeTXT },
			func(r *dns.Msg) { r.Question[0].Qclass = dns.ClassCHAOS },
			func(r *dns.Msg) { r.Question = nil },
			func(r *dns.Msg) { r.Question = append(r.Question, r.Question[0]) },
			func(r *dns.Msg) { r.Response = false },
			func(r *dns.Msg) { r.Opcode = dns.OpcodeNotify },
			func(r *dns.Msg) { r.Id++; r.Truncated = true },
			func(r *dns.Msg) { r.Id++; r.Rcode = dns.RcodeNameError },
		} {
			reply := new(dns.Msg).SetReply(m)
			reply.Question = slices.Clone(reply.Question)
			reply.Answer = []dns.RR{evil}
			lie(reply)
			_ = w.WriteMsg(reply)
		}
		_, _ = w.Write([]byte{byte(m.Id >> 8), byte(m.Id)})
		_, _ = w.Write(append([]byte{byte(m.Id >> 8), byte(m.Id), 0x80, 0, 0, 1}, make([]byte, 3)...))
		_, _ = w.Write(append([]byte{byte(m.Id >> 8), byte(m.Id), 0x80, 0, 0, 1, 255, 255, 0, 0, 0, 0, 0xc0, 12}, make([]byte, 100)...))
		records("@ 60 IN A 8.8.8.8")(w, m)
	})
	if got, err := Lookup(t.Context(), dialer(u), 1, "a.example"); texts(got) != "8.8.8.8" || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestLiesHaveAnEnd(t *testing.T) {
	u := resolver(t, func(w dns.ResponseWriter, m *dns.Msg) {
		reply := new(dns.Msg).SetReply(m)
		reply.Id++
		for range maxStrays {
			_ = w.WriteMsg(reply)
		}
	})
	if got, err := Lookup(t.Context(), dialer(u), 1, "a.example"); !errors.Is(err, ErrNoResolver) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestOverlongAnswerOverTCP(t *testing.T) {
	var lines []string
	for i := range 2000 {
		lines = append(lines, fmt.Sprintf("@ 60 IN A 8.8.%d.%d", i/250, i%250))
	}
	u := resolver(t, func(w dns.ResponseWriter, m *dns.Msg) {
		if w.RemoteAddr().Network() == "udp" {
			_ = w.WriteMsg(&dns.Msg{MsgHdr: dns.MsgHdr{Id: m.Id, Response: true, Truncated: true}, Question: m.Question})
			return
		}
		records(lines...)(w, m)
	})
	if got, err := Lookup(t.Context(), dialer(u), 1, "a.example"); !errors.Is(err, ErrNoResolver) || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("%v, %v", got, err)
	}
}

func TestNextResolver(t *testing.T) {
	silent := resolver(t, func(dns.ResponseWriter, *dns.Msg) {})
	broken := resolver(t, rcode(dns.RcodeServerFailure))
	good := resolver(t, records("@ 60 IN A 8.8.8.8", "@ 60 IN AAAA 2606:4700::1"))
	for what, list := range map[string][]*upstream{
		"one that is silent": {silent, good},
		"one that fails":     {broken, good},
		"one that is away":   {{at: "127.0.0.1:1"}, good},
	} {
		got, err := Lookup(t.Context(), dialer(list...), len(list), "a.example")
		if texts(got) != "8.8.8.8 2606:4700::1" || err != nil {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
	refuse := func(context.Context, int, bool) (net.Conn, error) { return nil, errors.New("clawsupd said no") }
	if _, err := Lookup(t.Context(), refuse, 2, "a.example"); !errors.Is(err, ErrNoResolver) || !strings.Contains(err.Error(), "clawsupd said no") {
		t.Error(err)
	}
}

func TestSlowFamilyIsNotWaitedFor(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	u := resolver(t, func(w dns.ResponseWriter, m *dns.Msg) {
		if m.Question[0].Qtype == dns.TypeAAAA {
			<-release
			return
		}
		records("@ 60 IN A 8.8.8.8")(w, m)
	})
	if got, err := Lookup(t.Context(), dialer(u), 1, "a.example"); texts(got) != "8.8.8.8" || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestLookupEndsWithItsContext(t *testing.T) {
	asked := make(chan struct{}, 10)
	u := resolver(t, func(dns.ResponseWriter, *dns.Msg) { asked <- struct{}{} })
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if got, err := Lookup(ctx, dialer(u), 1, "a.example"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestCache(t *testing.T) {
	for _, c := range []struct {
		ttl  uint32
		kept time.Duration
	}{{0, minTTL}, {60, time.Minute}, {1 << 30, maxTTL}} {
		u := resolver(t, records(fmt.Sprintf("@ %d IN CNAME b.example.", c.ttl), "b.example. 2000000000 IN A 8.8.8.8"))
		cache := NewCache()
		for range 3 {
			got, err := cache.Lookup(t.Context(), dialer(u), 1, "a.example")
			if texts(got) != "8.8.8.8" || err != nil {
				t.Fatalf("%v, %v", got, err)
			}
			got[0] = netip.Addr{} // the list is the caller's
		}
		if u.udp.Load() != 2 {
			t.Errorf("%d queries", u.udp.Load())
		}
		if left := time.Until(cache.names["a.example"].until); left > c.kept || left < c.kept-time.Minute {
			t.Errorf("kept for %s, want %s", left, c.kept)
		}
		if _, mine := cache.enter("a.example", time.Now().Add(c.kept)); !mine {
			t.Error("kept for longer")
		}
	}
	// That there is no address is kept, that nobody answered is not.
	none := resolver(t, records())
	broken := resolver(t, rcode(dns.RcodeServerFailure))
	cache := NewCache()
	for range 3 {
		if _, err := cache.Lookup(t.Context(), dialer(none), 1, "none.example"); !errors.Is(err, ErrNoAddress) {
			t.Error(err)
		}
	}
	if none.udp.Load() != 2 {
		t.Errorf("%d queries", none.udp.Load())
	}
	for range 2 {
		if _, err := cache.Lookup(t.Context(), dialer(broken), 1, "broken.example"); !errors.Is(err, ErrNoResolver) {
			t.Error(err)
		}
	}
	if want := int32(2 * 2 * len(patience)); broken.udp.Load() != want {
		t.Errorf("%d queries, want %d", broken.udp.Load(), want)
	}
}

func TestCacheIsBounded(t *testing.T) {
	u := resolver(t, records("@ 60 IN A 8.8.8.8"))
	cache := NewCache()
	for i := range maxCached {
		entry, _ := cache.enter(fmt.Sprintf("h%d.example", i), time.Now())
		entry.until = time.Now().Add(time.Hour)
		close(entry.done)
	}
	if got, err := cache.Lookup(t.Context(), dialer(u), 1, "a.example"); texts(got) != "8.8.8.8" || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	if len(cache.names) > maxCached {
		t.Errorf("%d names", len(cache.names))
	}
}

// Many who look up one name ask once, and when the first of them goes away,
// another goes on.
func TestCacheAsksOnce(t *testing.T) {
	asked, release := make(chan struct{}, 100), make(chan struct{})
	u := resolver(t, func(w dns.ResponseWriter, m *dns.Msg) {
		asked <- struct{}{}
		<-release
		records("@ 60 IN A 8.8.8.8", "@ 60 IN AAAA 2606:4700::1")(w, m)
	})
	cache := NewCache()
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := cache.Lookup(ctx, dialer(u), 1, "a.example")
		gone <- err
	}()
	<-asked
	<-asked
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if got, err := cache.Lookup(t.Context(), dialer(u), 1, "a.example"); texts(got) != "8.8.8.8 2606:4700::1" || err != nil {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(release)
	wg.Wait()
	if u.udp.Load() != 4 {
		t.Errorf("%d queries, want 2 of who went away and 2 of all others", u.udp.Load())
	}
}

// Whatever comes, addresses are taken only from an answer to this question, in bounded
// number and of the kind asked for.
func FuzzRead(f *testing.F) {
	q := &question{id: 0x102, asked: "a.eXample.", kind: dns.TypeA}
	m := new(dns.Msg)
	m.SetQuestion(q.asked, q.kind)
	m.Id = q.id
	for _, lines := range [][]string{{"@ 60 IN A 8.8.8.8"}, {"@ 60 IN CNAME b.example.", "b.example. 60 IN A 8.8.8.8"}, {"@ 60 IN CNAME @"}, {}} {
		reply := new(dns.Msg).SetReply(m)
		for _, line := range lines {
			rr, err := dns.NewRR(strings.ReplaceAll(line, "@", q.asked))
			if err != nil {
				f.Fatal(err)
			}
			reply.Answer = append(reply.Answer, rr)
		}
		for _, compress := range []bool{false, true} {
			reply.Compress = compress
			packed, err := reply.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(packed, compress)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, tcp bool) {
		got, err := q.read(body, tcp)
		if len(got.addresses) == 0 {
			return
		}
		if err != nil || len(body) < headerSize || body[0] != 1 || body[1] != 2 || len(got.addresses) > MaxAddresses/2 {
			t.Errorf("%x has %v, %v", body, got.addresses, err)
		}
		if !tcp && !strings.Contains(string(body), "\x01a\x07eXample\x00") {
			t.Errorf("%x is about another name", body)
		}
		for _, a := range got.addresses {
			if !a.Is4() {
				t.Errorf("%x has %s", body, a)
			}
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	u := resolver(b, records("@ 60 IN A 8.8.8.8", "@ 60 IN AAAA 2606:4700::1"))
	dial := dialer(u)
	for b.Loop() {
		if _, err := Lookup(b.Context(), dial, 1, "a.example"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCacheHit(b *testing.B) {
	u := resolver(b, records("@ 60 IN A 8.8.8.8", "@ 60 IN AAAA 2606:4700::1"))
	dial, cache := dialer(u), NewCache()
	for b.Loop() {
		if _, err := cache.Lookup(b.Context(), dial, 1, "a.example"); err != nil {
			b.Fatal(err)
		}
	}
}

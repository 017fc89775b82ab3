// SPDX-License-Identifier: Apache-2.0

package world

import (
	"errors"
	"net/netip"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// Question is one that the DNS server was asked.
type Question struct {
	Name string // as it came, with the dot at its end
	Type string // A, AAAA, TXT, ...
	TCP  bool
}

// resolver answers for the zone.
type resolver struct {
	servers []*dns.Server
	ended   sync.WaitGroup

	mu        sync.Mutex
	questions []Question // mu
	rebound   bool       // mu; Rebind has changed its mind
}

func openResolver(in *Space) (*resolver, error) {
	r := &resolver{}
	address := netip.AddrPortFrom(Resolver, 53).String()
	packets, err := in.ListenPacket("udp", address)
	if err != nil {
		return nil, err
	}
	streams, err := in.Listen("tcp", address)
	if err != nil {
		return nil, errors.Join(err, packets.Close())
	}
	for _, s := range []*dns.Server{{PacketConn: packets, Handler: r}, {Listener: streams, Handler: r}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		r.servers = append(r.servers, s)
		r.ended.Go(func() { _ = s.ActivateAndServe() })
		<-started
	}
	return r, nil
}

func (r *resolver) close() error {
	var errs []error
	for _, s := range r.servers {
		errs = append(errs, s.Shutdown())
	}
	r.ended.Wait()
	return errors.Join(errs...)
}

// ServeDNS answers one question.
func (r *resolver) ServeDNS(w dns.ResponseWriter, m *dns.Msg) {
	answer := new(dns.Msg)
	answer.SetReply(m)
	if len(m.Question) != 1 {
		answer.Rcode = dns.RcodeFormatError
		_ = w.WriteMsg(answer)
		return
	}
	q := m.Question[0]
	r.mu.Lock()
	r.questions = append(r.questions, Question{q.Name, dns.TypeToString[q.Qtype], w.RemoteAddr().Network() == "tcp"})
	r.mu.Unlock()
	r.fill(answer, q.Name, q.Qtype)
	_ = w.WriteMsg(answer)
}

func (r *resolver) fill(answer *dns.Msg, name string, kind uint16) {
	for range 8 {
		n := Name(strings.TrimSuffix(strings.ToLower(name), "."))
		header := dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET}
		target, alias := aliases[n]
		if !alias {
			if !r.address(answer, header, n) && len(answer.Answer) == 0 {
				answer.Rcode = dns.RcodeNameError
			}
			return
		}
		header.Rrtype = dns.TypeCNAME
		answer.Answer = append(answer.Answer, &dns.CNAME{Hdr: header, Target: dns.Fqdn(string(target))})
		name = dns.Fqdn(string(target))
	}
}

// address adds the records of a name, and says whether there is such a name.
func (r *resolver) address(answer *dns.Msg, header dns.RR_Header, n Name) bool {
	addresses, ok := records[n]
	switch {
	case n == Rebind:
		addresses, ok = r.rebind(header.Rrtype), true
	case n == Tunnel || strings.HasSuffix(string(n), "."+string(Tunnel)):
		addresses, ok = records[Other], true
		if header.Rrtype == dns.TypeTXT {
			answer.Answer = append(answer.Answer, &dns.TXT{Hdr: header, Txt: []string{"orders from afar"}})
		}
	}
	for _, a := range addresses {
		switch {
		case header.Rrtype == dns.TypeA && a.Is4():
			answer.Answer = append(answer.Answer, &dns.A{Hdr: header, A: a.AsSlice()})
		case header.Rrtype == dns.TypeAAAA && a.Is6():
			answer.Answer = append(answer.Answer, &dns.AAAA{Hdr: header, AAAA: a.AsSlice()})
		}
	}
	return ok
}

// rebind is a public address the first time, and then the host's loopback.
func (r *resolver) rebind(kind uint16) []netip.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	if kind != dns.TypeA {
		return nil
	}
	if !r.rebound {
		r.rebound = true
		return records[Plain]
	}
	return []netip.Addr{localhost}
}

// Questions gives what the DNS server was asked so far.
func (w *World) Questions() []Question {
	w.resolver.mu.Lock()
	defer w.resolver.mu.Unlock()
	return append([]Question(nil), w.resolver.questions...)
}

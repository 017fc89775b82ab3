// SPDX-License-Identifier: Apache-2.0

package names

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/clawsup/clawsup/supervisor/guard"
)

// Dial gives a connected socket to one of the host's resolvers, which are
// numbered from 0. Each question has one of its own, and so a port of its own.
type Dial func(ctx context.Context, server int, tcp bool) (net.Conn, error)

// Bounds of a lookup.
const (
	MaxAddresses = 16 // half of them of each family

	lookupLimit = 10 * time.Second // of all of it
	maxAnswer   = 16 << 10         // bytes over TCP; addresses need not more
	maxDatagram = 4096             // bytes over UDP; asked for are maxQuery
	maxStrays   = 64               // datagrams that are no answer to the question
	maxChain    = 12               // aliases, one behind the other
)

// patience is how long one resolver is waited for, by round: each of them is
// asked once in each.
var patience = []time.Duration{2 * time.Second, 4 * time.Second}

// waitOther is how long who has addresses of one family waits for the other's.
const waitOther = 250 * time.Millisecond

// Errors of a lookup.
var (
	ErrNoAddress  = errors.New("has no address")
	ErrNoResolver = errors.New("no resolver of the host answered")
)

// Lookup asks the host's resolvers for the addresses of a name, spelled as
// package guard's Name gives it. It is for names that somebody allowed: the name
// leaves the host. IPv4 comes first. The error is one of the above, the
// context's, or about the spelling. dial has to return when its context ends.
func Lookup(ctx context.Context, dial Dial, servers int, name string) ([]netip.Addr, error) {
	f, err := lookup(ctx, dial, servers, name)
	return f.addresses, err
}

// found are addresses of one name.
type found struct {
	addresses []netip.Addr
	ttl       uint32 // in seconds, the least of all records that led to them
}

func lookup(ctx context.Context, dial Dial, servers int, name string) (found, error) {
	if spelled, err := guard.Name(name); err != nil || spelled != name {
		return found{}, fmt.Errorf("%q is not looked up: it is no name in the one spelling", clip(name, 200))
	}
	ctx, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	type result struct {
		found
		err error
	}
	var results [2]result
	var arrived [2]chan struct{}
	for i, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		arrived[i] = make(chan struct{})
		go func() {
			defer close(arrived[i])
			results[i].found, results[i].err = ask(ctx, dial, servers, name, kind)
		}()
	}
	first := 0
	select {
	case <-arrived[0]:
	case <-arrived[1]:
		first = 1
	}
	var late <-chan time.Time
	if len(results[first].addresses) > 0 {
		timer := time.NewTimer(waitOther)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-arrived[1-first]:
	case <-late:
		return results[first].found, nil
	}
	all := found{ttl: ^uint32(0)}
	var failed error
	for _, r := range results {
		if len(r.addresses) > 0 {
			all.addresses = append(all.addresses, r.addresses...)
			all.ttl = min(all.ttl, r.ttl)
		}
		if r.err != nil {
			failed = r.err
		}
	}
	switch {
	case len(all.addresses) > 0:
		return all, nil
	case failed != nil:
		return found{}, failed
	}
	return found{}, fmt.Errorf("%s %w", name, ErrNoAddress)
}

// ask asks the resolvers one question, one after the other, until one has an
// answer. That there is no such name, or no such address, is an answer.
func ask(ctx context.Context, dial Dial, servers int, name string, kind uint16) (found, error) {
	why := errors.New("it has none")
	for round, limit := range patience {
		for server := range servers {
			// In the last round without EDNS, which old ones stumble over.
			f, err := try(ctx, dial, server, name, kind, limit, round == 0)
			if err == nil {
				return f, nil
			}
			if ctx.Err() != nil {
				break
			}
			why = err
		}
	}
	if err := ctx.Err(); errors.Is(err, context.Canceled) {
		return found{}, err
	} else if err != nil {
		why = fmt.Errorf("%w, last: %w", err, why)
	}
	return found{}, fmt.Errorf("%w for %s: %w", ErrNoResolver, name, why)
}

// errTruncated is an answer that needs TCP: it was cut, or the resolver does not
// keep the case of letters, which over UDP tells its answers from others'.
var errTruncated = errors.New("the answer is cut")

// try asks one resolver.
func try(ctx context.Context, dial Dial, server int, name string, kind uint16, limit time.Duration, edns bool) (found, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	q, err := newQuestion(name, kind, edns)
	if err != nil {
		return found{}, err
	}
	f, err := q.exchange(ctx, dial, server, false)
	if errors.Is(err, errTruncated) {
		return q.exchange(ctx, dial, server, true)
	}
	return f, err
}

// question is one, with what tells its answer from others'.
type question struct {
	id     uint16
	asked  string // the name with a dot at its end, in letters of random case
	kind   uint16
	packed []byte
}

func newQuestion(name string, kind uint16, edns bool) (*question, error) {
	random := make([]byte, 2+guard.MaxName)
	_, _ = rand.Read(random) // never fails
	spelled := []byte(name + ".")
	for i, c := range spelled {
		if 'a' <= c && c <= 'z' && random[2+i%guard.MaxName]&1 == 1 {
			spelled[i] = c - 'a' + 'A'
		}
	}
	q := &question{id: binary.BigEndian.Uint16(random), asked: string(spelled), kind: kind}
	var m dns.Msg
	m.SetQuestion(q.asked, kind)
	m.Id = q.id
	if edns {
		m.SetEdns0(maxQuery, false)
	}
	var err error
	q.packed, err = m.Pack()
	return q, err
}

// exchange sends the question and reads until there is the answer.
func (q *question) exchange(ctx context.Context, dial Dial, server int, tcp bool) (found, error) {
	conn, err := dial(ctx, server, tcp)
	if err != nil {
		return found{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if tcp {
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(q.packed))), q.packed...)); err != nil {
			return found{}, err
		}
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return found{}, err
		}
		n := binary.BigEndian.Uint16(size[:])
		if n > maxAnswer {
			return found{}, fmt.Errorf("an answer has %d bytes", n)
		}
		body := make([]byte, n)
		if _, err := io.ReadFull(conn, body); err != nil {
			return found{}, err
		}
		return q.read(body, true)
	}
	if _, err := conn.Write(q.packed); err != nil {
		return found{}, err
	}
	body := make([]byte, maxDatagram)
	for range maxStrays {
		n, err := conn.Read(body)
		if err != nil {
			return found{}, err
		}
		// Who can't see the question guesses at answers: those do not end it.
		f, err := q.read(body[:n], false)
		if !errors.Is(err, errStray) {
			return f, err
		}
	}
	return found{}, errStray
}

// errStray is no answer to the question.
var errStray = errors.New("what came is no answer to the question")

// read reads an answer: the addresses that the name's chain of aliases ends in,
// within this answer. No addresses and no error: the name has none of this kind.
func (q *question) read(body []byte, tcp bool) (found, error) {
	if len(body) < headerSize || binary.BigEndian.Uint16(body) != q.id {
		return found{}, errStray
	}
	var m dns.Msg
	if err := m.Unpack(body); err != nil && !m.Truncated {
		return found{}, errStray
	}
	if !m.Response || m.Opcode != dns.OpcodeQuery {
		return found{}, errStray
	}
	// A resolver that does not understand the question may leave it out.
	confused := len(m.Question) == 0 && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented)
	if !confused {
		if len(m.Question) != 1 || m.Question[0].Qtype != q.kind || m.Question[0].Qclass != dns.ClassINET || !strings.EqualFold(m.Question[0].Name, q.asked) {
			return found{}, errStray
		}
		if !tcp && (m.Truncated || m.Question[0].Name != q.asked) {
			return found{}, errTruncated
		}
	}
	switch m.Rcode {
	case dns.RcodeSuccess:
		return q.collect(m.Answer), nil
	case dns.RcodeNameError:
		return found{}, nil
	}
	return found{}, fmt.Errorf("a resolver answered %s (%d)", dns.RcodeToString[m.Rcode], m.Rcode)
}

// collect follows the aliases.
func (q *question) collect(records []dns.RR) found {
	owner := strings.ToLower(q.asked)
	f := found{ttl: ^uint32(0)}
	for range maxChain {
		next := ""
		for _, rr := range records {
			h := rr.Header()
			if h.Class != dns.ClassINET || strings.ToLower(h.Name) != owner {
				continue
			}
			var a netip.Addr
			switch rr := rr.(type) {
			case *dns.CNAME:
				next = strings.ToLower(rr.Target)
			case *dns.A:
				a, _ = netip.AddrFromSlice(rr.A.To4())
			case *dns.AAAA:
				a, _ = netip.AddrFromSlice(rr.AAAA.To16())
			default:
				continue
			}
			if a.IsValid() && h.Rrtype == q.kind && len(f.addresses) < MaxAddresses/2 {
				f.addresses = append(f.addresses, a)
			}
			f.ttl = min(f.ttl, h.Ttl)
		}
		if len(f.addresses) > 0 || next == "" {
			break
		}
		owner = next
	}
	return f
}

// SPDX-License-Identifier: Apache-2.0

package names

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/clawsup/clawsup/supervisor/guard"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

const (
	// ttl is what clients may keep an answer for, in seconds. The address stays
	// right for as long as the box lives, but what policy says of its name may
	// change, and the table is gone when the helper starts anew.
	ttl = 30
	// maxQuery bounds a query in bytes: a name, a question and EDNS options with padding.
	maxQuery = 1232
	// maxAtOnce bounds the queries that one socket works on.
	maxAtOnce = 64
	// tcpLimit is how long a TCP connection may be silent, or leave answers unread.
	tcpLimit = 10 * time.Second
)

// Server answers the queries of one box. Its fields are set before its first
// use; it may be used by several goroutines, and is not to be copied.
type Server struct {
	Table *Table
	// Ask asks clawsupd whether policy could allow a name. It returns when the
	// context ends.
	Ask func(ctx context.Context, host string) (packet.Verdict, error)
	// Refused is told what was refused without asking, maxWrong and two at most.
	// What Ask denied is not told: clawsupd knows.
	Refused func(packet.Refusal)

	busy, full sync.Once // of telling

	mu   sync.Mutex
	kept map[string]*kept // mu; by name, or by a digest of the text that is none
	told int              // mu; of what is no name
	asks int              // mu; that are being asked
	pace pace             // mu
}

// ServeUDP answers on a socket, from the socket itself, until the context ends
// or the socket fails. The socket stays open. Queries beyond maxAtOnce wait in
// the kernel's queue.
func (s *Server) ServeUDP(ctx context.Context, conn net.PacketConn) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var workers sync.WaitGroup
	defer workers.Wait()
	room := make(chan []byte, maxAtOnce)
	for range cap(room) {
		room <- nil
	}
	for {
		buffer := <-room
		if buffer == nil {
			buffer = make([]byte, maxQuery+1)
		}
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
		if n > maxQuery {
			room <- buffer
			continue
		}
		workers.Go(func() {
			if answer := s.answer(ctx, buffer[:n]); answer != nil {
				_, _ = conn.WriteTo(answer, from) // who does not get it asks again
			}
			room <- buffer
		})
	}
}

// ServeTCP answers on a connection, one query after the other (RFC 7766), and
// closes it in the end: when the client does, when the context ends, or when the
// client is silent for tcpLimit, or says what can't be a query. How many
// connections there may be is the caller's to bound.
func (s *Server) ServeTCP(ctx context.Context, conn net.Conn) error {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	buffer := make([]byte, 2+maxQuery)
	for {
		if err := conn.SetDeadline(time.Now().Add(tcpLimit)); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, buffer[:2]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		n := int(binary.BigEndian.Uint16(buffer))
		if n > maxQuery {
			return errors.New("a query over TCP is longer than any can be")
		}
		query := buffer[2 : 2+n]
		if _, err := io.ReadFull(conn, query); err != nil {
			return err
		}
		answer := s.answer(ctx, query)
		if answer == nil {
			return errors.New("what came over TCP is no query")
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return err
		}
	}
}

// headerSize is in bytes; the rest are bits of its flags (RFC 1035, section 4.1.1).
const (
	headerSize = 12
	flagQR     = 1 << 15
	opcodeBits = 0xf << 11
	flagRD     = 1 << 8
)

// answer gives the answer to a query; nil: there is none, since an answer to
// it could be one to an answer.
func (s *Server) answer(ctx context.Context, query []byte) []byte {
	if len(query) < headerSize {
		return nil
	}
	flags := binary.BigEndian.Uint16(query[2:])
	if flags&flagQR != 0 {
		return nil
	}
	// Nothing is read further than it has to be.
	count := func(i int) uint16 { return binary.BigEndian.Uint16(query[4+2*i:]) }
	switch {
	case flags&opcodeBits != 0: // an update, a notification, ...
		return bare(query, dns.RcodeNotImplemented)
	case count(0) != 1 || count(1) != 0 || count(2) != 0 || count(3) > 1:
		return bare(query, dns.RcodeFormatError)
	}
	var m dns.Msg
	if err := m.Unpack(query); err != nil || len(m.Question) != 1 || len(m.Extra) != int(count(3)) {
		return bare(query, dns.RcodeFormatError)
	}
	var reply dns.Msg
	reply.SetReply(&m)
	reply.RecursionAvailable = true
	reply.Compress = true
	if len(m.Extra) == 1 {
		opt, ok := m.Extra[0].(*dns.OPT)
		if !ok || opt.Hdr.Name != "." {
			return bare(query, dns.RcodeFormatError)
		}
		reply.SetEdns0(maxQuery, false)
		if opt.Version() != 0 {
			reply.Rcode = dns.RcodeBadVers
		}
	}
	if reply.Rcode == dns.RcodeSuccess {
		reply.Rcode, reply.Answer = s.resolve(ctx, m.Question[0])
	}
	packed, err := reply.Pack()
	if err != nil { // a name that was read but can't be written
		return bare(query, dns.RcodeFormatError)
	}
	return packed
}

// bare is an answer without anything of the query but its number.
func bare(query []byte, rcode int) []byte {
	answer := make([]byte, headerSize)
	copy(answer, query[:2])
	flags := binary.BigEndian.Uint16(query[2:])
	binary.BigEndian.PutUint16(answer[2:], flagQR|flags&(opcodeBits|flagRD)|uint16(rcode))
	return answer
}

// closed reports whether nobody is asked for a name (RFC 3172, RFC 6761, RFC
// 7686). What is below home.arpa is a network's own (RFC 8375).
func closed(name string) bool {
	return strings.HasSuffix(name, ".arpa") && !strings.HasSuffix(name, ".home.arpa") ||
		strings.HasSuffix(name, ".invalid") || strings.HasSuffix(name, ".onion")
}

// resolve answers a question.
func (s *Server) resolve(ctx context.Context, q dns.Question) (rcode int, answer []dns.RR) {
	switch {
	case q.Qclass != dns.ClassINET:
		return dns.RcodeRefused, nil
	case q.Qtype == dns.TypeNone || q.Qtype == dns.TypeOPT:
		return dns.RcodeFormatError, nil
	case q.Qtype >= dns.TypeTKEY && q.Qtype <= dns.TypeANY: // questions about more than one set of records
		return dns.RcodeRefused, nil
	case q.Name == ".":
		return dns.RcodeSuccess, nil
	}
	header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: ttl}
	name, err := guard.Name(q.Name)
	if err != nil {
		if s.wrong(q.Name, err, time.Now()) != nil {
			return dns.RcodeRefused, nil
		}
		return dns.RcodeNameError, nil
	}
	switch {
	case name == "localhost" || strings.HasSuffix(name, ".localhost"):
		switch q.Qtype {
		case dns.TypeA:
			answer = []dns.RR{&dns.A{Hdr: header, A: net.IPv4(127, 0, 0, 1)}}
		case dns.TypeAAAA:
			answer = []dns.RR{&dns.AAAA{Hdr: header, AAAA: net.IPv6loopback}}
		}
		return dns.RcodeSuccess, answer
	case closed(name):
		target, ok := s.reverse(name)
		if !ok {
			return dns.RcodeNameError, nil
		}
		if q.Qtype == dns.TypePTR {
			answer = []dns.RR{&dns.PTR{Hdr: header, Ptr: target + "."}}
		}
		return dns.RcodeSuccess, answer
	}
	switch verdict, err := s.Verdict(ctx, name); {
	case errors.Is(err, ErrBusy):
		return dns.RcodeRefused, nil
	case err != nil:
		return dns.RcodeServerFailure, nil
	case !verdict.Allow:
		return dns.RcodeNameError, nil
	case q.Qtype != dns.TypeA:
		return dns.RcodeSuccess, nil
	}
	a, err := s.Table.Address(name)
	if err != nil {
		s.full.Do(func() { s.refuse(name, err.Error()) })
		return dns.RcodeRefused, nil
	}
	return dns.RcodeSuccess, []dns.RR{&dns.A{Hdr: header, A: a.AsSlice()}}
}

// reverse gives what the name of an address (RFC 1035, section 3.5) stands for in
// the box.
func (s *Server) reverse(name string) (target string, ok bool) {
	text, ok := strings.CutSuffix(name, ".in-addr.arpa")
	if !ok {
		return "", false
	}
	parts := strings.Split(text, ".")
	slices.Reverse(parts)
	a, err := netip.ParseAddr(strings.Join(parts, "."))
	switch {
	case err != nil || !a.Is4():
		return "", false
	case a.IsLoopback():
		return "localhost", true
	}
	return s.Table.Name(a)
}

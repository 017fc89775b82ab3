// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"

	"github.com/miekg/dns"
)

// The first byte that a client sends says what a connection of tcp or tls is for.
const (
	wordDown = 'd' // bytes without end come back
	wordUp   = 'u' // bytes are taken
	wordEcho = 'e' // what was sent comes back
)

// pageSize is the size of an answer to a request, in bytes.
const pageSize = 1 << 10

// certified reads the certificate of servers: it and its key in PEM.
func (p *peer) certified(file string) error {
	pair, err := tls.LoadX509KeyPair(file, file)
	p.trust.Certificates = []tls.Certificate{pair}
	return err
}

// serve listens on the loopback for tcp, tls, http, https (HTTP/1.1 and 2) and
// dns, until the process ends.
func (p *peer) serve(errand) (result, error) {
	raiseFiles()
	r := result{Ports: make(map[string]int)}
	page, zero := make([]byte, pageSize), make([]byte, streamBuffer)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(page) })
	mux.HandleFunc("/stream", func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(zero); err != nil {
				return
			}
		}
	})
	for _, scheme := range []string{"tcp", "tls", "http", "https"} {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return r, err
		}
		r.Ports[scheme] = l.Addr().(*net.TCPAddr).Port
		switch scheme {
		case "http":
			go func() { _ = (&http.Server{Handler: mux}).Serve(l) }()
		case "https":
			go func() { _ = (&http.Server{Handler: mux, TLSConfig: p.trust.Clone()}).ServeTLS(l, "", "") }()
		case "tls":
			go accept(tls.NewListener(l, p.trust), zero)
		default:
			go accept(l, zero)
		}
	}
	names, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return r, err
	}
	r.Ports["dns"] = names.LocalAddr().(*net.UDPAddr).Port
	go func() { _ = (&dns.Server{PacketConn: names, Handler: dns.HandlerFunc(answer)}).ActivateAndServe() }()
	return r, nil
}

// answer says that every name is here.
func answer(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	if len(q.Question) == 1 && q.Question[0].Qtype == dns.TypeA {
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(127, 0, 0, 1)}}
	}
	_ = w.WriteMsg(m)
}

func accept(l net.Listener, zero []byte) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			word := make([]byte, 1)
			if _, err := io.ReadFull(c, word); err != nil {
				return
			}
			switch word[0] {
			case wordDown:
				for {
					if _, err := c.Write(zero); err != nil {
						return
					}
				}
			case wordUp:
				for b := make([]byte, streamBuffer); ; {
					if _, err := c.Read(b); err != nil {
						return
					}
				}
			case wordEcho:
				if _, err := c.Write(word); err == nil {
					_, _ = io.Copy(io.Discard, c)
				}
			}
		}()
	}
}

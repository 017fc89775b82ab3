// SPDX-License-Identifier: Apache-2.0

package world

import (
	"io"
	"net"
	"net/netip"
	"sync"
)

// Ports of Raw.
const (
	EchoPort  = 7000 // sends back what it gets
	GreetPort = 7001 // says Greeting, then does the same
)

// Greeting is how a server that speaks first begins.
const Greeting = "220 raw.test at your service\r\n"

// streams are connections that no http.Server closes.
type streams struct {
	mu    sync.Mutex
	all   map[net.Conn]bool // mu
	ended bool              // mu
}

func (s *streams) add(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[net.Conn]bool{}
	}
	s.all[c] = true
	if s.ended {
		_ = c.Close()
	}
}

// begin counts one more that is at work, unless the end has come.
func (s *streams) begin(at *sync.WaitGroup) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		at.Add(1)
	}
	return !s.ended
}

func (s *streams) remove(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, c)
}

func (s *streams) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for c := range s.all {
		_ = c.Close()
	}
}

// listen answers each connection at an address by f.
func (w *World) listen(in *Space, at netip.AddrPort, f func(net.Conn)) error {
	l, err := in.Listen("tcp", at.String())
	if err != nil {
		return err
	}
	w.servers = append(w.servers, l)
	w.handlers.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.streams.add(c)
			w.handlers.Go(func() {
				defer w.streams.remove(c)
				defer c.Close()
				f(c)
			})
		}
	})
	return nil
}

// enter puts a connection into the log.
func (w *World) enter(server Name, protocol string, c net.Conn) (change func(func(*Seen))) {
	s := Seen{Server: server, Protocol: protocol}
	s.From, _ = netip.ParseAddrPort(c.RemoteAddr().String())
	s.To, _ = netip.ParseAddrPort(c.LocalAddr().String())
	return w.Log.add(s)
}

// raw starts the servers of Raw.
func (w *World) raw() error {
	for port, greeting := range map[uint16]string{EchoPort: "", GreetPort: Greeting} {
		err := w.listen(w.Internet, netip.AddrPortFrom(Raw.Address(), port), func(c net.Conn) {
			change := w.enter(Raw, "tcp", c)
			_, _ = io.WriteString(c, greeting)
			b := make([]byte, 64<<10)
			for {
				n, err := c.Read(b)
				change(func(s *Seen) {
					s.Size += int64(n)
					s.Body = append(s.Body, b[:min(n, MaxBody-len(s.Body))]...)
					s.Ended = err != nil
				})
				if err == nil {
					_, err = c.Write(b[:n])
				}
				if err != nil {
					return
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// canaries start listening where nothing should ever come to.
func (w *World) canaries() error {
	own := []netip.Addr{localhost, netip.IPv6Loopback(), HostAddress, HostAddress6}
	out := []netip.Addr{Private, Metadata, Local, netip.MustParseAddr("100.64.0.1")}
	for in, addresses := range map[*Space][]netip.Addr{w.Host: own, w.Internet: out} {
		for _, a := range addresses {
			for _, port := range []uint16{22, 80, 443, 6379} {
				err := w.listen(in, netip.AddrPortFrom(a, port), func(c net.Conn) {
					change := w.enter(Name(a.String()), canary, c)
					b := make([]byte, 4096)
					n, _ := c.Read(b)
					change(func(s *Seen) { s.Body, s.Size, s.Ended = b[:n], int64(n), true })
				})
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

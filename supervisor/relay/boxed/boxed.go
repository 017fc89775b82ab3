// SPDX-License-Identifier: Apache-2.0

// Package boxed is the half of a relay that runs in a box: it moves bytes
// between pairs of TCP sockets, and asks programs whether they are ready. It
// has no network of its own. Every socket was made by clawsupd, in whichever
// network namespace, and handed over: see package packet for the words.
//
// For each connection that it accepts it asks for a peer, and then moves bytes
// with splice(2) through a pipe in each direction: they never enter this
// process's memory. The end of one direction is passed on (shutdown(2)) while
// the other goes on. A pair that moves nothing for IdleLimit is closed.
//
// Bounds are those of package packet. A relay that has its PerRelay
// connections accepts no more: the next ones wait in the kernel's queue.
//
// Serve returns when clawsupd closes its end, or says something that can't be
// understood; whoever runs it then starts anew.
package boxed

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// IdleLimit is how long a pair may move nothing.
const IdleLimit = 2 * time.Hour

// dialLimit is how long clawsupd and then the peer may take.
const dialLimit = 15 * time.Second

type server struct {
	conn *packet.Conn
	idle time.Duration
	room chan struct{} // one for each connection of all relays
	asks chan struct{} // one for each probe
	pace pace          // of dials

	mu     sync.Mutex
	relays map[int]*relay        // mu
	dials  map[int]chan *os.File // mu; who waits for a peer, nil being none
	last   int                   // mu; id of the last dial
}

// Serve carries out what clawsupd orders over conn, until that ends.
func Serve(conn *packet.Conn, idle time.Duration) error {
	s := &server{
		conn: conn, idle: idle,
		room: make(chan struct{}, packet.MaxConnections), asks: make(chan struct{}, packet.MaxProbes),
		relays: map[int]*relay{}, dials: map[int]chan *os.File{},
	}
	for {
		var o packet.Order
		file, err := conn.Receive(&o)
		if err != nil {
			return err
		}
		if err := s.obey(o, file); err != nil {
			return err
		}
	}
}

// pace bounds a rate: Burst at once, and then PerSecond.
type pace struct {
	mu   sync.Mutex
	next time.Time // mu; of the next one, if there were no bursts
}

// take says how long whoever comes at this time has to wait for their turn.
func (p *pace) take(now time.Time) time.Duration {
	const interval = time.Second / packet.PerSecond
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next.Before(now) {
		p.next = now
	}
	p.next = p.next.Add(interval)
	return p.next.Add(-packet.Burst * interval).Sub(now)
}

// takes says which orders come with a descriptor.
var takes = map[packet.OrderKind]bool{
	packet.Listen: true, packet.Drop: false, packet.Peer: true, packet.Refuse: false, packet.Probe: true, packet.Ping: false,
}

func (s *server) obey(o packet.Order, file *os.File) error {
	if with, known := takes[o.Kind]; !known || with != (file != nil) {
		return fmt.Errorf("%w: order %d", packet.ErrPacket, o.Kind)
	}
	switch o.Kind {
	case packet.Listen:
		return s.listen(o.ID, file)
	case packet.Drop:
		s.mu.Lock()
		r := s.relays[o.ID]
		delete(s.relays, o.ID)
		s.mu.Unlock()
		if r != nil {
			r.close()
		}
	case packet.Peer, packet.Refuse:
		s.mu.Lock()
		waiting := s.dials[o.ID]
		delete(s.dials, o.ID)
		s.mu.Unlock()
		if waiting != nil {
			waiting <- file // it has room for one, and gets one
		} else if file != nil {
			_ = file.Close() // nobody waits any more
		}
	case packet.Probe:
		select {
		case s.asks <- struct{}{}:
			go func() {
				defer func() { <-s.asks }()
				s.probe(o, file)
			}()
		default:
			_ = file.Close()
			go s.say(packet.Word{Kind: packet.Probed, ID: o.ID, Detail: "too many probes at once"})
		}
	case packet.Ping:
		go s.say(packet.Word{Kind: packet.Pong, ID: o.ID})
	}
	return nil
}

// say is never waited for by who reads orders: clawsupd may be waiting for
// these to be read before it reads words.
func (s *server) say(w packet.Word) {
	if s.conn.Send(w, nil) != nil {
		_ = s.conn.Close() // which ends Serve
	}
}

func (s *server) listen(id int, file *os.File) error {
	r := &relay{id: id, listener: file, room: make(chan struct{}, packet.PerRelay), done: make(chan struct{}), pairs: map[*pair]bool{}}
	s.mu.Lock()
	known := s.relays[id] != nil || len(s.relays) >= packet.MaxRelays
	if !known {
		s.relays[id] = r
	}
	s.mu.Unlock()
	if known {
		return fmt.Errorf("%w: relay %d is there already, or one too many", packet.ErrPacket, id)
	}
	go s.accept(r)
	return nil
}

// dial asks for a peer and waits for it. nil: there is none.
func (s *server) dial(r *relay) *os.File {
	turn := time.NewTimer(s.pace.take(time.Now()))
	defer turn.Stop()
	select {
	case <-turn.C:
	case <-r.done:
		return nil
	}
	answer := make(chan *os.File, 1)
	s.mu.Lock()
	s.last++
	id := s.last
	s.dials[id] = answer
	s.mu.Unlock()
	if s.conn.Send(packet.Word{Kind: packet.Dial, ID: id, Relay: r.id}, nil) != nil {
		return nil // clawsupd is gone, and so is this process in a moment
	}
	limit := time.NewTimer(dialLimit)
	defer limit.Stop()
	select {
	case peer := <-answer:
		return peer
	case <-limit.C:
	case <-r.done:
	}
	s.mu.Lock()
	_, waiting := s.dials[id]
	delete(s.dials, id)
	s.mu.Unlock()
	if !waiting { // it was answered in this very moment
		return <-answer
	}
	return nil
}

// connected waits until a socket that is connecting has got there, or failed.
// The file's deadline holds.
func connected(file *os.File) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if n, err := unix.Poll(p, 0); err != nil || n == 0 {
			return false
		}
		number, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		switch {
		case err != nil:
			failed = err
		case number != 0:
			failed = unix.Errno(number)
		}
		return true
	})
	if err != nil {
		return err
	}
	return failed
}

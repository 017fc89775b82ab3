// SPDX-License-Identifier: Apache-2.0

// Package boxed is the half of a relay that runs in a box: it moves bytes
// between pairs of TCP sockets, and asks programs whether they are ready. It
// has no network of its own. Every socket was made by clawsupd, in whichever
// network namespace, and handed over: see package packet for the words.
//
// For each connection that it accepts it asks for a peer, and then moves bytes
// through a buffer in each direction, which it has while there are some (Pass).
// The end of one direction is passed on (shutdown(2)) while the other goes on. A
// pair that moves nothing for IdleLimit is closed.
//
// Bounds are those of package packet. A relay that has its PerRelay
// connections accepts no more: the next ones wait in the kernel's queue.
//
//	server := boxed.New(conn, boxed.IdleLimit)
//	err := server.Serve(boxes)
//
// Serve returns when clawsupd closes its end, or says something that can't be
// understood; whoever runs it then starts anew. What is ordered about boxes
// that reach beyond themselves goes to Boxes, which knows what HTTP is; this
// package doesn't. Boxes in turn ask clawsupd by the Server's methods, each of
// which is one word of package packet and waits for its answer.
package boxed

import (
	"errors"
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

// Boxes is told of boxes that reach beyond themselves. Its methods don't wait
// for anything: the next order is read when they have returned. They take
// descriptors over. An error ends Serve.
type Boxes interface {
	Open(box int, b packet.Box, listener *os.File) error
	Datagrams(box int, socket *os.File) error
	Bind(box int, b packet.Binding) error
	Unbind(box int, secret string) error
	Shut(box int) error
}

// Server is one end of the socket with clawsupd.
type Server struct {
	conn  *packet.Conn
	idle  time.Duration
	boxes Boxes         // nil: there are none
	room  chan struct{} // one for each connection of all relays
	asks  chan struct{} // one for each probe
	pace  pace          // of dials

	mu      sync.Mutex
	relays  map[int]*relay     // mu
	flights map[int]chan reply // mu; who waits for an answer, by the word's id
	asked   map[int]int        // mu; flights that may take a person, by box
	askedIn int                // mu; of all boxes
	last    int                // mu; id of the last word that has an answer
}

// reply is an answer; it has a file, a verdict, or says why there is none.
type reply struct {
	file    *os.File
	verdict *packet.Verdict
	detail  string
}

// New is a server at one end of a socket. Pairs of relays may move nothing for idle.
func New(conn *packet.Conn, idle time.Duration) *Server {
	return &Server{
		conn: conn, idle: idle,
		room: make(chan struct{}, packet.MaxConnections), asks: make(chan struct{}, packet.MaxProbes),
		relays: map[int]*relay{}, flights: map[int]chan reply{}, asked: map[int]int{},
	}
}

// Serve carries out orders about relays and probes alone, until conn ends.
func Serve(conn *packet.Conn, idle time.Duration) error { return New(conn, idle).Serve(nil) }

// Serve carries out what clawsupd orders, until that ends.
func (s *Server) Serve(boxes Boxes) error {
	s.boxes = boxes
	for {
		var o packet.Order
		file, err := s.conn.Receive(&o)
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
	packet.Open: true, packet.Datagrams: true, packet.Bind: false, packet.Unbind: false, packet.Shut: false, packet.Answer: false,
}

func (s *Server) obey(o packet.Order, file *os.File) error {
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
	case packet.Peer, packet.Refuse, packet.Answer:
		s.land(o.ID, reply{file, o.Verdict, o.Detail})
	case packet.Probe:
		select {
		case s.asks <- struct{}{}:
			go func() {
				defer func() { <-s.asks }()
				s.probe(o, file)
			}()
		default:
			_ = file.Close()
			go func() { _ = s.say(packet.Word{Kind: packet.Probed, ID: o.ID, Detail: "too many probes at once"}) }()
		}
	case packet.Ping:
		go func() { _ = s.say(packet.Word{Kind: packet.Pong, ID: o.ID}) }()
	default:
		return s.box(o, file)
	}
	return nil
}

// box carries out what is about a box.
func (s *Server) box(o packet.Order, file *os.File) error {
	switch {
	case s.boxes == nil:
	case o.Kind == packet.Open && o.Box != nil:
		return s.boxes.Open(o.ID, *o.Box, file)
	case o.Kind == packet.Datagrams:
		return s.boxes.Datagrams(o.ID, file)
	case o.Kind == packet.Bind && o.Binding != nil:
		return s.boxes.Bind(o.ID, *o.Binding)
	case o.Kind == packet.Unbind:
		return s.boxes.Unbind(o.ID, o.Secret)
	case o.Kind == packet.Shut:
		err := s.boxes.Shut(o.ID)
		go s.say(packet.Word{Kind: packet.Over, Box: o.ID})
		return err
	}
	return fmt.Errorf("%w: order %d", packet.ErrPacket, o.Kind)
}

// say is never waited for by who reads orders: clawsupd may be waiting for
// these to be read before it reads words. A word that is too long is not said, and
// an error; after every other error clawsupd is gone, and so is this process in a moment.
func (s *Server) say(w packet.Word) error {
	err := s.conn.Send(w, nil)
	if err != nil && !errors.Is(err, packet.ErrPacket) {
		_ = s.conn.Close() // which ends Serve
	}
	return err
}

func (s *Server) listen(id int, file *os.File) error {
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
func (s *Server) dial(r *relay) *os.File {
	turn := time.NewTimer(s.pace.take(time.Now()))
	defer turn.Stop()
	select {
	case <-turn.C:
	case <-r.done:
		return nil
	}
	id, answer := s.take()
	if s.say(packet.Word{Kind: packet.Dial, ID: id, Relay: r.id}) != nil {
		s.leave(id, answer)
		return nil
	}
	limit := time.NewTimer(dialLimit)
	defer limit.Stop()
	select {
	case got := <-answer:
		return got.file
	case <-limit.C:
	case <-r.done:
	}
	got, _ := s.leave(id, answer)
	return got.file
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

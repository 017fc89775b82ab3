// SPDX-License-Identifier: Apache-2.0

package world

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Patience bounds whatever a test waits for here.
const Patience = 60 * time.Second

// Sink has the packets that the host sent.
type Sink struct {
	host   *Space
	files  []*os.File // AF_PACKET sockets
	drains []net.PacketConn

	mu      sync.Mutex
	packets []Packet        // mu; without fences
	fences  map[uint64]Link // mu; seen, by number: bits of the links
	last    uint64          // mu; number of the last fence
	changed chan struct{}   // mu; closed at each fence, and replaced
	failed  error           // mu
	readers sync.WaitGroup
}

// Mark is a moment: how many packets there were.
type Mark int

// fence begins the packets of the sink itself.
var fence = []byte("clawsup world fence ")

// fencePort is where fences go to: discard (RFC 863), which drains hold.
const fencePort = 9

func openSink(host, internet *Space) (*Sink, error) {
	s := &Sink{host: host, fences: map[uint64]Link{}, changed: make(chan struct{})}
	for _, end := range []struct {
		in      *Space
		name    string
		link    Link
		address netip.Addr
	}{{internet, down, Out, gateway}, {host, "lo", Loopback, netip.AddrFrom4([4]byte{127, 0, 0, 1})}} {
		drain, err := end.in.ListenPacket("udp", netip.AddrPortFrom(end.address, fencePort).String())
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.drains = append(s.drains, drain)
		err = end.in.Do(func() error {
			file, err := capture(end.name)
			if err == nil {
				s.files = append(s.files, file)
				s.readers.Go(func() { s.read(file, end.link) })
			}
			return err
		})
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	return s, nil
}

// capture opens a socket that gets a copy of each packet of an interface of
// the thread's namespace (packet(7)).
func capture(name string) (*os.File, error) {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	every := uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	file := os.NewFile(uintptr(fd), "packets of "+name)
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: every, Ifindex: link.Index}),
	)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// read takes packets until the socket is closed.
func (s *Sink) read(file *os.File, link Link) {
	raw, err := file.SyscallConn()
	if err != nil {
		s.fail(err)
		return
	}
	b := make([]byte, 64<<10)
	for {
		var n int
		var from unix.Sockaddr
		var got error
		err := raw.Read(func(fd uintptr) bool {
			n, from, got = unix.Recvfrom(int(fd), b, 0)
			return got != unix.EAGAIN
		})
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err := errors.Join(err, got); err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENETDOWN) {
			s.fail(err)
			return
		}
		at, ok := from.(*unix.SockaddrLinklayer)
		if !ok || at.Pkttype == unix.PACKET_OUTGOING { // on lo each is seen going out and coming in
			continue
		}
		p := decode(at.Protocol<<8|at.Protocol>>8, b[:n])
		p.Link = link
		s.take(p)
	}
}

func (s *Sink) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = errors.Join(s.failed, err)
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Sink) take(p Packet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if number, ok := bytes.CutPrefix(p.Payload, fence); ok && len(number) == 8 && p.To.Port() == fencePort {
		s.fences[binary.BigEndian.Uint64(number)] |= p.Link
		close(s.changed)
		s.changed = make(chan struct{})
		return
	}
	if p.Protocol == unix.IPPROTO_ICMPV6 && own(p.Kind) || p.Ether == unix.ETH_P_ARP {
		return
	}
	s.packets = append(s.packets, p)
}

// settle returns when everything that was sent before it is in the list. A
// packet waits in a queue of the CPU that it was sent on, so a fence goes out on each.
func (s *Sink) settle() error {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return err
	}
	for cpu := range len(allowed) * 64 {
		if !allowed.IsSet(cpu) {
			continue
		}
		s.mu.Lock()
		s.last++
		number := s.last
		s.mu.Unlock()
		err := s.host.Do(func() error {
			var here unix.CPUSet
			here.Set(cpu)
			if err := unix.SchedSetaffinity(0, &here); err != nil {
				return err
			}
			message := binary.BigEndian.AppendUint64(bytes.Clone(fence), number)
			return errors.Join(say(gateway, message), say(netip.AddrFrom4([4]byte{127, 0, 0, 1}), message))
		})
		if err != nil {
			return fmt.Errorf("send a fence on CPU %d: %w", cpu, err)
		}
		if err := s.await(number); err != nil {
			return err
		}
	}
	return s.lost()
}

// say sends a datagram. There is no goroutine in between that could be on
// another thread.
func say(to netip.Addr, message []byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.Sendto(fd, message, 0, &unix.SockaddrInet4{Port: fencePort, Addr: to.As4()}), unix.Close(fd))
}

func (s *Sink) await(number uint64) error {
	limit := time.After(Patience)
	for {
		s.mu.Lock()
		seen, failed, changed := s.fences[number], s.failed, s.changed
		s.mu.Unlock()
		if failed != nil {
			return failed
		}
		if seen == Out|Loopback {
			return nil
		}
		select {
		case <-changed:
		case <-limit:
			return fmt.Errorf("fence %d was not seen on both links: %b", number, seen)
		}
	}
}

// lost says whether the kernel had no room for packets.
func (s *Sink) lost() error {
	for _, file := range s.files {
		raw, err := file.SyscallConn()
		if err != nil {
			return err
		}
		var stats *unix.TpacketStats
		var got error
		err = raw.Control(func(fd uintptr) {
			stats, got = unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
		})
		if err := errors.Join(err, got); err != nil {
			return err
		}
		if stats.Drops > 0 {
			return fmt.Errorf("the sink lost %d %s", stats.Drops, file.Name())
		}
	}
	return nil
}

// Mark gives the moment after all that was sent so far.
func (s *Sink) Mark(t testing.TB) Mark {
	t.Helper()
	if err := s.settle(); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return Mark(len(s.packets))
}

// Since gives the packets since a mark.
func (s *Sink) Since(t testing.TB, mark Mark) []Packet {
	t.Helper()
	end := s.Mark(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Packet(nil), s.packets[mark:end]...)
}

// Silent says that nothing was sent since a mark: an error of the test for each
// packet. Those that expected says are no error.
func (s *Sink) Silent(t testing.TB, mark Mark, expected ...func(Packet) bool) {
	t.Helper()
packets:
	for _, p := range s.Since(t, mark) {
		for _, is := range expected {
			if is(p) {
				continue packets
			}
		}
		t.Errorf("left the host: %v %q", p, p.Payload)
	}
}

func (s *Sink) close() error {
	var errs []error
	for _, file := range s.files {
		errs = append(errs, file.Close())
	}
	for _, drain := range s.drains {
		errs = append(errs, drain.Close())
	}
	s.readers.Wait()
	return errors.Join(errs...)
}

// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/netns/origin"
)

func TestTCPIsCaptured(t *testing.T) {
	s := newSpace(t)
	e := s.lead(t)
	for _, to := range []string{
		"198.18.7.7:443", "198.19.0.1:80", "1.1.1.1:80", "8.8.8.8:443", "[::ffff:1.1.1.1]:443",
		"198.18.0.1:3128", "198.18.0.1:1080", "198.18.0.1:53", // the listener's own address too
		"198.18.0.2:1", "198.19.255.255:65535", "1.0.0.0:22", "1.255.255.255:22",
		"8.8.8.8:53", "10.0.0.1:53", "169.254.169.254:53", // DNS, wherever it goes
	} {
		c, err := s.dial(t, "tcp", to)
		if err != nil {
			t.Errorf("%s: %v", to, err)
			continue
		}
		a := e.accept(t)
		want := netip.AddrPortFrom(netip.MustParseAddrPort(to).Addr().Unmap(), netip.MustParseAddrPort(to).Port())
		if got, err := origin.Destination(a); got != want || err != nil {
			t.Errorf("%s: %v %v", to, got, err)
		}
		if got := c.RemoteAddr().(*net.TCPAddr).AddrPort(); got != want {
			t.Errorf("%s: the program is connected to %v", to, got)
		}
		if got := a.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(); got != origin.Own {
			t.Errorf("%s: from %v", to, got)
		}
		for _, ends := range [][2]net.Conn{{c, a}, {a, c}} {
			talk(t, ends[0], ends[1])
		}
	}
}

// talk sends something from one to the other.
func talk(t *testing.T, from, to net.Conn) {
	t.Helper()
	want := bytes.Repeat([]byte("0123456789abcdef"), 16<<10)
	var sending sync.WaitGroup
	sending.Go(func() {
		if _, err := from.Write(want); err != nil {
			t.Error(err)
		}
	})
	got := make([]byte, len(want))
	_ = to.SetReadDeadline(time.Now().Add(limit))
	if _, err := io.ReadFull(to, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("what was sent is not what came: %v", err)
	}
	sending.Wait()
}

// Connections from whatever address a program has given itself.
func TestSourceIsNoMatter(t *testing.T) {
	s := newSpace(t)
	e := s.lead(t)
	for _, from := range []string{"127.0.0.1", "127.9.9.9", origin.Own.String()} {
		var c net.Conn
		err := s.in(func() (err error) {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: limit}
			c, err = d.Dial("tcp", "1.1.1.1:443")
			return err
		})
		if err != nil {
			t.Errorf("from %s: %v", from, err)
			continue
		}
		if got, err := origin.Destination(e.accept(t)); got.String() != "1.1.1.1:443" || err != nil {
			t.Errorf("from %s: %v %v", from, got, err)
		}
		_ = c.Close()
	}
}

func TestElsewhereIsRefused(t *testing.T) {
	s := newSpace(t)
	e := s.lead(t)
	for _, c := range []struct {
		network, address string
		want             error
	}{
		{"tcp", "10.0.0.1:443", unix.ECONNREFUSED},
		{"tcp", "169.254.169.254:80", unix.ECONNREFUSED},
		{"tcp", "192.168.1.1:22", unix.ECONNREFUSED},
		{"tcp", "0.255.255.255:443", unix.ECONNREFUSED}, // beside what is captured
		{"tcp", "2.0.0.0:443", unix.ECONNREFUSED},
		{"tcp", "198.17.255.255:443", unix.ECONNREFUSED},
		{"tcp", "198.20.0.0:443", unix.ECONNREFUSED},
		{"tcp", "240.0.0.1:443", unix.ECONNREFUSED},
		{"tcp", "127.0.0.1:53", unix.ECONNREFUSED},
		{"tcp", "127.0.0.53:53", unix.ECONNREFUSED},
		{"tcp", origin.Own.String() + ":53", unix.ECONNREFUSED},
		{"tcp", "224.0.0.1:443", unix.ENETUNREACH},
		{"tcp", "[2606:4700:4700::1111]:443", unix.ENETUNREACH},
		{"tcp", "[::2]:443", unix.ENETUNREACH},
		{"tcp", "[fe80::1]:443", unix.EINVAL},
		{"udp", "1.1.1.1:443", unix.EPERM},
		{"udp", "198.18.7.7:443", unix.EPERM},
		{"udp", "10.0.0.1:443", unix.EPERM},
		{"udp", "224.0.0.251:5353", unix.EPERM},
		{"udp", "239.255.255.250:1900", unix.EPERM},
		{"udp", "255.255.255.255:67", unix.EPERM},
		{"udp", "[2001:4860:4860::8888]:53", unix.ENETUNREACH},
		{"udp", "[ff02::fb]:5353", unix.EINVAL},
		{"ip4:icmp", "1.1.1.1", unix.EPERM},
		{"ip4:icmp", "198.18.0.1", unix.EPERM},
		{"ip4:132", "1.1.1.1", unix.EPERM}, // SCTP
		{"ip4:47", "1.1.1.1", unix.EPERM},  // GRE
		{"ip4:41", "1.1.1.1", unix.EPERM},  // IPv6 within
		{"ip6:58", "2606:4700:4700::1111", unix.ENETUNREACH},
	} {
		begin := time.Now()
		conn, err := s.dial(t, c.network, c.address)
		if err == nil {
			// An echo request, to who takes it for one.
			_, err = conn.Write([]byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0})
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s %s: %v, want %v", c.network, c.address, err, c.want)
		}
		if took := time.Since(begin); took > limit/2 {
			t.Errorf("%s %s: only after %v", c.network, c.address, took)
		}
	}
	e.none(t)
}

// What a box's programs say to each other stays among them.
func TestOwnStaysOwn(t *testing.T) {
	s := newSpace(t)
	e := s.lead(t)
	for _, at := range []string{"127.0.0.1", "127.0.0.53", origin.Own.String(), "::1"} {
		var l net.Listener
		var p net.PacketConn
		if err := s.in(func() (err error) {
			if l, err = net.Listen("tcp", net.JoinHostPort(at, "0")); err != nil {
				return err
			}
			p, err = net.ListenPacket("udp", l.Addr().String())
			return err
		}); err != nil {
			t.Fatal(err)
		}
		c, err := s.dial(t, "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		a, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		talk(t, c, a)
		if to, err := origin.Destination(a.(*net.TCPConn)); !errors.Is(err, origin.ErrOrigin) {
			t.Errorf("a connection to %s was meant for %v, %v", at, to, err)
		}
		u, err := s.dial(t, "udp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		_ = p.SetDeadline(time.Now().Add(limit))
		if n, _, err := p.ReadFrom(make([]byte, 2)); n != 1 || err != nil {
			t.Errorf("%s: %d %v", at, n, err)
		}
		_, _, _ = l.Close(), p.Close(), a.Close()
	}
	// Who wants any address means the box's own.
	var l net.Listener
	if err := s.in(func() (err error) { l, err = net.Listen("tcp4", "0.0.0.0:0"); return err }); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	if _, err := s.dial(t, "tcp", fmt.Sprintf("0.0.0.0:%d", port)); err != nil {
		t.Error(err)
	}
	e.none(t)
	if _, err := s.dial(t, "tcp", fmt.Sprintf("1.1.1.1:%d", port)); err != nil {
		t.Error(err)
	}
	e.accept(t)
}

// Other sockets than a connection tell no destination.
func TestDestinationOfOthers(t *testing.T) {
	s := newSpace(t)
	e := s.lead(t)
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	l, err := net.Listen("tcp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	c, err := s.dial(t, "tcp", "1.1.1.1:1")
	if err != nil {
		t.Fatal(err)
	}
	e.accept(t)
	for name, c := range map[string]syscall.Conn{"no socket": file, "listening": l.(*net.TCPListener), "IPv6": u.(*net.UDPConn), "the program's end": c.(*net.TCPConn)} {
		if to, err := origin.Destination(c); !errors.Is(err, origin.ErrOrigin) {
			t.Errorf("%s: %v, %v", name, to, err)
		}
	}
}

func TestDNSIsCaptured(t *testing.T) {
	s := newSpace(t)
	e := s.lead(t)
	for _, to := range []string{"198.18.0.1:53", "8.8.8.8:53", "10.0.0.1:53", "169.254.169.254:53"} {
		// The kernel gives a connected socket only what comes from where it is
		// connected to.
		c, err := s.dial(t, "udp", to)
		if err != nil {
			t.Fatal(err)
		}
		want := bytes.Repeat([]byte("q"), 1400)
		if _, err := c.Write(want); err != nil {
			t.Errorf("%s: %v", to, err)
			continue
		}
		b, oob := make([]byte, 2048), make([]byte, 64)
		_ = e.udp.SetDeadline(time.Now().Add(limit))
		n, oobn, _, from, err := e.udp.ReadMsgUDPAddrPort(b, oob)
		if err != nil || !bytes.Equal(b[:n], want) || from.Addr() != origin.Own {
			t.Fatalf("%s: %d %v %v", to, n, from, err)
		}
		if _, _, err := e.udp.WriteMsgUDPAddrPort([]byte("answer"), oob[:oobn], from); err != nil {
			t.Fatalf("%s: %v", to, err)
		}
		_ = c.SetDeadline(time.Now().Add(limit))
		if n, err := c.Read(b); err != nil || string(b[:n]) != "answer" {
			t.Errorf("%s: %q %v", to, b[:n], err)
		}
	}
	// Without the message the answer is the resolver's.
	c, err := s.dial(t, "udp", "198.18.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("q")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 16)
	_, from, err := e.udp.ReadFromUDPAddrPort(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.udp.WriteToUDPAddrPort([]byte("answer"), from); err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(limit))
	if n, err := c.Read(b); err != nil || string(b[:n]) != "answer" {
		t.Errorf("%q %v", b[:n], err)
	}
}

// A namespace is led again after a restart, while the old ends may be open.
func TestLeadAgain(t *testing.T) {
	s := newSpace(t)
	old := s.lead(t)
	before, err := s.dial(t, "tcp", "1.1.1.1:443")
	if err != nil {
		t.Fatal(err)
	}
	accepted := old.accept(t)
	e := s.lead(t)
	if _, err := s.dial(t, "tcp", "1.1.1.1:443"); err != nil {
		t.Fatal(err)
	}
	e.accept(t)
	u, err := s.dial(t, "udp", "198.18.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Write([]byte("q")); err != nil {
		t.Fatal(err)
	}
	_ = e.udp.SetDeadline(time.Now().Add(limit))
	if _, _, err := e.udp.ReadFrom(make([]byte, 2)); err != nil {
		t.Error(err)
	}
	old.none(t)
	talk(t, before, accepted)
	// Other networks, and only those.
	var third *Ends
	if err := s.in(func() (err error) { third, err = Lead(nil); return err }); err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	if _, err := s.dial(t, "tcp", "1.1.1.1:443"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("an address that is captured no longer: %v", err)
	}
	if _, err := s.dial(t, "tcp", "198.18.7.7:443"); err != nil {
		t.Error(err)
	}
	tables := 0
	if err := s.in(func() error {
		c, err := nft()
		if err == nil {
			tables = len(c)
		}
		return err
	}); err != nil || tables != 1 {
		t.Errorf("%d tables, %v", tables, err)
	}
	for range spares - 3 {
		s.lead(t)
	}
	if err := s.in(func() error { _, err := Lead(public); return err }); err == nil {
		t.Error("with all spare addresses taken there was another")
	}
	_ = third.Close()
	s.lead(t)
}

// Where nobody listens any more there is no way, nor another that listens.
func TestWithoutEnds(t *testing.T) {
	s := newSpace(t)
	e := s.lead(t)
	other := s.pretend(t, "198.18.7.7:8443")
	e.close()
	for _, to := range []string{"198.18.7.7:443", "198.18.7.7:8443", "8.8.8.8:53"} {
		if _, err := s.dial(t, "tcp", to); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s: %v", to, err)
		}
	}
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(other.Fd()), Events: unix.POLLIN}}, 0); n != 0 || err != nil {
		t.Errorf("%d %v", n, err)
	}
}

// pretend listens at an address that isn't the box's.
func (s *space) pretend(t *testing.T, at string) *os.File {
	t.Helper()
	to := netip.MustParseAddrPort(at)
	var file *os.File
	if err := s.in(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		file = os.NewFile(uintptr(fd), "pretender")
		return errors.Join(unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1),
			unix.Bind(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}), unix.Listen(fd, 1))
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}

// Who listens at a captured address gets nothing.
func TestPretender(t *testing.T) {
	s := newSpace(t)
	e := s.lead(t)
	other := s.pretend(t, "1.1.1.1:8443")
	if _, err := s.dial(t, "tcp", "1.1.1.1:8443"); err != nil {
		t.Fatal(err)
	}
	e.accept(t)
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(other.Fd()), Events: unix.POLLIN}}, 0); n != 0 || err != nil {
		t.Errorf("%d %v", n, err)
	}
}

// No connection takes more than its sockets: nothing is tracked.
func TestManyConnections(t *testing.T) {
	s := newSpace(t)
	e := s.lead(t)
	const many, batch = 10_000, 100
	for range many / batch {
		var open []net.Conn
		if err := s.in(func() error {
			for i := range batch {
				c, err := net.DialTimeout("tcp", fmt.Sprintf("198.18.%d.7:443", i), limit)
				if err != nil {
					return err
				}
				open = append(open, c)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for range batch {
			_ = e.tcp.SetDeadline(time.Now().Add(limit))
			c, err := e.tcp.AcceptTCP()
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetLinger(0)
			_ = c.Close()
		}
		for _, c := range open {
			_ = c.Close()
		}
	}
	var count []byte
	if err := s.in(func() (err error) { count, err = os.ReadFile("/proc/thread-self/net/nf_conntrack"); return err }); err == nil && len(count) > 0 {
		t.Errorf("connections are tracked: %.200s", count)
	}
	if _, err := s.dial(t, "tcp", "198.18.7.7:443"); err != nil {
		t.Error(err)
	}
}

// Nobody's but a box's.
func TestOtherNamespacesAreRefused(t *testing.T) {
	s := newSpace(t)
	if err := s.in(func() error {
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}}); err != nil {
			return err
		}
		if _, err := Lead(public); err == nil {
			t.Error("a namespace with another interface was led")
		}
		routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
		if len(routes) > 0 {
			t.Errorf("%v", routes)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

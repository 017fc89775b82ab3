// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/netns"
	"github.com/clawsup/clawsup/runtime/netns/origin"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// namespace makes an empty network namespace, with lo up, and gives what runs
// something in it.
func namespace(t testing.TB) func(func() error) error {
	t.Helper()
	work, done := make(chan func() error), make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		for f := range work {
			done <- f()
		}
	}()
	in := func(f func() error) error {
		work <- f
		return <-done
	}
	t.Cleanup(func() { close(work) })
	if err := in(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		return up("lo")
	}); err != nil {
		t.Fatal(err)
	}
	return in
}

func up(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// dialIn begins to connect to an address within a namespace. net's own dialler
// would go on in another thread.
func dialIn(t testing.TB, in func(func() error) error, to string) (*os.File, error) {
	t.Helper()
	at := netip.MustParseAddrPort(to)
	var file *os.File
	err := in(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}); err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		if err := unix.SetNonblock(fd, true); err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		file = os.NewFile(uintptr(fd), to)
		return nil
	})
	if file != nil {
		t.Cleanup(func() { _ = file.Close() })
	}
	return file, err
}

// A connection of a box, to an address that is bound to a name, comes to the
// helper with where it was meant to go, and is led on from there by a socket of
// the host's network.
func TestRealNetwork(t *testing.T) {
	w := newWorld(t)
	w.egress.lead = netns.Lead
	in := namespace(t)
	b, err := w.egress.Open(BoxOptions{In: in, Authority: authority(), Captured: prefixes("203.0.113.0/24")})
	if err != nil {
		t.Fatal(err)
	}
	c := newCanary(t)
	w.judge.says(packet.Verdict{Allow: true, Networks: prefixes("127.0.0.1/32")})
	f := w.start()
	listener := f.want(packet.Open).file
	f.want(packet.Datagrams)

	for _, to := range []string{"198.18.7.7:443", "203.0.113.9:22"} {
		client, err := dialIn(t, in, to)
		if err != nil {
			t.Fatalf("%s: %v", to, err)
		}
		l, err := net.FileListener(listener)
		if err != nil {
			t.Fatal(err)
		}
		_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		file, err := accepted.(*net.TCPConn).File()
		_, _ = accepted.Close(), l.Close()
		if err != nil {
			t.Fatal(err)
		}
		if meant, err := origin.Destination(file); err != nil || meant.String() != to {
			t.Errorf("%s came as %v, %v", to, meant, err)
		}
		v := f.ask(b, packet.Query{Through: packet.TCP, Host: "a.example", Port: c.port()})
		peer, why := f.connect(b.id, v.Decision, c.at)
		if peer == nil {
			t.Fatal(why)
		}
		server, err := c.l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4)
		for _, way := range [][2]*os.File{{client, file}} { // the helper's work, by hand
			_, err = way[0].WriteString("ping")
			if err == nil {
				_, err = way[1].Read(buf)
			}
			if err == nil {
				_, err = peer.Write(buf)
			}
			if err == nil {
				_, err = server.Read(buf)
			}
		}
		if err != nil || string(buf) != "ping" {
			t.Errorf("%q, %v", buf, err)
		}
		_, _ = server.Close(), file.Close()
	}
	// The canary itself can't be reached from the box.
	if _, err := dialIn(t, in, c.at); !errors.Is(err, unix.ECONNREFUSED) {
		t.Error(err)
	}
	c.untouched()

	closed := make(chan error)
	go func() { closed <- b.Close() }()
	f.want(packet.Shut)
	_ = f.conn.Close()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	_ = listener.Close()
	if _, err := dialIn(t, in, "198.18.7.7:443"); err == nil {
		t.Error("a box that is shut still leads somewhere")
	}
}

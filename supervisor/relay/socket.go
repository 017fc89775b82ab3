// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// backlog is how many connections wait while the helper is started again, or
// while there is no room for more: whom the kernel's queue has no place for may
// find the connection reset.
const backlog = 1024

// ErrNoFamily says that this host, or this namespace, has no such addresses.
var ErrNoFamily = errors.New("no addresses of this family")

// Listen makes a listening TCP socket at an address, in the calling thread's
// network namespace.
func Listen(at netip.AddrPort) (*os.File, error) {
	return open("listen at", at, unix.SOCK_STREAM, func(fd int, to unix.Sockaddr) error {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return err
		}
		if err := unix.Bind(fd, to); err != nil {
			return err
		}
		return unix.Listen(fd, backlog)
	})
}

// Connect makes a TCP socket that is on its way to an address, in the calling
// thread's network namespace. It does not wait until it gets there.
func Connect(to netip.AddrPort) (*os.File, error) {
	return open("connect to", to, unix.SOCK_STREAM, func(fd int, to unix.Sockaddr) error {
		err := unix.Connect(fd, to)
		if errors.Is(err, unix.EINPROGRESS) {
			return nil
		}
		return err
	})
}

// Datagrams makes a UDP socket that sends to an address, and receives from there
// alone, in the calling thread's network namespace. Who has the socket can send
// elsewhere too (sendto(2)).
func Datagrams(to netip.AddrPort) (*os.File, error) {
	return open("send to", to, unix.SOCK_DGRAM, unix.Connect)
}

func open(what string, at netip.AddrPort, kind int, use func(fd int, to unix.Sockaddr) error) (*os.File, error) {
	fail := func(err error) error {
		if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) {
			err = fmt.Errorf("%w: %w", ErrNoFamily, err)
		}
		return fmt.Errorf("%s %v: %w", what, at, err)
	}
	zone, err := interfaceOf(at.Addr())
	if err != nil {
		return nil, fail(err)
	}
	family, address := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16(), ZoneId: zone})
	if at.Addr().Is4() {
		family, address = unix.AF_INET, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fail(err)
	}
	if family == unix.AF_INET6 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if err == nil && kind == unix.SOCK_STREAM {
		// What a relay got is sent on at once (Nagle's algorithm would wait for the other
		// end's acknowledgement, which that delays). Who is accepted inherits it.
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err == nil {
		err = use(fd, address)
	}
	if err != nil {
		return nil, errors.Join(fail(err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), at.String()), nil
}

// interfaceOf gives the number of the interface that an address is of, 0 if it
// says none.
func interfaceOf(a netip.Addr) (uint32, error) {
	if a.Zone() == "" {
		return 0, nil
	}
	i, err := net.InterfaceByName(a.Zone())
	if err != nil {
		return 0, err
	}
	return uint32(i.Index), nil
}

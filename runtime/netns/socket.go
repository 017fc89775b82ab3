// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// port is of both sockets: DNS's, since answers must come from there.
const port = 53

// backlog is how many connections may wait to be accepted. There the box's
// programs wait, and nobody else.
const backlog = 1024

// spares is how many addresses are tried: sockets of a process that is about
// to end are still there, and nothing comes to them any more.
const spares = 16

// open makes the sockets, both at one address. It is of no weight which: what
// comes to them was sent elsewhere. The first is Resolver, so that answers
// without a source have that.
func open() (*Ends, netip.AddrPort, error) {
	addr := Resolver
	for range spares {
		at := netip.AddrPortFrom(addr, port)
		ends, err := openAt(at)
		if !errors.Is(err, unix.EADDRINUSE) {
			return ends, at, err
		}
		addr = addr.Next()
	}
	return nil, netip.AddrPort{}, fmt.Errorf("the last %d listeners of this box are all still open", spares)
}

func openAt(at netip.AddrPort) (*Ends, error) {
	tcp, err := bound(unix.SOCK_STREAM, at)
	if err != nil {
		return nil, fmt.Errorf("TCP: %w", err)
	}
	udp, err := bound(unix.SOCK_DGRAM, at)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("UDP: %w", err), unix.Close(tcp))
	}
	// Whoever serves it may be in a box whose filter refuses this, and what is
	// accepted inherits it: without it small answers wait for delayed acknowledgements.
	err = unix.SetsockoptInt(tcp, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err == nil {
		err = unix.Listen(tcp, backlog)
	}
	if err == nil {
		err = unix.SetsockoptInt(udp, unix.SOL_IP, unix.IP_PKTINFO, 1)
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(tcp), unix.Close(udp))
	}
	return &Ends{TCP: os.NewFile(uintptr(tcp), "captured"), UDP: os.NewFile(uintptr(udp), "dns")}, nil
}

// bound makes a socket that may have whatever address.
func bound(kind int, at netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	err = os.NewSyscallError("IP_TRANSPARENT", unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_TRANSPARENT, 1))
	if err == nil && kind == unix.SOCK_STREAM {
		// Connections that were, and are not quite over, are in nobody's way.
		err = os.NewSyscallError("SO_REUSEADDR", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	}
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}))
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

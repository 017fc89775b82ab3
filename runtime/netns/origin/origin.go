// SPDX-License-Identifier: Apache-2.0

// Package origin is what the two ends of a led network (package netns) agree
// on: its addresses, and how the end that takes connections tells where they
// were meant to go. It links nothing, so that the program that reads bytes of
// the network can use it.
package origin

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Addresses of a led network. 198.18.0.0/15 is for the measuring of networks
// (RFC 2544) and nobody's on the Internet.
var (
	// Names holds the addresses that stand for names.
	Names = netip.MustParsePrefix("198.18.0.0/15")
	// Resolver answers DNS, on port 53. The proxies are at the same address.
	Resolver = netip.MustParseAddr("198.18.0.1")
	// Own is the box's own address beside 127.0.0.1: what its programs see as
	// theirs, and stays among them. It is the first of Names, which no name gets.
	Own = netip.MustParseAddr("198.18.0.0")
)

// Ports of Resolver for programs that prefer a proxy.
const (
	HTTPProxy = 3128
	SOCKS     = 1080
)

// ErrOrigin reports a socket that was not taken on its way to somewhere.
var ErrOrigin = errors.New("the connection was not captured")

// Destination tells where a connection, accepted from the listener of a led
// network, was meant to go: an IPv4 address and a port. The kernel keeps that as
// the socket's own address (ip(7), IP_TRANSPARENT), so that it can be read in
// any process and namespace. The error is ErrOrigin for every other socket.
func Destination(c syscall.Conn) (netip.AddrPort, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, err
	}
	var name unix.Sockaddr
	var got error
	if err := raw.Control(func(fd uintptr) { name, got = unix.Getsockname(int(fd)) }); err != nil {
		return netip.AddrPort{}, err
	}
	if got != nil {
		return netip.AddrPort{}, fmt.Errorf("%w: %w", ErrOrigin, got)
	}
	in, ok := name.(*unix.SockaddrInet4)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("%w: it is not of IPv4", ErrOrigin)
	}
	to := netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port))
	if a := to.Addr(); a == Own || a.IsLoopback() || a.IsUnspecified() {
		return netip.AddrPort{}, fmt.Errorf("%w: it is at %v", ErrOrigin, to)
	}
	return to, nil
}

// SPDX-License-Identifier: Apache-2.0

// Package netns has a box's network namespace lead to two sockets, and nowhere
// else.
//
// The namespace has no interface but lo: nothing can leave it. Lead makes every
// address a local one (a route of type local over lo, ip-route(8)), and decides
// in nftables what becomes of a packet before it is sent:
//
//	to the box itself (127.0.0.0/8, Own)     it stays there, untouched
//	TCP to a captured address                the listener
//	TCP, UDP to port 53, whatever address    the listener, the socket for DNS
//	TCP to any other address                 reset: connect(2) says ECONNREFUSED
//	everything else                          dropped: sending says EPERM
//	IPv6                                     there is no route: ENETUNREACH
//
// Capturing is tproxy's work (Documentation/networking/tproxy.rst): on its way
// in over lo a SYN is given to the listener, and the socket of the connection
// has the address it was meant for. There is no address translation and no
// tracking of connections, hence no table that could be filled, and what follows
// a SYN passes one rule.
//
// The listener and the socket are bound to port 53, and a tool has no right
// over its network namespace: it can neither take their place nor change the
// rules. It can bind other addresses as its own (IP_FREEBIND); that deceives
// none but itself.
//
// The kernel needs nf_tables, nft_tproxy and nft_reject_ipv4, built in or as
// modules that it can load.
package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/netns/origin"
)

// What package origin says, for those who link this one anyway.
var (
	Resolver = origin.Resolver
	Names    = origin.Names
)

// Ports of Resolver.
const (
	HTTPProxy = origin.HTTPProxy
	SOCKS     = origin.SOCKS
)

// Ends are where a led network ends. Both are close-on-exec and non-blocking,
// and work in whichever process and namespace they are.
type Ends struct {
	// TCP listens. Of what it accepts, origin.Destination tells where it was
	// meant to go.
	TCP *os.File
	// UDP gets the datagrams to port 53. An answer must come from the address
	// that was asked: every datagram has an IP_PKTINFO message (ip(7)), which the
	// answer is sent with as it came. Without it the answer is Resolver's.
	UDP *os.File
}

// Close closes both.
func (e *Ends) Close() error { return errors.Join(e.TCP.Close(), e.UDP.Close()) }

// Lead has the calling thread's network namespace lead to Ends. Captured are
// the IPv4 networks whose TCP is taken, beside Names; those of IPv6 are no
// concern. It can be repeated, for other networks or when the Ends were lost:
// new connections go to the new Ends, from one packet to the next.
//
// The caller has CAP_NET_ADMIN over the namespace. One with an interface beside
// lo is refused: it is no box's.
func Lead(captured []netip.Prefix) (*Ends, error) {
	if err := route(); err != nil {
		return nil, err
	}
	ends, at, err := open()
	if err != nil {
		return nil, err
	}
	if err := rule(intervals(append([]netip.Prefix{Names}, captured...)), at); err != nil {
		return nil, errors.Join(fmt.Errorf("nftables: %w", err), ends.Close())
	}
	return ends, nil
}

// route makes all of IPv4 local.
func route() error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("rtnetlink: %w", err)
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		return fmt.Errorf("list the interfaces: %w", err)
	}
	if len(links) != 1 || links[0].Attrs().Name != "lo" {
		return errors.New("this network namespace has an interface beside lo: it is no box's")
	}
	// Programs ask for addresses only if they have one that is not loopback's
	// (getaddrinfo(3), AI_ADDRCONFIG).
	own := netlink.NewIPNet(origin.Own.AsSlice())
	everywhere := &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	if err := h.AddrReplace(links[0], &netlink.Addr{IPNet: own, Scope: int(netlink.SCOPE_UNIVERSE)}); err != nil {
		return fmt.Errorf("add address %v to lo: %w", origin.Own, err)
	}
	// Not in table local, where it would make every address one to be bound.
	if err := h.RouteReplace(&netlink.Route{
		LinkIndex: links[0].Attrs().Index, Dst: everywhere, Src: own.IP,
		Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST, Table: unix.RT_TABLE_MAIN,
	}); err != nil {
		return fmt.Errorf("add a local default route: %w", err)
	}
	return nil
}

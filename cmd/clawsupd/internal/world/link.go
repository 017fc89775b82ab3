// SPDX-License-Identifier: Apache-2.0

package world

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
)

// The link between the two namespaces: a pair of interfaces.
const (
	up   = "up"   // the host's end
	down = "down" // the servers'
)

// The host's addresses, and those of the servers' end of the link.
var (
	HostAddress  = netip.MustParseAddr("20.0.0.1")
	HostAddress6 = netip.MustParseAddr("2600:20::1")
	gateway      = netip.MustParseAddr("20.0.0.2")
	gateway6     = netip.MustParseAddr("2600:20::2")
)

// The ends of the link know each other's hardware address beforehand, so that
// nobody has to ask for it.
var (
	hostHardware    = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	gatewayHardware = net.HardwareAddr{2, 0, 0, 0, 0, 2}
)

// quiet are settings without which the kernel sends packets by itself, or drops
// those that come from where it has no route to.
var quiet = map[string]string{
	"ipv6/conf/all/disable_ipv6":             "0",
	"ipv6/conf/default/disable_ipv6":         "0",
	"ipv6/conf/default/accept_dad":           "0",
	"ipv6/conf/default/router_solicitations": "0",
	"ipv6/conf/default/accept_ra":            "0",
	"ipv6/conf/default/addr_gen_mode":        "1", // no link-local address
	"ipv4/conf/all/rp_filter":                "0",
	"ipv4/conf/default/rp_filter":            "0",
	"ipv4/ip_unprivileged_port_start":        "1024",
}

// settle writes the settings of the thread's namespace and takes lo up.
func settle() error {
	for key, value := range quiet {
		if err := os.WriteFile("/proc/sys/net/"+key, []byte(value), 0); err != nil {
			return err
		}
	}
	return raise("lo")
}

func raise(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	return netlink.LinkSetUp(link)
}

// join puts the pair between the two namespaces.
func join(host, internet *Space) error {
	if err := errors.Join(host.Do(settle), internet.Do(settle)); err != nil {
		return err
	}
	err := host.Do(func() error {
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs:        netlink.LinkAttrs{Name: up, HardwareAddr: hostHardware},
			PeerName:         down,
			PeerHardwareAddr: gatewayHardware,
			PeerNamespace:    netlink.NsFd(internet.file.Fd()),
		})
	})
	if err != nil {
		return fmt.Errorf("make a pair of interfaces: %w", err)
	}
	if err := host.Do(leadUp); err != nil {
		return fmt.Errorf("set up the host: %w", err)
	}
	if err := internet.Do(leadDown); err != nil {
		return fmt.Errorf("set up the servers' namespace: %w", err)
	}
	return nil
}

// leadUp gives the host its addresses and the way to everything else.
func leadUp() error {
	link, err := address(up, HostAddress, HostAddress6)
	if err != nil {
		return err
	}
	return errors.Join(
		neighbour(link, gateway, gatewayHardware), neighbour(link, gateway6, gatewayHardware),
		netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: all(gateway), Gw: gateway.AsSlice()}),
		netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: all(gateway6), Gw: gateway6.AsSlice()}),
	)
}

// leadDown makes every address a local one of the servers' namespace but the
// host's own.
func leadDown() error {
	// Servers bind to them though no interface has them; IPv4 needs no asking.
	if err := os.WriteFile("/proc/sys/net/ipv6/ip_nonlocal_bind", []byte("1"), 0); err != nil {
		return err
	}
	link, err := address(down, gateway, gateway6)
	if err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	errs := []error{neighbour(link, HostAddress, hostHardware), neighbour(link, HostAddress6, hostHardware)}
	for _, a := range []netip.Addr{gateway, gateway6} {
		// RTN_LOCAL for everything, in the table that is looked at first: ip-route(8), "local".
		errs = append(errs, netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: all(a), Table: 255, Type: 2, Scope: netlink.SCOPE_HOST}))
	}
	for _, a := range []netip.Addr{HostAddress, HostAddress6} {
		errs = append(errs, netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: one(a), Table: 255, Scope: netlink.SCOPE_LINK}))
	}
	return errors.Join(errs...)
}

// address gives an interface its addresses, of networks that have no more than it,
// and takes it up.
func address(name string, addresses ...netip.Addr) (netlink.Link, error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	for _, a := range addresses {
		bits := 24
		if a.Is6() {
			bits = 64
		}
		if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, a.BitLen())}}); err != nil {
			return nil, err
		}
	}
	return link, netlink.LinkSetUp(link)
}

func neighbour(link netlink.Link, a netip.Addr, hardware net.HardwareAddr) error {
	return netlink.NeighSet(&netlink.Neigh{LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: hardware})
}

// all is every address of a family.
func all(of netip.Addr) *net.IPNet {
	return &net.IPNet{IP: make(net.IP, of.BitLen()/8), Mask: net.CIDRMask(0, of.BitLen())}
}

func one(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}

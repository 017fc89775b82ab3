// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"net/netip"
	"slices"
)

// Row is a range of addresses that is not for everybody.
type Row struct {
	Prefix   netip.Prefix
	Name     string // what it is, as in "10.0.0.1 is in 10.0.0.0/8, a private network"
	Source   string // where that is written
	Nameable bool   // whether a rule can open it

	// inside gives the IPv4 address that an address of this row leads to; nil:
	// it leads to none, or can't be opened anyway.
	inside func(netip.Addr) netip.Addr
}

// Table gives all rows. They overlap: the narrowest counts.
func Table() []Row { return slices.Clone(table) }

// What can be opened is where people have machines of their own. What can't be
// is where no TCP service can live (multicast, broadcast, discard), where the
// box itself needs the range (198.18.0.0/15), and forms that only hide another address.
const (
	nameable = true
	never    = false
)

// Sources: https://www.iana.org/assignments/iana-ipv4-special-registry,
// https://www.iana.org/assignments/iana-ipv6-special-registry, and
// https://www.iana.org/assignments/ipv6-address-space.
var table = []Row{
	row("0.0.0.0/8", "what Linux takes for the host itself", "RFC 791", never),
	row("10.0.0.0/8", "a private network", "RFC 1918", nameable),
	row("100.64.0.0/10", "addresses shared behind a carrier", "RFC 6598", nameable),
	row("100.100.100.200/32", "metadata of the cloud", "Alibaba Cloud: instance metadata", nameable),
	row("127.0.0.0/8", "the host's loopback", "RFC 1122", nameable),
	row("168.63.129.16/32", "metadata of the cloud", "Azure: what is IP address 168.63.129.16", nameable),
	row("169.254.0.0/16", "link-local addresses", "RFC 3927", nameable),
	row("169.254.169.254/32", "metadata of the cloud", "AWS, Azure, Google Cloud: instance metadata", nameable),
	row("169.254.170.2/32", "metadata of the cloud", "Amazon ECS: task credentials", nameable),
	row("169.254.170.23/32", "metadata of the cloud", "Amazon EKS: pod identity", nameable),
	row("172.16.0.0/12", "a private network", "RFC 1918", nameable),
	row("192.0.0.0/24", "protocol assignments", "RFC 6890", never),
	row("192.0.0.192/32", "metadata of the cloud", "Oracle Cloud: instance metadata", nameable),
	row("192.0.2.0/24", "addresses for documentation", "RFC 5737", nameable),
	row("192.31.196.0/24", "AS112, which answers for private names", "RFC 7535", never),
	row("192.52.193.0/24", "automatic multicast tunnels", "RFC 7450", never),
	row("192.88.99.0/24", "6to4 relays", "RFC 7526", never),
	row("192.168.0.0/16", "a private network", "RFC 1918", nameable),
	row("192.175.48.0/24", "AS112, which answers for private names", "RFC 7534", never),
	row("198.18.0.0/15", "benchmarks, and in a box the names", "RFC 2544", never),
	row("198.51.100.0/24", "addresses for documentation", "RFC 5737", nameable),
	row("203.0.113.0/24", "addresses for documentation", "RFC 5737", nameable),
	row("224.0.0.0/4", "multicast", "RFC 5771", never),
	row("240.0.0.0/4", "reserved addresses, which some use as a private network", "RFC 1112", nameable),
	row("255.255.255.255/32", "broadcast", "RFC 919", never),

	row("::/128", "no address", "RFC 4291", never),
	row("::1/128", "the host's loopback", "RFC 4291", nameable),
	row("::/96", "IPv4-compatible addresses", "RFC 4291", never),
	row("::ffff:0:0/96", "IPv4-mapped addresses", "RFC 4291", never),
	row("64:ff9b::/96", "addresses that are translated to IPv4", "RFC 6052", nameable, last4),
	// Where in these the IPv4 address stands is the network's choice, so that they can't be judged.
	row("64:ff9b:1::/48", "addresses that a network translates to IPv4", "RFC 8215", never),
	row("100::/64", "what is discarded", "RFC 6666", never),
	row("100:0:0:1::/64", "a dummy network", "RFC 9780", never),
	row("2001::/23", "protocol assignments", "RFC 2928", never),
	row("2001::/32", "Teredo tunnels", "RFC 4380", never),
	row("2001:1::1/128", "Port Control Protocol anycast", "RFC 7723", never),
	row("2001:1::2/128", "TURN anycast", "RFC 8155", never),
	row("2001:1::3/128", "service registration anycast", "RFC 9665", never),
	row("2001:2::/48", "benchmarks", "RFC 5180", never),
	row("2001:3::/32", "automatic multicast tunnels", "RFC 7450", never),
	row("2001:4:112::/48", "AS112, which answers for private names", "RFC 7535", never),
	row("2001:10::/28", "ORCHID", "RFC 4843", never),
	row("2001:20::/28", "ORCHIDv2", "RFC 7343", never),
	row("2001:30::/28", "drone identifiers", "RFC 9374", never),
	row("2001:db8::/32", "addresses for documentation", "RFC 3849", nameable),
	row("2002::/16", "6to4", "RFC 3056", never),
	row("2620:4f:8000::/48", "AS112, which answers for private names", "RFC 7534", never),
	row("3fff::/20", "addresses for documentation", "RFC 9637", nameable),
	row("5f00::/16", "segment routing identifiers", "RFC 9602", never),
	row("fc00::/7", "a private network", "RFC 4193", nameable),
	row("fd00:ec2::23/128", "metadata of the cloud", "Amazon EKS: pod identity", nameable),
	row("fd00:ec2::254/128", "metadata of the cloud", "AWS: instance metadata", nameable),
	row("fd20:ce::254/128", "metadata of the cloud", "Google Cloud: metadata server", nameable),
	row("fe80::/10", "link-local addresses, which need a zone", "RFC 4291", never),
	row("fec0::/10", "site-local addresses", "RFC 3879", never),
	row("ff00::/8", "multicast", "RFC 4291", never),
	// Only 2000::/3 is given out.
	row("::/3", "addresses given to nobody", "IANA: IPv6 address space", never),
	row("4000::/2", "addresses given to nobody", "IANA: IPv6 address space", never),
	row("8000::/1", "addresses given to nobody", "IANA: IPv6 address space", never),
}

func row(prefix, name, source string, nameable bool, inside ...func(netip.Addr) netip.Addr) Row {
	r := Row{Prefix: netip.MustParsePrefix(prefix), Name: name, Source: source, Nameable: nameable}
	if len(inside) > 0 {
		r.inside = inside[0]
	}
	return r
}

// last4 gives the IPv4 address of the last four bytes (RFC 6052, section 2.2).
func last4(a netip.Addr) netip.Addr {
	b := a.As16()
	return netip.AddrFrom4([4]byte(b[12:]))
}

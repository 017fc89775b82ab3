// SPDX-License-Identifier: Apache-2.0

package world

import (
	"net/netip"
	"slices"
)

// Name is a host name of the world, in lower case without a dot at its end.
type Name string

// Names of servers.
const (
	API      Name = "api.test"
	Other    Name = "other.test"
	Moved    Name = "moved.test"
	Bot      Name = "bot.test"
	Git      Name = "git.test"
	Wheels   Name = "wheels.test"
	Packages Name = "packages.test"
	Plain    Name = "plain.test"
	Raw      Name = "raw.test"
	Sealed   Name = "sealed.test"
	Expired  Name = "expired.test"
	Stranger Name = "stranger.test"
	Misnamed Name = "misnamed.test"
	Old      Name = "old.test"
	Internal Name = "internal.test" // at a private address, for rules that name it
)

// Names that lead where they should not, and how.
const (
	ToLoopback  Name = "loopback.inward.test"  // 127.0.0.1
	ToZero      Name = "zero.inward.test"      // 0.0.0.0
	ToPrivate   Name = "private.inward.test"   // 10.1.2.3
	ToMetadata  Name = "metadata.inward.test"  // 169.254.169.254
	ToShared    Name = "shared.inward.test"    // 100.64.0.1
	ToMulticast Name = "multicast.inward.test" // 224.0.0.251
	ToBroadcast Name = "broadcast.inward.test" // 255.255.255.255
	ToSix       Name = "six.inward.test"       // ::1
	ToMapped    Name = "mapped.inward.test"    // ::ffff:127.0.0.1
	ToLocal     Name = "local.inward.test"     // fd00::3
	ToLink      Name = "link.inward.test"      // fe80::1
	ToTranslate Name = "nat64.inward.test"     // 64:ff9b::127.0.0.1
	ToRelay     Name = "6to4.inward.test"      // 2002:7f00:1::
	ToMixed     Name = "mixed.inward.test"     // first a public one, then 127.0.0.1
	ToAlias     Name = "alias.inward.test"     // by CNAME
	ToHost      Name = "host.inward.test"      // the host's own address

	Alias   Name = "alias.test"   // by two CNAMEs to API
	Endless Name = "endless.test" // by CNAME to itself
	Rebind  Name = "rebind.test"  // the first time Plain's address; then 127.0.0.1
	Tunnel  Name = "tunnel.test"  // so has every name below it, and TXT
)

// Inward are all names of which no address may be reached.
var Inward = []Name{
	ToLoopback, ToZero, ToPrivate, ToMetadata, ToShared, ToMulticast, ToBroadcast,
	ToSix, ToMapped, ToLocal, ToLink, ToTranslate, ToRelay, ToAlias, ToHost,
}

// Addresses of the world. A server's has Address.
var (
	Resolver = netip.MustParseAddr("20.53.0.53")
	Private  = netip.MustParseAddr("10.1.2.3")
	Metadata = netip.MustParseAddr("169.254.169.254")
	Local    = netip.MustParseAddr("fd00::3")
)

var localhost = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// records are the addresses of names.
var records = map[Name][]netip.Addr{
	API: at("20.80.0.10", "2600:80::10"), Other: at("20.80.0.20", "2600:80::20"),
	Moved: at("20.80.0.11"), Bot: at("20.80.0.12"), Git: at("20.80.0.13"), Wheels: at("20.80.0.14"), Packages: at("20.80.0.15"),
	Plain: at("20.80.0.16"), Raw: at("20.80.0.17"), Sealed: at("20.80.0.18"),
	Expired: at("20.80.0.30"), Stranger: at("20.80.0.31"), Misnamed: at("20.80.0.32"), Old: at("20.80.0.33"),
	Internal: at("10.1.2.10"),

	ToLoopback: at("127.0.0.1"), ToZero: at("0.0.0.0"), ToPrivate: at("10.1.2.3"), ToMetadata: at("169.254.169.254"),
	ToShared: at("100.64.0.1"), ToMulticast: at("224.0.0.251"), ToBroadcast: at("255.255.255.255"),
	ToSix: at("::1"), ToMapped: at("::ffff:127.0.0.1"), ToLocal: at("fd00::3"), ToLink: at("fe80::1"),
	ToTranslate: at("64:ff9b::7f00:1"), ToRelay: at("2002:7f00:1::"), ToMixed: at("20.80.0.10", "127.0.0.1"),
	ToHost: {HostAddress, HostAddress6},
}

// aliases are names with a CNAME.
var aliases = map[Name]Name{
	Alias:               "middle.alias.test",
	"middle.alias.test": API,
	Endless:             Endless,
	ToAlias:             ToLoopback,
}

func at(addresses ...string) (all []netip.Addr) {
	for _, a := range addresses {
		all = append(all, netip.MustParseAddr(a))
	}
	return all
}

// Address gives the name's first address. There has to be one.
func (n Name) Address() netip.Addr { return records[n][0] }

// Leads says whether the name has the address.
func (n Name) Leads(to netip.Addr) bool { return slices.Contains(records[n], to) }

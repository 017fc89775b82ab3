// SPDX-License-Identifier: Apache-2.0

// Package guard says which addresses and names a box may be led to at all,
// before any rule is asked. It is pure: it reads nothing and looks up nothing.
// clawsup-egress asks it first; clawsupd, which makes the sockets, asks it
// again and believes nobody.
//
// What a program gives as a host goes through, in this order:
//
//	ParseLiteral   is it an address, exactly spelled? Every other spelling that some parser takes for one is refused
//	Name           otherwise it is a name, in the one spelling that rules are written in, or refused
//	Check          of each address that the name leads to, right before connecting
//	CheckHost      the same with the host's own addresses, where those are known
//
// The table ([Table]) is IANA's two registries of special-purpose addresses,
// whole: also rows that the registries call globally reachable, since nothing
// lives there that a program would be sent to. Added to it are multicast, what
// is outside of 2000::/3, and where clouds serve their machines' credentials.
//
// An operator opens a row by naming networks (addresses = [...] of a network
// rule). A network opens addresses of a row only if it lies in that row wholly:
// 0.0.0.0/0 opens nothing, 169.254.0.0/16 does not open 169.254.169.254, which
// has a row of its own. Some rows can't be opened.
//
// Limits. A network may translate any prefix of its own to IPv4 (RFC 6052), or
// route public addresses to somewhere private: the table can't know. What is
// behind an address of the world, such as a proxy into a private network, it
// can't know either.
package guard

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
)

// Error is an address that may not be connected to.
type Error struct {
	Address netip.Addr
	Inside  netip.Addr // the IPv4 address within Address that it is about; invalid: it is about Address itself
	Row     Row
}

func (e *Error) Error() string {
	what := e.Address.String()
	if !e.Address.IsValid() {
		what = "it"
	}
	if e.Inside.IsValid() {
		what += " leads to " + e.Inside.String() + ", which"
	}
	s := what + " is "
	if e.Row.Prefix.IsValid() {
		s += "in " + e.Row.Prefix.String() + ", "
	}
	s += e.Row.Name + " (" + e.Row.Source + "): "
	if e.Row.Nameable {
		return s + "a network rule can name it in its addresses"
	}
	return s + "no rule can open that"
}

// Check refuses an address that is not global unicast, unless one of named,
// the networks that a rule names, opens its row. An address that has an IPv4 address in it
// is judged by both. The error is an [*Error].
func Check(a netip.Addr, named []netip.Prefix) error {
	switch {
	case !a.IsValid():
		return &Error{Row: Row{Name: "no address", Source: "net/netip"}}
	case a.Zone() != "":
		return &Error{Address: a, Row: Row{Name: "an address of one link alone", Source: "RFC 4007"}}
	}
	row, special := Find(a)
	if !special {
		return nil
	}
	if !row.open(a, named) {
		return &Error{Address: a, Row: row}
	}
	return row.checkInside(a, func(inside netip.Addr) error { return Check(inside, named) })
}

// CheckHost is Check, and also refuses an address of the host itself, whatever
// it is. A rule opens that only by naming the single address: who names 10.0.0.0/8
// means other machines.
func CheckHost(a netip.Addr, own []netip.Addr, named []netip.Prefix) error {
	if err := Check(a, named); err != nil {
		return err
	}
	if slices.Contains(own, a) && !slices.Contains(named, netip.PrefixFrom(a, a.BitLen())) {
		return &Error{Address: a, Row: Row{Prefix: netip.PrefixFrom(a, a.BitLen()), Name: "this host", Source: "its interfaces", Nameable: true}}
	}
	row, _ := Find(a)
	return row.checkInside(a, func(inside netip.Addr) error { return CheckHost(inside, own, named) })
}

// CheckNamed refuses a network that a rule names to no effect: one that lies in
// no row, or in one that can't be opened.
func CheckNamed(p netip.Prefix) error {
	if !p.IsValid() || p != p.Masked() {
		return fmt.Errorf("%s is no network: want one such as 10.1.2.0/24, without bits behind its length", p)
	}
	row, special := Find(p.Addr())
	switch {
	case !special:
		return fmt.Errorf("%s needs no naming: only networks that are not public do", p)
	case !row.covers(p):
		return fmt.Errorf("%s reaches beyond %s, %s: name networks within it", p, row.Prefix, row.Name)
	case !row.Nameable:
		return fmt.Errorf("%s is in %s, %s (%s): no rule can open that", p, row.Prefix, row.Name, row.Source)
	}
	return nil
}

// Find gives the narrowest row that has the address.
func Find(a netip.Addr) (row Row, found bool) {
	for i := range table {
		if table[i].Prefix.Contains(a) && (!found || table[i].Prefix.Bits() > row.Prefix.Bits()) {
			row, found = table[i], true
		}
	}
	return row, found
}

// open reports whether one of the named networks opens the row for an address.
func (r *Row) open(a netip.Addr, named []netip.Prefix) bool {
	return r.Nameable && slices.ContainsFunc(named, func(p netip.Prefix) bool { return r.covers(p) && p.Contains(a) })
}

// covers reports whether a network lies in the row wholly.
func (r *Row) covers(p netip.Prefix) bool {
	return p.Bits() >= r.Prefix.Bits() && r.Prefix.Contains(p.Addr())
}

// checkInside judges the IPv4 address that is in an address of the row.
func (r *Row) checkInside(a netip.Addr, check func(netip.Addr) error) error {
	if r.inside == nil {
		return nil
	}
	inside := r.inside(a)
	err := check(inside)
	if refused := new(Error); errors.As(err, &refused) {
		return &Error{Address: a, Inside: inside, Row: refused.Row}
	}
	return err
}

// Public gives what of IPv4 is in no row, as the fewest networks, in order.
func Public() []netip.Prefix { return slices.Clone(public()) }

var public = sync.OnceValue(func() []netip.Prefix {
	var list []netip.Prefix
	var split func(netip.Prefix)
	split = func(p netip.Prefix) {
		overlaps := false
		for i := range table {
			switch {
			case table[i].covers(p):
				return
			case table[i].Prefix.Overlaps(p):
				overlaps = true
			}
		}
		if !overlaps {
			list = append(list, p)
			return
		}
		// A row is narrower than p, so p can be halved.
		low := netip.PrefixFrom(p.Addr(), p.Bits()+1)
		high := p.Addr().As4()
		high[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
		split(low)
		split(netip.PrefixFrom(netip.AddrFrom4(high), p.Bits()+1))
	}
	split(netip.PrefixFrom(netip.IPv4Unspecified(), 0))
	return list
})

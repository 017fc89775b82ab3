// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"
	"slices"

	"github.com/clawsup/clawsup/profiles"
)

// Could says whether something on a host could be answered by anything but a
// denial, whatever the port, the way, the method and the path. named says that
// a rule which names exactly this host allows it or asks: looking it up tells
// nobody anything that its operator hadn't written. could may be true
// of what two levels allow only apart, and is never false of what [Decide] may
// let through.
func Could(rules []Rule, host string) (could, named bool) {
	if profiles.CheckHost(host) != nil {
		return false, false
	}
	_, err := netip.ParseAddr(host)
	type side struct {
		effect Effect
		level  int
	}
	closed := map[side]int{} // by denials of everything on the host, the most specific
	each := func(about func(r *Rule, at side, rank int)) {
		for i := range rules {
			r := &rules[i]
			if rank, ok := r.hostRank(host, err == nil); ok {
				about(r, side{r.Effect, r.Level}, rank)
			}
		}
	}
	each(func(r *Rule, at side, rank int) {
		if r.severity() == denied && r.whole() {
			closed[at] = max(closed[at], rank)
		}
	})
	open := map[side]bool{}    // something of it
	opens := map[Effect]bool{} // with whether a rule that does names the host
	each(func(r *Rule, at side, rank int) {
		over, any := closed[at]
		if r.severity() == denied || any && (over > rank || over == rank && !r.within()) {
			return
		}
		open[at] = true
		opens[r.Effect] = opens[r.Effect] || rank == most
	})
	for at := range closed {
		if !open[at] {
			delete(opens, at.effect)
		}
	}
	for _, exactly := range opens {
		named = named || exactly
	}
	return len(opens) > 0, named
}

// hostRank says how specifically a rule about destinations is about a host, at
// some port and in some way.
func (r *Rule) hostRank(host string, address bool) (int, bool) {
	switch {
	case !r.Effect.net():
		return 0, false
	case r.Network != nil:
		rank := hostRank(r.Network.Host, host, address)
		return rank, rank > 0
	case r.Target == "":
		return 0, true
	}
	where := r.Target
	if r.Effect == NetRequest {
		p, _ := parseRequest(r.Target)
		where = p.endpoint
	}
	pattern, _ := hostOf(where)
	rank := hostRank(pattern, host, address)
	return rank, rank > 0
}

// whole says whether a rule is about everything of its effect on its hosts.
func (r *Rule) whole() bool {
	n := r.Network
	if n == nil {
		return r.Target == ""
	}
	return n.Ports == nil && !r.within() && n.Scheme == "" && (n.Through == "" || r.Effect == NetRequest && n.Through == profiles.ThroughHTTP)
}

// within says whether a rule names more than hosts, by which it goes before one
// that doesn't.
func (r *Rule) within() bool {
	n := r.Network
	if n == nil {
		return r.Target != ""
	}
	return n.Methods != nil || n.Paths != nil || n.Fields != nil
}

// Networks gives the networks that are not public in which the address of a host may
// lie, at a port: those of the rules about both that don't deny, and of each
// level that says anything of them, since a level can only take away. A rule
// whose host is an address has that one.
func Networks(rules []Rule, host string, port uint16) []netip.Prefix {
	literal, err := netip.ParseAddr(host)
	levels := map[int][]netip.Prefix{}
	for i := range rules {
		r := &rules[i]
		rank, ok := r.hostRank(host, err == nil)
		if !ok || r.severity() == denied || !r.atPort(port) {
			continue
		}
		list := levels[r.Level] // there now, though it may be empty
		if r.Network != nil {
			list = append(list, r.Network.Addresses...)
		}
		if err == nil && rank == most {
			list = append(list, netip.PrefixFrom(literal, literal.BitLen()))
		}
		levels[r.Level] = list
	}
	var both []netip.Prefix
	first := true
	for _, list := range levels {
		if first {
			both, first = list, false
			continue
		}
		both = common(both, list)
	}
	slices.SortFunc(both, netip.Prefix.Compare)
	return slices.Compact(both)
}

// common gives the networks that lie in one of each list.
func common(a, b []netip.Prefix) (both []netip.Prefix) {
	for _, p := range a {
		for _, q := range b {
			if !p.Overlaps(q) {
				continue
			}
			if p.Bits() < q.Bits() {
				both = append(both, q)
			} else {
				both = append(both, p)
			}
		}
	}
	return both
}

func (r *Rule) atPort(port uint16) bool {
	if r.Network != nil {
		return len(r.Network.Ports) == 0 || slices.Contains(r.Network.Ports, port)
	}
	if r.Target == "" {
		return true
	}
	where := r.Target
	if r.Effect == NetRequest {
		p, _ := parseRequest(r.Target)
		where = p.endpoint
	}
	_, at := hostOf(where)
	return at == port
}

// hostOf takes HOST:PORT or *.SUFFIX:PORT apart.
func hostOf(endpoint string) (string, uint16) {
	if len(endpoint) > 2 && endpoint[:2] == "*." {
		host, port, _ := cutEndpoint(endpoint[2:])
		return "*." + host, port
	}
	host, port, _ := cutEndpoint(endpoint)
	return host, port
}

// Literals gives the IPv4 addresses that rules name and [Could] lets be reached,
// and whether any other could be. A box has no way by IPv6.
func Literals(rules []Rule) (named []netip.Prefix, other bool) {
	open := map[int]bool{} // levels, by what they say of what they don't name
	for i := range rules {
		r := &rules[i]
		if !r.Effect.net() {
			continue
		}
		if r.Network == nil && r.Target == "" {
			open[r.Level] = open[r.Level] || r.severity() != denied
		}
		host := ""
		switch {
		case r.Network != nil:
			host = r.Network.Host
		case r.Effect == NetRequest:
			p, _ := parseRequest(r.Target)
			host, _ = hostOf(p.endpoint)
		default:
			host, _ = hostOf(r.Target)
		}
		a, err := netip.ParseAddr(host)
		if err != nil || !a.Is4() {
			continue
		}
		if could, _ := Could(rules, host); could {
			named = append(named, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	other = len(open) > 0
	for _, level := range open {
		other = other && level
	}
	slices.SortFunc(named, netip.Prefix.Compare)
	return slices.Compact(named), other
}

// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/clawsup/clawsup/profiles"
)

// Passing is a port at which a host is reached without a look at what passes.
type Passing struct {
	Port    uint16
	Through profiles.Through // ThroughTLS or ThroughTCP
}

// Passings gives the ports of a host at which rules let it pass unopened. Of
// several ways at one port the most specific host decides, and then the way
// that looks deepest.
func Passings(rules []Rule, host string) []Passing {
	_, err := netip.ParseAddr(host)
	type way struct {
		rank    int
		through profiles.Through
	}
	best := map[uint16]way{}
	for i := range rules {
		r := &rules[i]
		if r.Network == nil || r.severity() == denied || r.Network.Through == "" {
			continue
		}
		rank, ok := r.hostRank(host, err == nil)
		if !ok {
			continue
		}
		for _, port := range r.Network.Ports {
			old, known := best[port]
			w := way{rank, r.Network.Through}
			if !known || cmp.Or(cmp.Compare(w.rank, old.rank), cmp.Compare(depth[w.through], depth[old.through])) > 0 {
				best[port] = w
			}
		}
	}
	var list []Passing
	for _, port := range slices.Sorted(maps.Keys(best)) {
		if t := best[port].through; t != profiles.ThroughHTTP {
			list = append(list, Passing{port, t})
		}
	}
	return list
}

// depth is how far each way is looked into.
var depth = map[profiles.Through]int{profiles.ThroughTCP: 1, profiles.ThroughTLS: 2, profiles.ThroughHTTP: 3}

// FieldNames gives the fields of requests that rules look at, sorted.
func FieldNames(rules []Rule) []string {
	names := map[string]bool{}
	for i := range rules {
		if n := rules[i].Network; n != nil {
			for name := range n.Fields {
				names[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// Plain says whether a rule that allows or asks names requests to a host and port
// that nothing encrypts.
func Plain(rules []Rule, host string, port uint16) bool {
	_, err := netip.ParseAddr(host)
	return slices.ContainsFunc(rules, func(r Rule) bool {
		if r.Network == nil || r.severity() == denied || r.Network.Scheme != "http" || !slices.Contains(r.Network.Ports, port) {
			return false
		}
		_, ok := r.hostRank(host, err == nil)
		return ok
	})
}

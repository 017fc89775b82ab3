// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/clawsup/clawsup/profiles"
)

// question is a subject whose target is taken apart once, for all rules.
type question struct {
	*Subject
	request
	host    string // without brackets
	port    uint16
	address bool   // host is one
	other   string // the other reading of path, see profiles.NormalPath
}

// newQuestion takes a subject that passes Check.
func newQuestion(s *Subject) *question {
	q := &question{Subject: s}
	where := s.Target
	if s.Effect == NetRequest {
		q.request, _ = parseRequest(s.Target)
		_, q.other, _ = profiles.NormalPath(q.path)
		where = q.endpoint
	}
	if s.Effect.net() {
		q.host, q.port, _ = cutEndpoint(where)
		_, err := netip.ParseAddr(q.host)
		q.address = err == nil
	}
	return q
}

// way is how net.connect goes.
func (s *Subject) way() profiles.Through { return cmp.Or(s.Through, profiles.ThroughTCP) }

// rank is how specific a rule is: its first part that differs from another's
// tells. In each part more is more specific, and 0 is what the rule doesn't name.
type rank struct {
	host   int // most for one target or host; of a suffix, and of a pattern of files, its length
	path   int // most for one path; of a directory its length
	method int
	fields int
}

const most = math.MaxInt

// compare is negative where r is more specific.
func (r rank) compare(q rank) int {
	return -cmp.Or(cmp.Compare(r.host, q.host), cmp.Compare(r.path, q.path), cmp.Compare(r.method, q.method), cmp.Compare(r.fields, q.fields))
}

// fit says whether a rule is about a question.
type fit int

const (
	no    fit = iota
	maybe     // as far as can be told
	yes
)

// fits says whether a rule is about a question with that path, and how
// specifically.
func (q *question) fits(r *Rule, path string) (rank, fit) {
	switch {
	case r.Network != nil:
		return q.fitsNetwork(r.Network, path)
	case r.Target == "":
		return rank{}, yes
	case q.Effect == NetRequest:
		return q.fitsPattern(r.Target, path)
	case !Match(q.Effect, r.Target, q.Target):
		return rank{}, no
	}
	if q.Effect == NetConnect {
		return rank{host: endpointRank(r.Target)}, yes
	}
	if _, _, kind := split(q.Effect, r.Target); kind != exact {
		return rank{host: len(r.Target)}, yes
	}
	return rank{host: most}, yes
}

// endpointRank gives how specific HOST:PORT or *.SUFFIX:PORT is.
func endpointRank(endpoint string) int {
	if host, _, _ := strings.Cut(endpoint, ":"); strings.HasPrefix(host, "*.") {
		return len(host)
	}
	return most
}

// fitsPattern is fits for a pattern of requests.
func (q *question) fitsPattern(pattern, path string) (rank, fit) {
	p, ok := parseRequest(pattern)
	t := q.request
	t.path = path
	if !ok || !p.matches(&t) {
		return rank{}, no
	}
	k := rank{host: endpointRank(p.endpoint)}
	k.path = matchPath(p.path, path)
	if p.method != "*" {
		k.method = 1
	}
	return k, yes
}

// fitsNetwork is fits for a profile's rule.
func (q *question) fitsNetwork(r *profiles.NetworkRule, path string) (rank, fit) {
	k := rank{host: hostRank(r.Host, q.host, q.address)}
	if k.host == 0 || len(r.Ports) > 0 && !slices.Contains(r.Ports, q.port) {
		return k, no
	}
	if q.Effect == NetConnect {
		if r.Through != "" && r.Through != q.way() {
			return k, no
		}
		return k, yes
	}
	if r.Through != "" && r.Through != profiles.ThroughHTTP || r.Scheme != "" && r.Scheme != q.scheme {
		return k, no
	}
	if r.Methods != nil {
		if k.method = 1; !slices.Contains(r.Methods, q.method) {
			return k, no
		}
	}
	if r.Paths != nil {
		for _, p := range r.Paths {
			k.path = max(k.path, matchPath(p, path))
		}
		if k.path == 0 {
			return k, no
		}
	}
	if r.Fields != nil {
		k.fields = 1
		return k, q.fitsFields(r.Fields)
	}
	return k, yes
}

// hostRank gives how specific a rule's host is that has a host; 0: it has not.
func hostRank(pattern, host string, address bool) int {
	if suffix, wild := strings.CutPrefix(pattern, "*"); wild {
		if address || len(host) <= len(suffix) || !strings.HasSuffix(host, suffix) {
			return 0
		}
		return len(pattern)
	}
	if pattern == host {
		return most
	}
	return 0
}

// fitsFields says whether a request has what a rule wants of its fields: each
// name with values of the list alone. With some others among them, or where the
// body could not be looked at, it can't be told.
func (q *question) fitsFields(want map[string][]string) fit {
	all := yes
	for name, values := range want {
		in, out := false, false
		for _, f := range q.Fields {
			if f.Name == name {
				listed := slices.Contains(values, f.Value)
				in, out = in || listed, out || !listed
			}
		}
		here := yes
		switch {
		case q.Unread, in && out:
			here = maybe
		case !in:
			here = no
		}
		all = min(all, here)
	}
	return all
}

// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// Inspect looks at all of a request but its body. r is as net/http's server
// gives it, host and port are where it goes. Without bindings nothing is
// refused. The Refusal is nil, or of the kinds RefusedPlaceholder,
// RefusedCredential, or RefusedProtocol for a request to a host of a secret that
// could be read in two ways.
func (s *Set) Inspect(host string, port uint16, r *http.Request) (*Found, *packet.Refusal) {
	v := s.view()
	f := &Found{view: v, here: v.at(host, port), host: host, port: port}
	for _, look := range []func(*http.Request) *packet.Refusal{f.inspectPath, f.inspectQuery, f.inspectHeaders, f.inspectRest} {
		if refusal := look(r); refusal != nil {
			return nil, refusal
		}
	}
	return f, f.expectBody(r)
}

func (f *Found) inspectPath(r *http.Request) *packet.Refusal {
	path := r.URL.EscapedPath()
	spots := pathSpots(f.here, path)
	if refusal := f.stray("the path", path, spots); refusal != nil {
		return refusal
	}
	if len(spots) == 0 && f.bound(packet.Path) {
		return f.foreign("a path without a placeholder")
	}
	f.used(spots...)
	f.path = hide(path, spots)
	return nil
}

// hide shows names of secrets in place of placeholders.
func hide(text string, spots []spot) string {
	text, _ = splice(text, spots, func(use packet.Use) (string, error) { return "(" + use.Secret + ")", nil })
	return text
}

func (f *Found) inspectQuery(r *http.Request) *packet.Refusal {
	query := r.URL.RawQuery
	list := items(query)
	spots := itemSpots(f.here, packet.QueryItem, list)
	if refusal := f.stray("the query", query, spots); refusal != nil {
		return refusal
	}
	if refusal := f.inspectItems("query field", packet.QueryItem, query, list, spots); refusal != nil {
		return refusal
	}
	f.used(spots...)
	f.search = hide(query, spots)
	return nil
}

// inspectItems refuses other credentials in a query or a form.
func (f *Found) inspectItems(what string, kind packet.PlaceKind, text string, list []item, spots []spot) *packet.Refusal {
	if len(f.here) == 0 {
		return nil
	}
	seen := map[string]bool{}
	for _, i := range list {
		name := plainName(i.name)
		bound := f.boundName(kind, i.name)
		if bound && seen[name] {
			return f.foreign(called("a second "+what, i.name))
		}
		seen[name] = true
		if i.from < i.to && !inside(spots, i.from, i.to) && (bound || credentialField(i.name)) {
			return f.foreign(called(what, i.name))
		}
		// Some servers take a semicolon for an ampersand.
		_, rest, _ := strings.Cut(text[i.from:i.to], ";")
		for _, j := range items(strings.ReplaceAll(rest, ";", "&")) {
			if j.value != "" && (f.boundName(kind, j.name) || credentialField(j.name)) {
				return f.foreign(called(what, j.name))
			}
		}
	}
	return nil
}

func (f *Found) inspectHeaders(r *http.Request) *packet.Refusal {
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		if refusal := f.stray("the name of a header", name, nil); refusal != nil {
			return refusal
		}
		if refusal := f.inspectHeader(name, r.Header[name]); refusal != nil {
			return refusal
		}
	}
	return nil
}

func (f *Found) inspectHeader(name string, values []string) *packet.Refusal {
	used := false
	for _, value := range values {
		spots, refusal := f.headerSpots(name, value)
		if refusal != nil {
			return refusal
		}
		if refusal := f.stray(headerCalled(name), value, spots); refusal != nil {
			return refusal
		}
		used = used || len(spots) > 0
		f.used(spots...)
	}
	switch {
	case len(f.here) == 0:
	case used && len(values) > 1:
		return f.foreign(called("a second header", name))
	case !used && f.carries(name, values):
		return f.foreign(headerCalled(name))
	}
	return nil
}

// headerSpots finds the placeholders of a header, and refuses what goes with
// one in Basic and is another credential.
func (f *Found) headerSpots(name, value string) ([]spot, *packet.Refusal) {
	if len(f.here) == 0 {
		return nil, nil
	}
	if s, ok := headerSpot(f.here, name, value); ok {
		return []spot{s}, nil
	}
	if !strings.EqualFold(name, "Authorization") {
		return nil, nil
	}
	b, ok := readBasic(value)
	if !ok {
		return nil, nil
	}
	uses, any := b.uses(f.here)
	if !any {
		return nil, nil
	}
	var spots []spot
	for i, use := range uses {
		if use.Secret != "" {
			spots = append(spots, spot{0, len(value), use})
			continue
		}
		if refusal := f.stray("the "+halves[i]+" of "+headerCalled(name), b.half[i], nil); refusal != nil {
			return nil, refusal
		}
		if halves[i] == "password" && !fillers[b.half[i]] {
			return nil, f.foreign("the password of " + headerCalled(name))
		}
	}
	return spots, nil
}

// carries reports whether a header without a placeholder is a credential.
func (f *Found) carries(name string, values []string) bool {
	if !slices.ContainsFunc(values, func(v string) bool { return v != "" }) {
		return false
	}
	switch plainName(name) {
	case "cookie", "cookie2":
		return !f.cookies()
	case "sec_websocket_protocol": // some servers take tokens there, since browsers can set nothing else
		return slices.ContainsFunc(values, func(v string) bool {
			return slices.ContainsFunc(strings.Split(v, ","), credentialHeader)
		})
	}
	return credentialHeader(name) || f.boundName(packet.Header, name)
}

// cookies reports whether all secrets of this host let cookies pass.
func (f *Found) cookies() bool {
	return !slices.ContainsFunc(f.here, func(b *packet.Binding) bool { return !b.Cookies })
}

// inspectRest looks at what nothing may stand in.
func (f *Found) inspectRest(r *http.Request) *packet.Refusal {
	for _, in := range []struct{ where, text string }{
		{"the method", r.Method},
		{"the host", r.Host},
		{"the URL's host", r.URL.Host},
		{"the URL", r.URL.Opaque},
		{"the URL's fragment", r.URL.EscapedFragment()},
		{"the URL's user", r.URL.User.String()},
	} {
		if refusal := f.stray(in.where, in.text, nil); refusal != nil {
			return refusal
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Trailer)) {
		if refusal := f.stray("the name of a trailer", name, nil); refusal != nil {
			return refusal
		}
		if len(f.here) > 0 && f.carries(name, []string{"announced"}) {
			return f.foreign(called("trailer", name))
		}
	}
	switch {
	case len(f.here) == 0:
	case r.URL.User != nil:
		return f.foreign("the URL's user")
	case r.URL.Opaque != "":
		return f.refuse(packet.RefusedProtocol, "a URL without a path goes to no host that a secret is for")
	}
	return nil
}

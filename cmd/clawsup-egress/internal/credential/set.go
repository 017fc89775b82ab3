// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// Bounds of a set.
const (
	MaxSecrets     = 1024
	MinPlaceholder = 16  // bytes: a shorter one would be found where it does not stand
	MaxPlaceholder = 512 // bytes
)

// Set is what one box knows of secrets: all bindings that there are, with
// placeholders in those that the box may use. The zero Set is empty and ready.
// It is safe for concurrent use: a request goes on with the bindings that it was
// inspected with.
type Set struct {
	mu  sync.Mutex // of writers
	now atomic.Pointer[view]
}

// view is a set at one moment, and never changes.
type view struct {
	bindings map[string]*packet.Binding // by secret
	holders  []*packet.Binding          // those with placeholders, by name of the secret
	finder   func() *automaton          // of placeholders; an id is an index of holders
	hosts    func() *index
}

var empty = newView(nil)

func newView(bindings map[string]*packet.Binding) *view {
	v := &view{bindings: bindings}
	for _, name := range slices.Sorted(maps.Keys(bindings)) {
		if b := bindings[name]; b.Placeholder != "" {
			v.holders = append(v.holders, b)
		}
	}
	v.finder = sync.OnceValue(func() *automaton {
		needles := make([][]byte, len(v.holders))
		for i, b := range v.holders {
			needles[i] = []byte(b.Placeholder)
		}
		return newAutomaton(needles, true)
	})
	v.hosts = sync.OnceValue(v.newIndex)
	return v
}

func (s *Set) view() *view {
	if v := s.now.Load(); v != nil {
		return v
	}
	return empty
}

// Bind adds a binding, or replaces the one of the same secret. It fails where
// the binding is none that could be kept to: an unknown kind of place, a
// placeholder of another length than MinPlaceholder to MaxPlaceholder or with other
// bytes than visible ASCII, one that is part of another secret's.
func (s *Set) Bind(b packet.Binding) error {
	if err := check(b); err != nil {
		return fmt.Errorf("binding of secret %q: %w", b.Secret, err)
	}
	b.Hosts, b.Places, b.Captures = slices.Clone(b.Hosts), slices.Clone(b.Places), slices.Clone(b.Captures)
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.view()
	for _, o := range old.holders {
		if o.Secret != b.Secret && b.Placeholder != "" && within(o.Placeholder, b.Placeholder) {
			return fmt.Errorf("binding of secret %q: its placeholder can't be told from the one of secret %q", b.Secret, o.Secret)
		}
	}
	bindings := maps.Clone(old.bindings)
	if bindings == nil {
		bindings = map[string]*packet.Binding{}
	}
	bindings[b.Secret] = &b
	if len(bindings) > MaxSecrets {
		return fmt.Errorf("binding of secret %q: there are %d already", b.Secret, MaxSecrets)
	}
	s.now.Store(newView(bindings))
	return nil
}

// Unbind removes the binding of a secret, if there is one.
func (s *Set) Unbind(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	bindings := maps.Clone(s.view().bindings)
	delete(bindings, secret)
	s.now.Store(newView(bindings))
}

func within(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(b)
	return strings.Contains(a, b) || strings.Contains(b, a)
}

func check(b packet.Binding) error {
	switch {
	case b.Secret == "":
		return errors.New("it has no name")
	case len(b.Places) == 0:
		return errors.New("it has no place")
	}
	for _, p := range b.Places {
		if err := checkPlace(p); err != nil {
			return err
		}
	}
	if b.Placeholder == "" {
		return nil
	}
	if n := len(b.Placeholder); n < MinPlaceholder || n > MaxPlaceholder {
		return fmt.Errorf("a placeholder has %d to %d bytes, not %d", MinPlaceholder, MaxPlaceholder, n)
	}
	if strings.ContainsFunc(b.Placeholder, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("a placeholder is of visible ASCII")
	}
	return nil
}

func checkPlace(p packet.Place) error {
	named := p.Name != ""
	switch p.Kind {
	case packet.Path:
		named = p.Name == ""
	case packet.Basic:
		named = p.Name == "user" || p.Name == "password"
	case packet.Header, packet.QueryItem, packet.Form, packet.JSON, packet.WebSocket:
	default:
		return fmt.Errorf("%q is no kind of place", p.Kind)
	}
	if !named {
		return fmt.Errorf("%q is no name of a place of kind %s", p.Name, p.Kind)
	}
	return nil
}

// index has the bindings by their hosts.
type index struct {
	exact map[string][]*packet.Binding // by HOST:PORT
	wild  []*packet.Binding            // that have a pattern
}

func (v *view) newIndex() *index {
	x := &index{exact: map[string][]*packet.Binding{}}
	for _, b := range v.bindings {
		for _, pattern := range b.Hosts {
			if strings.HasPrefix(pattern, "*") {
				x.wild = append(x.wild, b)
			} else {
				x.exact[pattern] = append(x.exact[pattern], b)
			}
		}
	}
	return x
}

// at gives the bindings of a host, in order of the secrets.
func (v *view) at(host string, port uint16) []*packet.Binding {
	if len(v.bindings) == 0 {
		return nil
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	x := v.hosts()
	found := slices.Clone(x.exact[packet.HostPort(host, port)])
	for _, b := range x.wild {
		if b.Covers(host, port) {
			found = append(found, b)
		}
	}
	slices.SortFunc(found, func(a, b *packet.Binding) int { return strings.Compare(a.Secret, b.Secret) })
	return slices.Compact(found)
}

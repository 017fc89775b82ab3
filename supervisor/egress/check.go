// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/clawsup/clawsup/supervisor/guard"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// Bounds of one query.
const (
	maxMethod    = 32 // bytes
	maxUses      = 16
	maxFields    = 256
	maxAddresses = 64
)

// check refuses a query that breaks the rules of package packet, or has secrets
// in it that its box may not use there. The helper sends none; one that was taken over may.
func (b *Box) check(q *packet.Query) error {
	switch {
	case !isHost(q.Host):
		return errors.New("a host that is neither a name nor an address")
	case q.Port == 0:
		return errors.New("a port that is none")
	case len(q.Addresses) > maxAddresses || slices.ContainsFunc(q.Addresses, func(a netip.Addr) bool { return !a.IsValid() }):
		return errors.New("addresses that are none, or too many")
	}
	switch q.Through {
	case packet.HTTP:
		return b.checkHTTP(q)
	case packet.TLS, packet.TCP:
		if q.Scheme != "" || q.Method != "" || q.Path != "" || q.Search != "" || q.Size != 0 || len(q.Uses) > 0 || len(q.Fields) > 0 || q.Unread {
			return errors.New("a request where nothing can be seen of it")
		}
		return nil
	}
	return errors.New("a way through that there is none of")
}

func (b *Box) checkHTTP(q *packet.Query) error {
	switch {
	case q.Scheme != "http" && q.Scheme != "https":
		return errors.New("a scheme other than http and https")
	case q.Method == "" || len(q.Method) > maxMethod || strings.ContainsFunc(q.Method, notToken):
		return errors.New("a method that is none")
	case !strings.HasPrefix(q.Path, "/") || len(q.Path) > packet.MaxPath || strings.ContainsFunc(q.Path, notPath):
		return errors.New("a path that is none")
	case len(q.Search) > packet.MaxSearch || strings.ContainsFunc(q.Search, isControl):
		return errors.New("a query that is none")
	case q.Size < -1:
		return errors.New("a size that is none")
	case len(q.Fields) > maxFields || slices.ContainsFunc(q.Fields, func(f packet.Field) bool { return !slices.Contains(b.options.Fields, f.Name) }):
		return errors.New("fields that no rule looks at, or too many")
	case len(q.Uses) > maxUses:
		return errors.New("too many secrets")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, u := range q.Uses {
		bound, known := b.bindings[u.Secret]
		if !known || bound.Placeholder == "" || !bound.Covers(q.Host, q.Port) || !slices.Contains(bound.Places, u.Place) {
			return fmt.Errorf("secret %.64q where this box may not use it", u.Secret)
		}
	}
	return nil
}

// captures says whether a secret of the box takes a token: its endpoint has to be
// one that the box was allowed to ask, and that has not ended.
func (b *Box) captures(c *packet.Captured) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	bound, known := b.bindings[c.Secret]
	if !known || bound.Placeholder == "" {
		return false
	}
	for _, d := range b.decisions {
		q := &d.query
		if q.Through != packet.HTTP || !bound.Covers(q.Host, q.Port) {
			continue
		}
		if slices.Contains(bound.Captures, packet.Capture{Path: q.Path, Field: c.Field}) {
			return true
		}
	}
	return false
}

// isHost says whether this is a name or an address in the one spelling.
func isHost(host string) bool {
	if _, literal, err := guard.ParseLiteral(host); literal || err != nil {
		return err == nil
	}
	name, err := guard.Name(host)
	return err == nil && name == host
}

// tokenBytes are what a method has beside letters and digits (RFC 9110, 5.6.2).
const tokenBytes = "!#$%&'*+-.^_`|~"

func notToken(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(tokenBytes, r))
}

func notPath(r rune) bool { return r <= ' ' || r >= 0x7f || r == '?' || r == '#' }

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

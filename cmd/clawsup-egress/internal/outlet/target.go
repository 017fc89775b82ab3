// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/clawsup/clawsup/runtime/netns/origin"
	"github.com/clawsup/clawsup/supervisor/guard"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// target is where something is meant to go.
type target struct {
	host string     // in the one spelling of package guard
	addr netip.Addr // if host is an address
	port uint16
}

// targetOf gives the target of a connection's destination. On error as much of
// it as is known.
func (b *box) targetOf(to netip.AddrPort) (target, error) {
	a := to.Addr().Unmap()
	if name, ok := b.names.Table.Name(a); ok {
		return target{host: name, port: to.Port()}, nil
	}
	t := target{host: a.String(), addr: a, port: to.Port()}
	switch {
	case origin.Names.Contains(a):
		return t, &refusedError{packet.RefusedName, "no name was given this address: look the name up anew"}
	case a.IsLoopback() || a.IsUnspecified() || a.Zone() != "":
		return t, &refusedError{packet.RefusedAddress, "the address is none outside of the box"}
	case t.port == 0:
		return t, &refusedError{packet.RefusedProtocol, "port 0 is none"}
	}
	return t, nil
}

// targetNamed gives the target of a host and a port as a program spells them.
func (b *box) targetNamed(host string, port uint16) (target, error) {
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	a, literal, err := guard.ParseLiteral(host)
	if err == nil && literal {
		return b.targetOf(netip.AddrPortFrom(a, port))
	}
	if err == nil {
		host, err = guard.Name(host)
	}
	switch {
	case err != nil:
		return target{port: port}, &refusedError{packet.RefusedName, err.Error()}
	case host == "localhost" || strings.HasSuffix(host, ".localhost"):
		return target{host: host, port: port}, &refusedError{packet.RefusedAddress, "the address is none outside of the box"}
	case port == 0:
		return target{host: host}, &refusedError{packet.RefusedProtocol, "port 0 is none"}
	}
	return target{host: host, port: port}, nil
}

// authority is the target as a URL has it.
func (t target) authority(scheme string) string {
	host := t.host
	if t.addr.Is6() {
		host = "[" + host + "]"
	}
	if t.port == ports[scheme] {
		return host
	}
	return host + ":" + strconv.Itoa(int(t.port))
}

// ports are the defaults of schemes.
var ports = map[string]uint16{"http": 80, "https": 443}

// splitAuthority reads HOST, HOST:PORT, [ADDRESS] or [ADDRESS]:PORT. Without a
// port it is 0.
func splitAuthority(s string) (host string, port uint16, err error) {
	fail := func() (string, uint16, error) {
		return "", 0, &refusedError{packet.RefusedMismatch, "a host and port that can't be read"}
	}
	host, text, with := s, "", false
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return fail()
		}
		host, text = s[:end+1], s[end+1:]
		if text, with = strings.CutPrefix(text, ":"); !with && text != "" {
			return fail()
		}
	} else if host, text, with = strings.Cut(s, ":"); strings.Contains(text, ":") {
		return fail()
	}
	if !with {
		return host, 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 || text[0] == '0' || text[0] == '+' {
		return fail()
	}
	return host, uint16(n), nil
}

// is says whether a Host or an :authority is that of the target.
func (t target) is(b *box, authority, scheme string) error {
	host, port, err := splitAuthority(authority)
	if err != nil {
		return err
	}
	if port == 0 {
		port = ports[scheme]
	}
	asked, err := b.targetNamed(host, port)
	if err != nil || asked != t {
		return &refusedError{packet.RefusedMismatch, fmt.Sprintf("the request is for %.100q, and the connection to %.100s", authority, t.authority(scheme))}
	}
	return nil
}

// verdict asks whether the target may be asked for at all, and how it passes.
func (b *box) verdict(ctx context.Context, t target) (packet.Verdict, error) {
	return b.names.Verdict(ctx, t.host)
}

// through says how far to look into what passes to a port.
func through(v packet.Verdict, port uint16) packet.Through {
	for _, p := range v.Passing {
		if p.Port == port {
			return p.Through
		}
	}
	return packet.HTTP
}

// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"unicode"

	"github.com/clawsup/clawsup/supervisor/visible"
)

// MaxName bounds a name, in bytes (RFC 1035, section 2.3.4, without the length
// bytes and the root). MaxLabel bounds what stands between its dots.
const (
	MaxName  = 253
	MaxLabel = 63
)

// ErrHost reports a host that is neither a name nor an address in the one
// spelling.
var ErrHost = errors.New("no host")

// ParseLiteral reads a host, without brackets and port, as an address. It is
// one only if it is spelled as net/netip writes it. Whatever else inet_aton(3)
// or the parser of URLs (https://url.spec.whatwg.org, "host parsing") would
// take for an address is an error, never a name: 2130706433, 0177.0.0.1, 0x7f.1,
// 127.1, 127.0.0.1 with a dot behind it, brackets, a zone, percent-encoding,
// digits of other scripts. With false and no error it is no address to anybody.
func ParseLiteral(host string) (a netip.Addr, ok bool, err error) {
	a, err = netip.ParseAddr(host)
	switch {
	case err == nil && a.Zone() != "":
		return netip.Addr{}, false, fmt.Errorf("%w: %s is an address with a zone", ErrHost, visible.Quote(clip(host)))
	case err == nil && a.String() == host:
		return a, true, nil
	case err == nil:
		return netip.Addr{}, false, fmt.Errorf("%w: %s is another spelling of the address %s", ErrHost, visible.Quote(clip(host)), a)
	case strings.ContainsAny(host, ":[]"):
		return netip.Addr{}, false, fmt.Errorf("%w: %s has colons or brackets and is no IPv6 address", ErrHost, visible.Quote(clip(host)))
	case readsAsAddress(host):
		return netip.Addr{}, false, fmt.Errorf("%w: %s may be taken for an address: write it in full, as in 192.0.2.1", ErrHost, visible.Quote(clip(host)))
	}
	return netip.Addr{}, false, nil
}

// readsAsAddress reports whether a lenient parser would see numbers in a host.
// What is not ASCII is folded roughly: Name refuses all of it anyway.
func readsAsAddress(host string) bool {
	if plain, err := url.PathUnescape(host); err == nil {
		host = plain
	}
	host = strings.Map(func(r rune) rune {
		switch {
		case r == '。' || r == '．' || r == '｡': // UTS #46 maps these to a dot
			return '.'
		case r >= 'Ａ' && r <= 'ｚ': // full-width forms
			return unicode.ToLower(r - 'Ａ' + 'A')
		case r > unicode.MaxASCII && unicode.Is(unicode.N, r):
			return '1'
		case unicode.In(r, unicode.C, unicode.Z, unicode.M): // dropped by some
			return -1
		}
		return unicode.ToLower(r)
	}, host)
	if strings.ContainsAny(host, ":[]") {
		return true
	}
	// One number at the end makes an address of the whole, or a mistake; what
	// begins like a hexadecimal number counts as one.
	host = strings.TrimRight(host, ".")
	label := host[strings.LastIndexByte(host, '.')+1:]
	return label != "" && (strings.HasPrefix(label, "0x") || strings.Trim(label, "0123456789") == "")
}

// Name gives the one spelling of a host's name: in lower case, without the dot
// at its end. It is the one that rules are written in (package policy). A name
// in another script has to come in its ASCII form, as resolvers know it.
func Name(host string) (string, error) {
	fail := func(why string) (string, error) {
		return "", fmt.Errorf("%w: %s %s", ErrHost, visible.Quote(clip(host)), why)
	}
	name := strings.TrimSuffix(host, ".")
	if len(name) > MaxName {
		return fail(fmt.Sprintf("has more than %d bytes", MaxName))
	}
	lower := []byte(name)
	letter := false // in the last label
	start := 0      // of the label
	for i := 0; i <= len(lower); i++ {
		if i == len(lower) || lower[i] == '.' {
			switch n := i - start; {
			case n == 0:
				return fail("has an empty part: want a name such as api.example.com")
			case n > MaxLabel:
				return fail(fmt.Sprintf("has a part of more than %d bytes", MaxLabel))
			case lower[start] == '-' || lower[i-1] == '-':
				return fail("has a hyphen at an end of a part")
			}
			if i < len(lower) {
				start, letter = i+1, false
			}
			continue
		}
		switch c := lower[i]; {
		case 'A' <= c && c <= 'Z':
			lower[i] = c - 'A' + 'a'
			letter = true
		case 'a' <= c && c <= 'z':
			letter = true
		case '0' <= c && c <= '9' || c == '-' || c == '_':
		case c > unicode.MaxASCII:
			return fail("is not ASCII: write it in its ASCII form, which begins with xn--")
		default:
			return fail("has a character that names don't have: want letters, digits and hyphens between dots")
		}
	}
	if !letter || strings.HasPrefix(string(lower[start:]), "0x") {
		return fail("ends in a number, so that some would take it for an address")
	}
	return string(lower), nil
}

// clip bounds what an error repeats of its input.
func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}

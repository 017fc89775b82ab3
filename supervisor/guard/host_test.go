// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/supervisor/guard"
	"github.com/clawsup/clawsup/supervisor/policy"
)

var addresses = []string{"127.0.0.1", "8.8.8.8", "0.0.0.0", "::", "::1", "::ffff:127.0.0.1", "2001:db8::1", "64:ff9b::7f00:1"}

var disguises = []string{
	"2130706433", "0", "1", "017700000001", "0x7f000001", "0x7F.1", "0x", "0X7f.0.0.1", "foo.0x", "foo.0x7f", "127.1", "127.0.1",
	"0177.0.0.1", "127.0.0.01", "127.0.0.1.", "127.0.0.1..", "127.1.", "1.2.3.4.5", "999.1.1.1", "256.0.0.1", "4294967296", "foo.1", "foo.bar.09",
	"[::1]", "[127.0.0.1]", "[::ffff:127.0.0.1", "::1%lo", "fe80::1%25eth0", "fe80::1%1", "::FFFF:127.0.0.1", "0:0:0:0:0:0:0:1", "::01", "::ffff:7f00:1", "2001:DB8::1",
	":::", "1:2", "localhost:80", "127.0.0.1:80", "::127.0.0.01",
	"127.0.0.%31", "%31%32%37.0.0.1", "127%2e0%2E0%2e1", "%5b::1%5d",
	"１２７.0.0.1", "127。0。0。1", "127．0．0．１", "127｡1", "①②⑦.①", "０ｘ７ｆ.1", "1\u00ad27.0.0.1", "127.0.0.1\u200b", "127.0.0.𝟏", "127.0.0.¹", "127.0.0.1 ", "127.0.0.1\n", "foo.٣",
}

func TestParseLiteral(t *testing.T) {
	for _, s := range addresses {
		if a, ok, err := guard.ParseLiteral(s); !ok || err != nil || a != netip.MustParseAddr(s) {
			t.Errorf("%s: %s, %v, %v", s, a, ok, err)
		}
	}
	for _, s := range disguises {
		if a, ok, err := guard.ParseLiteral(s); ok || !errors.Is(err, guard.ErrHost) {
			t.Errorf("%q: %s, %v, %v", s, a, ok, err)
		}
		if name, err := guard.Name(s); err == nil {
			t.Errorf("%q is the name %s", s, name)
		}
	}
	for _, s := range []string{"example.com", "example.com.", "localhost", "1.example", "a1", "0x.com", "127.0.0.1.example.com", "1e3", "dead.beef", "münchen.example", "", "."} {
		if a, ok, err := guard.ParseLiteral(s); ok || err != nil {
			t.Errorf("%q: %s, %v, %v", s, a, ok, err)
		}
	}
}

func TestName(t *testing.T) {
	label := strings.Repeat("a", guard.MaxLabel)
	long := strings.Join([]string{label, label, label, label[:guard.MaxName-3*guard.MaxLabel-3]}, ".")
	for _, c := range []struct{ host, want string }{
		{"example.com", "example.com"},
		{"Example.COM", "example.com"},
		{"example.com.", "example.com"},
		{"localhost", "localhost"},
		{"_dmarc.example.com", "_dmarc.example.com"},
		{"xn--mnchen-3ya.example", "xn--mnchen-3ya.example"},
		{"XN--mnchen-3ya.example", "xn--mnchen-3ya.example"},
		{"1.2.3.4.example", "1.2.3.4.example"},
		{label + ".example", label + ".example"},
		{long, long},
		{long + ".", long},

		{"", ""}, {".", ""}, {"..", ""}, {"example..com", ""}, {".example.com", ""}, {"example.com..", ""},
		{"-a.example", ""}, {"a-.example", ""}, {"a.-", ""}, {"*.example.com", ""},
		{label + "a.example", ""}, {long + "a", ""},
		{"exa mple.com", ""}, {"example.com\n", ""}, {"example.com\x00", ""}, {"a/b", ""}, {"a@b.example", ""}, {"a\\b", ""}, {"%65xample.com", ""},
		{"example.com:443", ""}, {"münchen.example", ""}, {"exam\u200bple.com", ""}, {"exаmple.com", ""}, {"example。com", ""}, {"\xff.example", ""}, {"\u212Aelvin.example", ""},
		{"1", ""}, {"a.1", ""}, {"a.0x1", ""}, {"a.0xyz", ""}, {"a.1-1", ""}, {"a._", ""},
	} {
		got, err := guard.Name(c.host)
		if got != c.want || (err == nil) != (c.want != "") || err != nil && !errors.Is(err, guard.ErrHost) {
			t.Errorf("%q: %q, %v; want %q", c.host, got, err, c.want)
		}
		if err != nil && len(err.Error()) > 1200 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	}
	if _, err := guard.Name("münchen.example"); err == nil || !strings.Contains(err.Error(), "xn--") {
		t.Errorf("no hint: %v", err)
	}
}

// lenient is how inet_aton(3) reads, with any number of parts: a name must not
// be one of these to anybody.
func lenient(host string) bool {
	for part := range strings.SplitSeq(strings.TrimSuffix(host, "."), ".") {
		_, err := strconv.ParseUint(part, 0, 64)
		if err != nil || strings.Contains(part, "_") || len(part) > 1 && strings.ContainsRune("bBoO", rune(part[1])) { // Go's own
			return false
		}
	}
	return true
}

// What is a name here is one to package policy in the same spelling, and no
// address to anybody; there is nothing that is both.
func FuzzHost(f *testing.F) {
	for _, s := range addresses {
		f.Add(s)
	}
	for _, s := range disguises {
		f.Add(s)
	}
	for _, s := range []string{"Example.com.", "_a.b-c", "a.0x1", "xn--a", "a..b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		a, literal, errLiteral := guard.ParseLiteral(host)
		name, errName := guard.Name(host)
		if literal && (errLiteral != nil || errName == nil || a.String() != host) {
			t.Errorf("%q is an address %s, %v, and a name %q", host, a, errLiteral, name)
		}
		if errLiteral != nil && errName == nil {
			t.Errorf("%q is the name %q, and %v", host, name, errLiteral)
		}
		ruled := policy.Subject{Effect: policy.NetConnect, Target: host + ":443"}.Check() == nil
		if canonical := errName == nil && name == host; ruled != canonical && !(literal && a.Is4()) && !strings.Contains(host, ":") {
			t.Errorf("%q: to package policy %v, here %v (%q, %v)", host, ruled, canonical, name, errName)
		}
		if errName != nil {
			return
		}
		if again, err := guard.Name(name); err != nil || again != name {
			t.Errorf("%q became %q, and that %q, %v", host, name, again, err)
		}
		if net.ParseIP(name) != nil || lenient(name) {
			t.Errorf("%q is the name %q, and an address", host, name)
		}
	})
}

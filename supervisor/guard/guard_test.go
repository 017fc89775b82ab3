// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"errors"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

func prefixes(list ...string) (named []netip.Prefix) {
	for _, s := range list {
		named = append(named, netip.MustParsePrefix(s))
	}
	return named
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		address string
		named   []netip.Prefix
		row     string // that refuses; empty: it is allowed
	}{
		{"8.8.8.8", nil, ""},
		{"1.1.1.1", nil, ""},
		{"9.255.255.255", nil, ""},
		{"11.0.0.0", nil, ""},
		{"172.15.255.255", nil, ""},
		{"172.32.0.0", nil, ""},
		{"198.17.255.255", nil, ""},
		{"198.20.0.0", nil, ""},
		{"223.255.255.255", nil, ""},
		{"2606:4700::1111", nil, ""},
		{"2a00:1450:4001::1", nil, ""},

		{"0.0.0.0", nil, "0.0.0.0/8"},
		{"0.1.2.3", nil, "0.0.0.0/8"},
		{"10.255.255.255", nil, "10.0.0.0/8"},
		{"100.64.0.1", nil, "100.64.0.0/10"},
		{"100.100.100.200", nil, "100.100.100.200/32"},
		{"127.0.0.1", nil, "127.0.0.0/8"},
		{"127.255.255.254", nil, "127.0.0.0/8"},
		{"168.63.129.16", nil, "168.63.129.16/32"},
		{"169.254.1.1", nil, "169.254.0.0/16"},
		{"169.254.169.254", nil, "169.254.169.254/32"},
		{"172.16.0.0", nil, "172.16.0.0/12"},
		{"172.31.255.255", nil, "172.16.0.0/12"},
		{"192.0.0.8", nil, "192.0.0.0/24"},
		{"192.0.2.1", nil, "192.0.2.0/24"},
		{"192.88.99.1", nil, "192.88.99.0/24"},
		{"192.168.1.1", nil, "192.168.0.0/16"},
		{"198.18.0.1", nil, "198.18.0.0/15"},
		{"198.19.255.255", nil, "198.18.0.0/15"},
		{"198.51.100.1", nil, "198.51.100.0/24"},
		{"203.0.113.1", nil, "203.0.113.0/24"},
		{"224.0.0.1", nil, "224.0.0.0/4"},
		{"239.255.255.255", nil, "224.0.0.0/4"},
		{"240.0.0.1", nil, "240.0.0.0/4"},
		{"255.255.255.255", nil, "255.255.255.255/32"},

		{"::", nil, "::/128"},
		{"::1", nil, "::1/128"},
		{"::127.0.0.1", nil, "::/96"},
		{"::8.8.8.8", nil, "::/96"},
		{"::ffff:8.8.8.8", nil, "::ffff:0.0.0.0/96"},
		{"::ffff:127.0.0.1", nil, "::ffff:0.0.0.0/96"},
		{"::ffff:0:127.0.0.1", nil, "::/3"},
		{"64:ff9b::8.8.8.8", nil, "64:ff9b::/96"},
		{"64:ff9b:1::1", nil, "64:ff9b:1::/48"},
		{"100::1", nil, "100::/64"},
		{"100:0:0:1::1", nil, "100:0:0:1::/64"},
		{"2001::1", nil, "2001::/32"},
		{"2001:2::1", nil, "2001:2::/48"},
		{"2001:10::1", nil, "2001:10::/28"},
		{"2001:20::1", nil, "2001:20::/28"},
		{"2001:1ff::1", nil, "2001::/23"},
		{"2001:200::1", nil, ""},
		{"2001:db8::1", nil, "2001:db8::/32"},
		{"2002:7f00:1::1", nil, "2002::/16"},
		{"3fff:fff::1", nil, "3fff::/20"},
		{"3fff:1000::1", nil, ""},
		{"4000::1", nil, "4000::/2"},
		{"5f00::1", nil, "5f00::/16"},
		{"8000::1", nil, "8000::/1"},
		{"fc00::1", nil, "fc00::/7"},
		{"fd00:ec2::254", nil, "fd00:ec2::254/128"},
		{"fe80::1", nil, "fe80::/10"},
		{"fec0::1", nil, "fec0::/10"},
		{"ff02::1", nil, "ff00::/8"},

		// Named.
		{"10.1.2.3", prefixes("10.1.2.0/24"), ""},
		{"10.1.3.3", prefixes("10.1.2.0/24"), "10.0.0.0/8"},
		{"10.1.3.3", prefixes("192.168.0.0/16", "10.0.0.0/8"), ""},
		{"10.1.2.3", prefixes("0.0.0.0/0"), "10.0.0.0/8"},
		{"10.1.2.3", prefixes("8.0.0.0/5"), "10.0.0.0/8"},
		{"127.0.0.1", prefixes("127.0.0.1/32"), ""},
		{"127.0.0.2", prefixes("127.0.0.1/32"), "127.0.0.0/8"},
		{"169.254.1.1", prefixes("169.254.0.0/16"), ""},
		{"169.254.169.254", prefixes("169.254.0.0/16"), "169.254.169.254/32"},
		{"169.254.169.254", prefixes("169.254.169.254/32"), ""},
		{"fd00:ec2::254", prefixes("fc00::/7"), "fd00:ec2::254/128"},
		{"fd12::1", prefixes("fd12::/16"), ""},
		{"198.18.0.1", prefixes("198.18.0.0/15", "198.18.0.1/32"), "198.18.0.0/15"},
		{"224.0.0.1", prefixes("224.0.0.1/32"), "224.0.0.0/4"},
		{"255.255.255.255", prefixes("240.0.0.0/4", "255.255.255.255/32"), "255.255.255.255/32"},
		{"0.0.0.0", prefixes("0.0.0.0/0", "0.0.0.0/8", "0.0.0.0/32"), "0.0.0.0/8"},
		{"::1", prefixes("::/0"), "::1/128"},
		{"::ffff:10.0.0.1", prefixes("10.0.0.0/8", "::ffff:0:0/96", "::/0"), "::ffff:0.0.0.0/96"},
		{"fe80::1", prefixes("fe80::/10"), "fe80::/10"},

		// Both the address and the one in it.
		{"64:ff9b::8.8.8.8", prefixes("64:ff9b::/96"), ""},
		{"64:ff9b::10.0.0.1", prefixes("64:ff9b::/96"), "10.0.0.0/8"},
		{"64:ff9b::10.0.0.1", prefixes("10.0.0.0/8"), "64:ff9b::/96"},
		{"64:ff9b::10.0.0.1", prefixes("64:ff9b::/96", "10.0.0.0/8"), ""},
		{"64:ff9b::169.254.169.254", prefixes("64:ff9b::/96", "169.254.0.0/16"), "169.254.169.254/32"},
		{"64:ff9b::198.18.0.9", prefixes("64:ff9b::/96", "198.18.0.0/15"), "198.18.0.0/15"},
	} {
		err := Check(netip.MustParseAddr(c.address), c.named)
		var refused *Error
		switch {
		case c.row == "" && err != nil:
			t.Errorf("%s, %v: %v", c.address, c.named, err)
		case c.row != "" && !errors.As(err, &refused):
			t.Errorf("%s, %v: %v, want a refusal of %s", c.address, c.named, err, c.row)
		case c.row != "" && refused.Row.Prefix.String() != c.row:
			t.Errorf("%s, %v: %v, want %s", c.address, c.named, err, c.row)
		case c.row != "" && (refused.Row.Name == "" || refused.Row.Source == "" || strings.Contains(err.Error(), "invalid")):
			t.Errorf("%s: says too little: %v", c.address, err)
		}
	}
}

func TestCheckOfNoPlainAddress(t *testing.T) {
	for _, a := range []netip.Addr{{}, netip.MustParseAddr("2606:4700::1111%eth0"), netip.MustParseAddr("fe80::1%1")} {
		if err := Check(a, prefixes("::/0", "fe80::/10")); err == nil {
			t.Errorf("%s is allowed", a)
		}
	}
}

func TestCheckHost(t *testing.T) {
	own := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("8.8.4.4"), netip.MustParseAddr("2606:4700::1")}
	for _, c := range []struct {
		address string
		named   []netip.Prefix
		ok      bool
	}{
		{"8.8.8.8", nil, true},
		{"8.8.4.4", nil, false},
		{"8.8.4.4", prefixes("8.8.4.0/24", "0.0.0.0/0"), false},
		{"8.8.4.4", prefixes("8.8.4.4/32"), true},
		{"2606:4700::1", nil, false},
		{"2606:4700::2", nil, true},
		{"10.0.0.5", prefixes("10.0.0.0/8"), false},
		{"10.0.0.6", prefixes("10.0.0.0/8"), true},
		{"10.0.0.5", prefixes("10.0.0.5/32"), true},
		{"127.0.0.1", prefixes("127.0.0.0/8"), false},
		{"64:ff9b::8.8.4.4", prefixes("64:ff9b::/96"), false},
		{"64:ff9b::8.8.4.5", prefixes("64:ff9b::/96"), true},
	} {
		if err := CheckHost(netip.MustParseAddr(c.address), own, c.named); (err == nil) != c.ok {
			t.Errorf("%s, %v: %v", c.address, c.named, err)
		}
	}
}

func TestCheckNamed(t *testing.T) {
	for _, c := range []struct {
		network, says string // empty: it can be named
	}{
		{"10.0.0.0/8", ""},
		{"10.1.2.0/24", ""},
		{"127.0.0.1/32", ""},
		{"169.254.169.254/32", ""},
		{"fd00::/8", ""},
		{"64:ff9b::/96", ""},
		{"10.1.2.3/24", "without bits"},
		{"0.0.0.0/0", "reaches beyond"},
		{"192.0.0.0/8", "reaches beyond"},
		{"::/0", "reaches beyond"},
		{"8.8.8.0/24", "needs no naming"},
		{"198.18.0.0/16", "no rule can open"},
		{"224.0.0.1/32", "no rule can open"},
		{"::ffff:10.0.0.0/104", "no rule can open"},
	} {
		err := CheckNamed(netip.MustParsePrefix(c.network))
		if (c.says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.network, err, c.says)
		}
	}
	if CheckNamed(netip.Prefix{}) == nil {
		t.Error("no network can be named")
	}
}

func TestTableIsExact(t *testing.T) {
	seen := map[netip.Prefix]bool{}
	for _, r := range Table() {
		if seen[r.Prefix] || r.Prefix != r.Prefix.Masked() || r.Name == "" || r.Source == "" {
			t.Errorf("%+v", r)
		}
		seen[r.Prefix] = true
	}
}

// What is public and what is in the table are everything together, and have
// nothing in common.
func TestPublicIsTheRest(t *testing.T) {
	list := Public()
	if len(list) == 0 {
		t.Fatal("nothing is public")
	}
	total := new(big.Int)
	last := netip.Addr{}
	for _, p := range list {
		if last.IsValid() && !last.Less(p.Addr()) {
			t.Errorf("%s is out of order", p)
		}
		last = p.Addr()
		for _, r := range table {
			if r.Prefix.Overlaps(p) {
				t.Errorf("%s is public, and %s", p, r.Name)
			}
		}
		total.Add(total, new(big.Int).Lsh(big.NewInt(1), uint(32-p.Bits())))
	}
	for i, r := range table {
		widest := r.Prefix.Addr().Is4()
		for j, o := range table {
			widest = widest && (i == j || !o.covers(r.Prefix))
		}
		if widest {
			total.Add(total, new(big.Int).Lsh(big.NewInt(1), uint(32-r.Prefix.Bits())))
		}
	}
	if total.Cmp(big.NewInt(1<<32)) != 0 {
		t.Errorf("together %s addresses, want %d", total, 1<<32)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		n := random.Uint32()
		a := netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
		public := false
		for _, p := range list {
			public = public || p.Contains(a)
		}
		if allowed := Check(a, nil) == nil; allowed != public {
			t.Fatalf("%s: public %v, allowed %v", a, public, allowed)
		}
	}
	list[0] = netip.Prefix{}
	if !Public()[0].IsValid() {
		t.Error("callers share the list")
	}
}

// No form of an address that is not allowed by itself is allowed.
func FuzzCheck(f *testing.F) {
	f.Add([]byte{127, 0, 0, 1}, []byte{10, 0, 0, 0}, 8)
	f.Add(netip.MustParseAddr("64:ff9b::7f00:1").AsSlice(), netip.MustParseAddr("64:ff9b::").AsSlice(), 96)
	f.Fuzz(func(t *testing.T, address, network []byte, bits int) {
		a, ok := netip.AddrFromSlice(address)
		if !ok {
			return
		}
		var named []netip.Prefix
		if n, ok := netip.AddrFromSlice(network); ok {
			if p, err := n.Prefix(bits); err == nil {
				named = append(named, p)
			}
		}
		err := Check(a, named)
		row, special := Find(a)
		switch {
		case err == nil && !special:
		case err == nil && !row.Nameable:
			t.Errorf("%s is allowed, %v", a, row)
		case err == nil && (len(named) == 0 || !named[0].Contains(a)):
			t.Errorf("%s is allowed, and was not named", a)
		case err != nil && !special:
			t.Errorf("%s: %v", a, err)
		}
		if Check(a, nil) == nil && Check(a, named) != nil {
			t.Errorf("naming %v closed %s", named, a)
		}
		if a.Is4() && Check(netip.AddrFrom16(a.As16()), named) == nil {
			t.Errorf("%s is allowed mapped", a)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	a := netip.MustParseAddr("8.8.8.8")
	for b.Loop() {
		if Check(a, nil) != nil {
			b.Fatal("refused")
		}
	}
}

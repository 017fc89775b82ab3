// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
)

func TestIntervals(t *testing.T) {
	for _, c := range []struct {
		prefixes []string
		want     []interval
	}{
		{nil, nil},
		{[]string{"2001:db8::/32", "::ffff:1.0.0.0/104"}, nil},
		{[]string{"1.2.3.4/32"}, []interval{{0x01020304, 0x01020305}}},
		{[]string{"1.2.3.4/8"}, []interval{{0x01000000, 0x02000000}}},
		{[]string{"0.0.0.0/0", "10.0.0.0/8"}, []interval{{0, 1 << 32}}},
		{[]string{"10.1.0.0/16", "10.0.0.0/8"}, []interval{{0x0a000000, 0x0b000000}}},
		{[]string{"11.0.0.0/8", "10.0.0.0/8"}, []interval{{0x0a000000, 0x0c000000}}},
		{[]string{"240.0.0.0/4", "10.0.0.0/8"}, []interval{{0x0a000000, 0x0b000000}, {0xf0000000, 1 << 32}}},
	} {
		var list []netip.Prefix
		for _, p := range c.prefixes {
			list = append(list, netip.MustParsePrefix(p))
		}
		if got := intervals(list); !slices.Equal(got, c.want) {
			t.Errorf("%v: %x, want %x", c.prefixes, got, c.want)
		}
	}
}

// An address is in an interval if, and only if, it is in a prefix, and the
// intervals stay apart.
func FuzzIntervals(f *testing.F) {
	f.Add([]byte{10, 0, 0, 0, 8, 10, 1, 0, 0, 16}, uint32(0x0a010203))
	f.Add([]byte{255, 255, 255, 255, 32}, uint32(0xffffffff))
	f.Fuzz(func(t *testing.T, b []byte, n uint32) {
		var list []netip.Prefix
		for ; len(b) >= 5; b = b[5:] {
			list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte(b[:4])), int(b[4]%33)))
		}
		got := intervals(list)
		for i := range got {
			if got[i].first >= got[i].after || i > 0 && got[i-1].after >= got[i].first {
				t.Fatalf("%v: %x", list, got)
			}
		}
		addr := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n)))
		in := slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(addr) })
		has := slices.ContainsFunc(got, func(i interval) bool { return uint64(n) >= i.first && uint64(n) < i.after })
		if in != has {
			t.Errorf("%v in %v: %v, in %x: %v", addr, list, in, got, has)
		}
	})
}

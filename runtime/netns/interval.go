// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// interval is a range of IPv4 addresses. They are wider than an address, so
// that the end of the last has a number.
type interval struct{ first, after uint64 }

// intervals gives the union of the prefixes' IPv4 networks: in order, apart from
// each other.
func intervals(prefixes []netip.Prefix) []interval {
	var list []interval
	for _, p := range prefixes {
		if !p.Addr().Is4() {
			continue
		}
		a := p.Masked().Addr().As4()
		first := uint64(binary.BigEndian.Uint32(a[:]))
		list = append(list, interval{first, first + 1<<(32-p.Bits())})
	}
	slices.SortFunc(list, func(a, b interval) int { return int(int64(a.first) - int64(b.first)) })
	merged := list[:0]
	for _, i := range list {
		if n := len(merged); n > 0 && i.first <= merged[n-1].after {
			merged[n-1].after = max(merged[n-1].after, i.after)
			continue
		}
		merged = append(merged, i)
	}
	return merged
}

// key is an address as the kernel compares it.
func key(n uint64) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }

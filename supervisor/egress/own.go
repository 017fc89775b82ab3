// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// own are the addresses of the host's interfaces, which no box reaches unless a
// rule names one.
type own struct {
	mu   sync.Mutex
	list []netip.Addr // mu
	read time.Time    // mu; the zero time: never
}

// ownLife is for how long the addresses are taken to be the same.
const ownLife = 2 * time.Second

// addresses reads them, in the host's network namespace, unless that was done a
// moment ago. Without them nothing can be judged.
func (o *own) addresses(now time.Time) ([]netip.Addr, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.read.IsZero() && now.Sub(o.read) < ownLife {
		return o.list, nil
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("addresses of the host: %w", err)
	}
	var list []netip.Addr
	for _, a := range all {
		prefix, ok := a.(*net.IPNet)
		if !ok {
			return nil, fmt.Errorf("addresses of the host: %v is none", a)
		}
		if ip, ok := netip.AddrFromSlice(prefix.IP); ok {
			list = append(list, ip.Unmap())
		}
	}
	o.list, o.read = list, now
	return list, nil
}

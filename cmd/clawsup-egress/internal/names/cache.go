// SPDX-License-Identifier: Apache-2.0

package names

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// Bounds of a Cache. An answer is kept for as long as it says, within minTTL
// and maxTTL; that a name has no address for minTTL.
const (
	minTTL     = 5 * time.Second
	maxTTL     = 5 * time.Minute
	maxCached  = 1024
	maxLookups = packet.MaxLookups / 2 // at one time, with a socket for each family; the others wait
)

// Cache is a Lookup that remembers, for all boxes of one helper: they share
// the host's resolvers, which remember as well. Several who look up one name at a
// time look up once. It may be used by several goroutines.
type Cache struct {
	room chan struct{} // one for each lookup

	mu    sync.Mutex
	names map[string]*cached // mu
}

type cached struct {
	done      chan struct{} // closed when the rest is there
	addresses []netip.Addr
	err       error
	until     time.Time // before which it may be repeated
}

func (c *cached) settled() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// NewCache makes an empty one.
func NewCache() *Cache {
	return &Cache{room: make(chan struct{}, maxLookups), names: map[string]*cached{}}
}

// Lookup is the function of that name. dial need only be good for this call.
func (c *Cache) Lookup(ctx context.Context, dial Dial, servers int, name string) ([]netip.Addr, error) {
	for {
		entry, mine := c.enter(name, time.Now())
		if mine {
			c.fill(ctx, entry, dial, servers, name)
		}
		select {
		case <-entry.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		// That another went away before there was an answer says nothing to this one.
		if mine || entry.err == nil || errors.Is(entry.err, ErrNoAddress) || errors.Is(entry.err, ErrNoResolver) {
			return slices.Clone(entry.addresses), entry.err
		}
	}
}

// enter finds what there is about a name, or makes room for it, to be filled
// by the caller.
func (c *Cache) enter(name string, now time.Time) (entry *cached, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if entry, ok := c.names[name]; ok && (!entry.settled() || now.Before(entry.until)) {
		return entry, false
	}
	if len(c.names) >= maxCached {
		for n, old := range c.names {
			if old.settled() && !now.Before(old.until) {
				delete(c.names, n)
			}
		}
		for n := range c.names { // who waits for one keeps hold of it
			if len(c.names) < maxCached {
				break
			}
			delete(c.names, n)
		}
	}
	entry = &cached{done: make(chan struct{})}
	c.names[name] = entry
	return entry, true
}

func (c *Cache) fill(ctx context.Context, entry *cached, dial Dial, servers int, name string) {
	defer close(entry.done)
	select {
	case c.room <- struct{}{}:
		defer func() { <-c.room }()
	case <-ctx.Done():
		entry.err = ctx.Err()
		return
	}
	f, err := lookup(ctx, dial, servers, name)
	entry.addresses, entry.err = f.addresses, err
	switch {
	case err == nil:
		entry.until = time.Now().Add(min(max(time.Duration(f.ttl)*time.Second, minTTL), maxTTL))
	case errors.Is(err, ErrNoAddress):
		entry.until = time.Now().Add(minTTL)
	}
}

// SPDX-License-Identifier: Apache-2.0

package names

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
)

// Range is where the addresses of names are (RFC 2544): a network that nothing
// in the world is in, so that no name's address is somebody's. Resolver is its
// address that has no name: where the box reaches the helper itself.
var (
	Range    = netip.MustParsePrefix("198.18.0.0/15")
	Resolver = netip.MustParseAddr("198.18.0.1")
)

const (
	rangeBase = 198<<24 | 18<<16
	firstSlot = 2 // behind the network's address and Resolver
	slots     = 1<<17 - firstSlot
)

// MaxNames bounds a Table; MaxNameBytes all its names together: one helper keeps
// those of every box.
const (
	MaxNames     = 4096
	MaxNameBytes = 64 * MaxNames
)

// ErrFull reports a Table that has MaxNames or MaxNameBytes.
var ErrFull = errors.New("the box has asked for more names than it may have")

// Table binds names to addresses of Range, both ways, for one box. What is
// bound stays so. It may be used by several goroutines.
//
// Addresses are given out one behind the other from a random one. After a
// restart of the helper, an address that a program has kept leads to no name
// mostly, and rarely to another than before.
type Table struct {
	first uint32 // slot of the first name

	mu    sync.RWMutex
	names []string       // mu; by order
	order map[string]int // mu; by name
	bytes int            // mu; of all names
}

// NewTable makes an empty one.
func NewTable() *Table {
	var seed [8]byte
	_, _ = rand.Read(seed[:]) // never fails
	return &Table{first: uint32(binary.LittleEndian.Uint64(seed[:]) % slots), order: map[string]int{}}
}

// Address gives the address of a name, which it binds if it has none yet. The name is
// spelled as package guard's Name gives it. The error is ErrFull.
func (t *Table) Address(name string) (netip.Addr, error) {
	t.mu.RLock()
	i, ok := t.order[name]
	t.mu.RUnlock()
	if ok {
		return t.address(i), nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i, ok = t.order[name]
	if !ok {
		if len(t.names) >= MaxNames || t.bytes+len(name) > MaxNameBytes {
			return netip.Addr{}, ErrFull
		}
		t.bytes += len(name)
		i = len(t.names)
		t.names = append(t.names, name)
		t.order[name] = i
	}
	return t.address(i), nil
}

func (t *Table) address(i int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], rangeBase+firstSlot+(t.first+uint32(i))%slots)
	return netip.AddrFrom4(b)
}

// Name gives the name that an address is bound to.
func (t *Table) Name(a netip.Addr) (name string, ok bool) {
	if !Range.Contains(a) {
		return "", false
	}
	b := a.As4()
	slot := binary.BigEndian.Uint32(b[:]) - rangeBase
	if slot < firstSlot {
		return "", false
	}
	i := int((slot - firstSlot + slots - t.first) % slots)
	t.mu.RLock()
	defer t.mu.RUnlock()
	if i >= len(t.names) {
		return "", false
	}
	return t.names[i], true
}

// Has reports whether a name has an address.
func (t *Table) Has(name string) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	_, ok := t.order[name]
	return ok
}

// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"sync/atomic"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// allowance bounds a number of things at one time.
type allowance struct {
	most int64
	used atomic.Int64
}

// take takes n, or nothing.
func (a *allowance) take(n int64) bool {
	if a.used.Add(n) > a.most {
		a.used.Add(-n)
		return false
	}
	return true
}

func (a *allowance) give(n int64) { a.used.Add(-n) }

// claim takes n for one of several, of its own and of what all have together, or
// nothing: also nothing where it would have more than it leaves for others (see
// packet.Leaves).
func claim(own, all *allowance, n int64) bool {
	if !own.take(n) {
		return false
	}
	if !all.take(n) {
		own.give(n)
		return false
	}
	if own.used.Load() > all.most-all.used.Load() {
		give(own, all, n)
		return false
	}
	return true
}

// give gives back what was claimed.
func give(own, all *allowance, n int64) {
	own.give(n)
	all.give(n)
}

// meter counts the bytes of a box, and bounds them.
type meter struct {
	most  [2]int64 // out, in; 0: no bound
	moved [2]atomic.Int64
	over  atomic.Bool // there was one byte too many: nothing moves any more
}

// The directions, as boxed.Pass numbers them where the box is the first end.
const (
	out = 0
	in  = 1
)

// take counts bytes before they are passed on. errCap: they may not be.
func (m *meter) take(direction int, n int64) error {
	if moved := m.moved[direction].Add(n); m.most[direction] > 0 && moved > m.most[direction] {
		m.over.Store(true)
	}
	if m.over.Load() {
		return errCap
	}
	return nil
}

// refusedError is a no of this package.
type refusedError struct {
	kind   packet.RefusalKind
	detail string
}

func (e *refusedError) Error() string { return e.detail }

var errCap = &refusedError{packet.RefusedCap, "the call's bound of bytes is reached"}

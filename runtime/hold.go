// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"sync"
	"time"
)

// Hold stops the wall clock of one call while something of it waits for a
// person. Its methods may be called from several goroutines, also before the
// call has begun and after it has ended: that changes nothing.
type Hold struct {
	most  time.Duration
	ended chan struct{} // told when a hold ends; one word is enough

	mu      sync.Mutex
	holders int           // mu
	since   time.Time     // mu; when the first of holders came
	sum     time.Duration // mu; of holds that have ended, at most most
}

// maxHold bounds what a call may be held for.
const maxHold = 7 * 24 * time.Hour

// NewHold gives one that stops the clock for most in sum, whatever is held
// after that.
func NewHold(most time.Duration) *Hold {
	return &Hold{most: most, ended: make(chan struct{}, 1)}
}

// Begin stops the clock until end is called. Holds may overlap: then it goes
// on when the last has ended. Another call of end does nothing.
func (h *Hold) Begin() (end func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.holders++; h.holders == 1 {
		h.since = time.Now()
	}
	return sync.OnceFunc(h.finish)
}

func (h *Hold) finish() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.holders--; h.holders > 0 {
		return
	}
	h.sum = h.until(time.Now())
	select {
	case h.ended <- struct{}{}:
	default:
	}
}

// until is what was held up to a moment, if somebody holds. The caller holds mu.
func (h *Hold) until(now time.Time) time.Duration {
	return min(h.sum+max(now.Sub(h.since), 0), h.most)
}

// at tells for how long the call was held up to a moment, and for how long it
// may be from then on if who holds it now does not end. No Hold holds nothing.
func (h *Hold) at(now time.Time) (held, ahead time.Duration) {
	if h == nil {
		return 0, 0
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.holders == 0 {
		return h.sum, 0
	}
	held = h.until(now)
	return held, h.most - held
}

// longest is how much later a call may end at most.
func (h *Hold) longest() time.Duration {
	if h == nil {
		return 0
	}
	return h.most
}

// changes has a word when a hold has ended: the clock goes on, sooner than at
// had to expect.
func (h *Hold) changes() <-chan struct{} {
	if h == nil {
		return nil
	}
	return h.ended
}

// clock is the wall clock of a running call.
type clock struct {
	begin  time.Time
	limit  time.Duration
	hold   *Hold
	before time.Duration // held before the call began
}

func newClock(call *Call, begin time.Time) clock {
	before, _ := call.Hold.at(begin)
	return clock{begin, call.WallTime, call.Hold, before}
}

// rest is how much is left, and when to look again: the clock may stand still.
func (c clock) rest(now time.Time) (rest, look time.Duration) {
	held, ahead := c.hold.at(now)
	rest = c.limit + held - c.before - now.Sub(c.begin)
	return rest, max(rest+ahead, 0)
}

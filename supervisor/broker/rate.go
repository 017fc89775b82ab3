// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"sync"
	"time"
)

// rates bounds how many calls a minute each caller begins. A caller may use a
// minute's worth at once and then gets them back one by one (a token bucket).
type rates struct {
	mu      sync.Mutex
	buckets map[string]*bucket // mu
}

type bucket struct {
	tokens float64
	filled time.Time
}

// maxBuckets bounds the table: full ones, which say nothing, are dropped then.
const maxBuckets = 1024

func newRates() *rates { return &rates{buckets: map[string]*bucket{}} }

// take says whether caller may begin another call now.
func (r *rates) take(caller string, perMinute int, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	most := float64(perMinute)
	b := r.buckets[caller]
	if b == nil {
		if len(r.buckets) >= maxBuckets {
			clear(r.buckets)
		}
		b = &bucket{most, now}
		r.buckets[caller] = b
	}
	if passed := now.Sub(b.filled); passed > 0 { // by the monotonic clock
		b.tokens = min(most, b.tokens+passed.Minutes()*most)
		b.filled = now
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

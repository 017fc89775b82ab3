// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"maps"
	"sync"
	"time"
)

// rates bounds how many of something each caller begins in a minute. A caller
// may use a minute's worth at once and then gets them back one by one (a token bucket).
type rates struct {
	mu      sync.Mutex
	buckets map[string]*bucket // mu
}

// bucket is full at first.
type bucket struct {
	tokens float64 // below 0: taken ahead
	filled time.Time
}

// fill gives back what has come since, of so many a minute, up to most.
func (b *bucket) fill(most, perMinute float64, now time.Time) {
	if b.filled.IsZero() {
		b.tokens, b.filled = most, now
	}
	if passed := now.Sub(b.filled); passed > 0 { // by the monotonic clock
		b.tokens = min(most, b.tokens+passed.Minutes()*perMinute)
		b.filled = now
	}
}

// take takes one if there is one.
func (b *bucket) take(most, perMinute float64, now time.Time) bool {
	b.fill(most, perMinute, now)
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// maxBuckets bounds the table: those of a minute ago and more, which are full
// again mostly, are dropped then, and if that is none all are.
const maxBuckets = 1024

func newRates() *rates { return &rates{buckets: map[string]*bucket{}} }

// take says whether caller may begin another one now.
func (r *rates) take(caller string, perMinute int, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of(caller, now).take(float64(perMinute), float64(perMinute), now)
}

// ahead takes one, and says how long caller has to wait for it.
func (r *rates) ahead(caller string, perMinute int, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.of(caller, now)
	b.fill(float64(perMinute), float64(perMinute), now)
	b.tokens--
	return max(0, time.Duration(-b.tokens/float64(perMinute)*float64(time.Minute)))
}

// of gives a caller's bucket. mu is held.
func (r *rates) of(caller string, now time.Time) *bucket {
	b := r.buckets[caller]
	if b == nil {
		if len(r.buckets) >= maxBuckets {
			maps.DeleteFunc(r.buckets, func(_ string, b *bucket) bool { return now.Sub(b.filled) >= time.Minute })
		}
		if len(r.buckets) >= maxBuckets {
			clear(r.buckets)
		}
		b = &bucket{}
		r.buckets[caller] = b
	}
	return b
}

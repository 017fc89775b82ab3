// SPDX-License-Identifier: Apache-2.0

package approval

import "time"

// bucket holds what one agent may ask at once. It starts full.
type bucket struct {
	tokens float64
	at     time.Time // when tokens was right, with a monotonic reading
}

// take takes a token if there is one, of burst in a full bucket, where one
// more comes after each every.
func (b *bucket) take(now time.Time, burst int, every time.Duration) bool {
	if b.at.IsZero() {
		b.tokens = float64(burst)
	} else {
		b.tokens += float64(now.Sub(b.at)) / float64(every)
	}
	b.at, b.tokens = now, min(b.tokens, float64(burst))
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

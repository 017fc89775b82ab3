// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"math"
	"time"
)

const (
	// rateSpan is the memory of a key's rate, which weighs keys against each other.
	rateSpan = time.Minute
	// A burst is remembered whole for peakWhole, so that one a minute finds its
	// boxes; then the memory halves every peakHalf.
	peakWhole = time.Minute
	peakHalf  = time.Minute
	// leastWindow is the least time that a replacement is taken to need. What
	// arrives within it is a burst, however fast this host is.
	leastWindow = 2 * time.Millisecond
)

// demand is what is known of how a key is asked for. Two decayed counts, each
// one multiplication per arrival: their memory doesn't grow with the rate.
type demand struct {
	last   time.Time     // of the latest arrival
	again  bool          // there was more than one
	rate   float64       // arrivals, decayed over rateSpan, at last
	burst  float64       // arrivals, decayed over the time that a replacement takes, at last
	peak   float64       // the highest burst of late,
	peaked time.Time     // and when it was
	held   time.Duration // mean of how long replacements waited for the end of the call
}

// arrive notes an arrival. making is how long a box takes to be made.
func (d *demand) arrive(now time.Time, making time.Duration) {
	if d.last.IsZero() {
		d.last, d.rate, d.burst, d.peak, d.peaked = now, 1, 1, 1, now
		return
	}
	passed := now.Sub(d.last)
	d.rate = d.rateAt(now) + 1
	d.burst = d.burst*math.Exp(-ratio(passed, max(d.held+making, leastWindow))) + 1
	if math.Round(d.burst) >= math.Round(d.peakAt(now)) {
		d.peak, d.peaked = d.burst, now
	}
	d.last, d.again = now, true
}

// ended notes how long a replacement waited for the end of the call.
func (d *demand) ended(held time.Duration) { d.held += (held - d.held) / 8 }

func (d *demand) rateAt(now time.Time) float64 {
	return d.rate * math.Exp(-ratio(now.Sub(d.last), rateSpan))
}

func (d *demand) peakAt(now time.Time) float64 {
	return d.peak * math.Exp2(-ratio(max(now.Sub(d.peaked)-peakWhole, 0), peakHalf))
}

// wanted is how many boxes should wait now.
func (d *demand) wanted(c *Config, now time.Time) int {
	if d.last.IsZero() || c.Idle > 0 && now.Sub(d.last) >= c.Idle {
		return 0
	}
	n := max(c.Least, 0)
	if d.again {
		// To the nearest: evenly spaced arrivals, slower than replacements, make
		// a little more than one.
		n = max(n, int(math.Round(min(d.peakAt(now), math.MaxInt32))))
	}
	return min(n, c.most())
}

// fewer is when, without further arrivals, wanted falls below n by the fading
// of the peak; idleness comes on top.
func (d *demand) fewer(n int) time.Time {
	halvings := math.Log2(d.peak / (float64(n) - 0.5))
	return d.peaked.Add(peakWhole + time.Duration(max(halvings, 0)*float64(peakHalf)))
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

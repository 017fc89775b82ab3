// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		values []float64
		q      float64
		want   float64
	}{
		{nil, 0.5, 0},
		{[]float64{7}, 0.99, 7},
		{[]float64{3, 1, 2}, 0.5, 2},
		{[]float64{4, 1, 3, 2}, 0.5, 2.5},
		{[]float64{4, 1, 3, 2}, 0, 1},
		{[]float64{4, 1, 3, 2}, 1, 4},
		{[]float64{0, 10}, 0.25, 2.5},
	} {
		if got := quantile(c.values, c.q); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("quantile(%v, %v) = %v, want %v", c.values, c.q, got, c.want)
		}
	}
}

// made gives a round in which each contestant's calls took the given
// milliseconds, and the slower unit block worse.
func made(worse int, walls map[string]int) round {
	r := round{blocks: make(map[string]block), worse: time.Duration(worse) * time.Millisecond}
	for name, ms := range walls {
		r.blocks[name] = block{samples: []sample{{wall: time.Duration(ms) * time.Millisecond}}}
	}
	return r
}

func TestQuietest(t *testing.T) {
	rounds := []round{made(10, nil), made(40, nil), made(11, nil), made(16, nil), made(10, nil)}
	// the lower quartile is 10, so that what is above 15 is noisy
	if got := noisyOf(rounds); got != 2 {
		t.Errorf("%d noisy rounds, want 2", got)
	}
	kept, noisy := quietest(rounds, 3)
	if len(kept) != 3 || noisy != 0 || kept[2].worse != 11*time.Millisecond {
		t.Errorf("kept %v with %d noisy, want the three quiet ones", kept, noisy)
	}
	kept, noisy = quietest(rounds, 4)
	if len(kept) != 4 || noisy != 1 {
		t.Errorf("kept %d with %d noisy, want 4 with 1", len(kept), noisy)
	}
	if kept, _ = quietest(rounds, 9); len(kept) != 5 {
		t.Errorf("kept %d of 5 rounds when 9 were asked for", len(kept))
	}
}

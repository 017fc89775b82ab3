// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"testing"
	"time"
)

const ms = time.Millisecond

func TestWanted(t *testing.T) {
	c := Default()
	for _, test := range []struct {
		name   string
		n      int           // arrivals,
		every  time.Duration // each so long after the other
		making time.Duration
		held   time.Duration
		after  time.Duration
		want   int
	}{
		{"one", 1, 0, ms, 0, 0, 1},
		{"one, long ago", 1, 0, ms, 0, c.Idle - 1, 1},
		{"one, too long ago", 1, 0, ms, 0, c.Idle, 0},
		{"paced", 500, 20 * ms, 2 * ms, 1 * ms, 0, 1},
		{"paced, slow host", 500, 20 * ms, 6 * ms, 4 * ms, 0, 1},
		{"paced, long calls", 500, 20 * ms, 2 * ms, 50 * ms, 0, 3},
		{"back to back", 500, 1 * ms, 2 * ms, 2 * ms, 0, 5},
		{"burst", 5, 0, 2 * ms, 1 * ms, 0, 5},
		{"burst on a host that takes no time", 5, 0, 0, 0, 0, 5},
		{"burst, a minute ago", 6, 0, 2 * ms, 1 * ms, time.Minute, 6},
		{"burst, two minutes ago", 6, 0, 2 * ms, 1 * ms, 2 * time.Minute, 3},
		{"burst, four minutes ago", 6, 0, 2 * ms, 1 * ms, 4*time.Minute + time.Second, 1},
		{"burst, too long ago", 6, 0, 2 * ms, 1 * ms, c.Idle, 0},
		{"flood", 10000, 0, 2 * ms, 1 * ms, 0, c.PerKey},
	} {
		now := time.Now()
		d := demand{}
		for i := range test.n {
			if i > 0 {
				now = now.Add(test.every)
			}
			d.held = test.held
			d.arrive(now, test.making)
		}
		if got := d.wanted(&c, now.Add(test.after)); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

func TestWantedWithinBounds(t *testing.T) {
	now := time.Now()
	once, often := demand{}, demand{}
	if n := once.wanted(&Config{Boxes: 1, Templates: 1, Least: 1}, now); n != 0 {
		t.Errorf("never asked for: %d", n)
	}
	once.arrive(now, ms)
	for range 10 {
		often.arrive(now, ms)
	}
	for _, test := range []struct {
		config      Config
		once, often int
	}{
		{Config{}, 0, 0},
		{Config{Boxes: 9}, 0, 0},
		{Config{Templates: 9}, 0, 0},
		{Config{Boxes: 9, Templates: 1}, 0, 9},
		{Config{Boxes: 99, Templates: 1, Least: 2}, 2, 10},
		{Config{Boxes: 99, Templates: 1, Least: -1, PerKey: 3}, 0, 3},
		{Config{Boxes: 2, Templates: 1, Least: 3, PerKey: 4}, 2, 2},
		{Config{Boxes: -2, Templates: 1, Least: 3, PerKey: 4}, 0, 0},
	} {
		if o, m := once.wanted(&test.config, now), often.wanted(&test.config, now); o != test.once || m != test.often {
			t.Errorf("%+v: %d and %d, want %d and %d", test.config, o, m, test.once, test.often)
		}
	}
	forever := Config{Boxes: 9, Templates: 1, Least: 1}
	if n := often.wanted(&forever, now.Add(1000*time.Hour)); n != 1 {
		t.Errorf("without idleness: %d", n)
	}
}

// A burst that is a hair smaller than the last is remembered as well.
func TestLikeBurstsAreRemembered(t *testing.T) {
	now := time.Now()
	c := Default()
	d := demand{}
	for range 5 {
		d.arrive(now, ms)
	}
	for range 5 {
		now = now.Add(peakWhole - time.Second)
		if n := d.wanted(&c, now); n != 5 {
			t.Errorf("%d, with a peak of %v", n, d.peak)
		}
		for range 5 {
			now = now.Add(20 * time.Microsecond)
			d.arrive(now, ms)
		}
	}
}

// What fewer says is when wanted falls.
func TestFewer(t *testing.T) {
	now := time.Now()
	c := Config{Boxes: 99, Templates: 1}
	d := demand{}
	for range 20 {
		d.arrive(now, ms)
	}
	for n := 20; n > 0; n-- {
		at := d.fewer(n)
		if got := d.wanted(&c, at.Add(-ms)); got != n {
			t.Errorf("before %v: %d, want %d", at.Sub(now), got, n)
		}
		if got := d.wanted(&c, at.Add(ms)); got != n-1 {
			t.Errorf("after %v: %d, want %d", at.Sub(now), got, n-1)
		}
	}
}

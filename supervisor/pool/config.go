// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"runtime"
	"time"
)

// Config bounds a pool. The zero value keeps nothing: each Take makes its own
// box from a template of its own. A bound of zero (or less) is as each field says.
type Config struct {
	Boxes     int   // most that wait; zero: none
	Templates int   // most that are kept; zero: none, and then no boxes wait either
	Memory    int64 // bytes, most of all that wait; zero: Boxes alone bounds it

	PerKey int // most that wait of one key; zero: Boxes
	Least  int // how many wait of a key that was asked for once; zero: only keys asked for again have any

	// Shares of Boxes: who has more gives way to who doesn't. Zero: no such right.
	SessionShare, ProfileShare int

	Idle     time.Duration // after which a key that isn't asked for has none waiting, and an unused template goes; zero: never
	Age      time.Duration // after which a template and its waiting boxes are replaced; zero: never
	Patience time.Duration // how long the replacement of a taken box waits for the call to end; zero: not at all

	Makers int           // most Takes that make a box at the same time; zero: no bound
	Wait   time.Duration // how long a Take waits for its turn or for room; zero: as long as its context
}

// Default is right for most hosts.
func Default() Config {
	return Config{
		Boxes: 32, Templates: 32, Memory: 64 << 20,
		PerKey: 8, Least: 1,
		SessionShare: 4, ProfileShare: 16,
		Idle: 5 * time.Minute, Age: 10 * time.Minute, Patience: 50 * time.Millisecond,
		Makers: 2 * runtime.NumCPU(), Wait: 10 * time.Second,
	}
}

// most is how many boxes of one key may wait.
func (c *Config) most() int {
	if c.Templates <= 0 {
		return 0
	}
	if c.PerKey <= 0 {
		return max(c.Boxes, 0)
	}
	return max(min(c.PerKey, c.Boxes), 0)
}

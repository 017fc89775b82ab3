// SPDX-License-Identifier: Apache-2.0

package boxed

import (
	"testing"
	"time"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// Whatever comes when: in no time are there more than a burst and that time's share.
func TestPace(t *testing.T) {
	var p pace
	start := time.Unix(1e9, 0)
	var turns []time.Time
	for i := range 3000 {
		now := start.Add(time.Duration(i) * 100 * time.Microsecond)
		turns = append(turns, now.Add(max(p.take(now), 0)))
	}
	for i := range packet.Burst {
		if wait := turns[i].Sub(start.Add(time.Duration(i) * 100 * time.Microsecond)); wait > 0 {
			t.Errorf("number %d of a burst waits %v", i, wait)
		}
	}
	for i := range turns {
		for j := i + packet.Burst; j < len(turns); j += 97 {
			most := packet.Burst + 1 + int(turns[j].Sub(turns[i])*packet.PerSecond/time.Second)
			if j-i > most {
				t.Fatalf("%d turns in %v, at most %d are right", j-i, turns[j].Sub(turns[i]), most)
			}
		}
	}
	later := start.Add(time.Hour)
	if wait := p.take(later); wait > 0 {
		t.Errorf("after an hour of rest: %v", wait)
	}
}

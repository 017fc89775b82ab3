// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"reflect"
	"testing"
	"time"
)

func TestStats(t *testing.T) {
	inBubble(t, Default(), func(t *testing.T, p *pool, m *maker) {
		use(t, p, askFor(1, "web", "b", 1), 2)
		use(t, p, askFor(2, "web", "a", 1), 1)
		use(t, p, askFor(3, "web", "a", 1), 1)
		use(t, p, askFor(4, "files", "", 2), 1)
		once := askFor(5, "once", "", 3)
		once.Once = true
		call(t, p, once, ms)
		after(time.Second)
		want := Stats{
			Total:     Line{Waiting: 4, Memory: 4 << 20, Wanted: 4, Hits: 1, Misses: 5, Made: 10},
			Templates: 2,
			Profiles: []Line{
				{Labels: Labels{Profile: "files"}, Waiting: 1, Memory: 1 << 20, Wanted: 1, Misses: 1, Made: 2},
				{Labels: Labels{Profile: "once"}, Misses: 1, Made: 1},
				{Labels: Labels{Profile: "web"}, Waiting: 3, Memory: 3 << 20, Wanted: 3, Hits: 1, Misses: 3, Made: 7},
			},
			Sessions: []Line{
				{Labels: Labels{"files", ""}, Waiting: 1, Memory: 1 << 20, Wanted: 1, Misses: 1, Made: 2},
				{Labels: Labels{"web", "a"}, Waiting: 2, Memory: 2 << 20, Wanted: 2, Misses: 2, Made: 4},
				{Labels: Labels{"web", "b"}, Waiting: 1, Memory: 1 << 20, Wanted: 1, Hits: 1, Misses: 1, Made: 3},
			},
		}
		got := p.Stats()
		if age := got.Total.Age; age < 6*time.Second || age > 7*time.Second || got.Profiles[2].Age != age || got.Sessions[1].Age != age || got.Sessions[0].Age >= age {
			t.Errorf("ages: %+v", got)
		}
		got.Total.Age = 0
		for _, lines := range [][]Line{got.Profiles, got.Sessions} {
			for i := range lines {
				lines[i].Age = 0
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("\n got %+v\nwant %+v", got, want)
		}
	})
}

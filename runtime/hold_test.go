// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"os"
	"testing"
	"time"
)

// The clock as arithmetic: rest is what is left, look when to look again.
func TestClock(t *testing.T) {
	begin := time.Now()
	const s = time.Second
	for _, c := range []struct {
		name       string
		hold       *Hold
		now        time.Duration // after begin
		rest, look time.Duration
	}{
		{"no hold", nil, 3 * s, 7 * s, 7 * s},
		{"nothing held", &Hold{most: 60 * s}, 3 * s, 7 * s, 7 * s},
		{"held before", &Hold{most: 60 * s, sum: 5 * s}, 12 * s, 3 * s, 3 * s},
		{"stands still", &Hold{most: 60 * s, holders: 1, since: begin.Add(4 * s)}, 4 * s, 6 * s, 66 * s},
		{"still does", &Hold{most: 60 * s, holders: 2, since: begin.Add(4 * s)}, 44 * s, 6 * s, 26 * s},
		{"at most", &Hold{most: 60 * s, holders: 1, since: begin.Add(4 * s)}, 70 * s, 0, 0},
		{"over while held", &Hold{most: 60 * s, holders: 1, since: begin.Add(4 * s)}, 71 * s, -s, 0},
		{"held again", &Hold{most: 60 * s, sum: 50 * s, holders: 1, since: begin.Add(54 * s)}, 60 * s, 6 * s, 10 * s},
		{"held no more", &Hold{most: 60 * s, sum: 60 * s, holders: 1, since: begin.Add(60 * s)}, 65 * s, 5 * s, 5 * s},
	} {
		if rest, look := (clock{begin, 10 * s, c.hold, 0}).rest(begin.Add(c.now)); rest != c.rest || look != c.look {
			t.Errorf("%s: %v and %v, want %v and %v", c.name, rest, look, c.rest, c.look)
		}
	}
	early := &Hold{most: 60 * s, holders: 1, since: begin.Add(-5 * s)}
	if rest, _ := newClock(&Call{WallTime: 10 * s, Hold: early}, begin).rest(begin.Add(20 * s)); rest != 10*s {
		t.Errorf("what was held before the call began counts: %v are left", rest)
	}
}

func TestHoldsOverlap(t *testing.T) {
	h := NewHold(time.Hour)
	held := func() bool {
		_, ahead := h.at(time.Now())
		return ahead > 0
	}
	a, b := h.Begin(), h.Begin()
	a()
	a()
	if !held() {
		t.Error("one end of two, said twice, set the clock going")
	}
	b()
	if held() {
		t.Error("the last end did not set the clock going")
	}
	before, _ := h.at(time.Now())
	if after, _ := h.at(time.Now().Add(time.Minute)); after != before {
		t.Errorf("%v were held, and then %v", before, after)
	}
}

// holdCall runs a call that would go on for ever, and whose wall_time is short.
func holdCall(t *testing.T, most time.Duration, f func(h *Hold, done <-chan struct{})) Result {
	t.Helper()
	host := testHost(t)
	box, err := host.Prepare(context.Background(), testSpec(t, host))
	if err != nil {
		t.Fatal(err)
	}
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer out.Close()
	call := testCall("sleep", "600")
	call.WallTime, call.Hold = 500*time.Millisecond, NewHold(most)
	done := make(chan struct{})
	var r Result
	go func() {
		defer close(done)
		r = box.Run(context.Background(), call, Stdio{In: in, Out: out, Err: out}, nil)
	}()
	f(call.Hold, done)
	<-done
	if err := box.Close(); err != nil {
		t.Error(err)
	}
	return r
}

// A call lives while it is held, whatever its wall_time, and uses up the rest
// of that afterwards.
func TestHeldCall(t *testing.T) {
	const held = 2 * time.Second
	var lived time.Duration
	r := holdCall(t, time.Hour, func(h *Hold, done <-chan struct{}) {
		begin := time.Now()
		end := h.Begin()
		select {
		case <-done:
			t.Error("it ended while it was held")
		case <-time.After(held): // the clock is what is tested
		}
		lived = time.Since(begin)
		end()
	})
	if r.Status != TimedOut || r.Usage.Wall < held {
		t.Errorf("%+v", r)
	}
	// It ended soon, long before the hold could have.
	if more := r.Usage.Wall - lived; more > time.Minute {
		t.Errorf("it went on for %v after that", more)
	}
}

// Who holds for longer than may be is not waited for.
func TestHeldAtMost(t *testing.T) {
	r := holdCall(t, time.Second, func(h *Hold, done <-chan struct{}) {
		h.Begin()
		<-done
	})
	if r.Status != TimedOut || r.Usage.Wall < 1400*time.Millisecond {
		t.Errorf("%+v", r)
	}
}

func TestHoldIsBounded(t *testing.T) {
	for _, most := range []time.Duration{-1, maxHold + 1} {
		c := testCall("true")
		c.Hold = NewHold(most)
		if c.check() == nil {
			t.Errorf("%v is taken", most)
		}
	}
	c := serviceCall("true")
	c.Hold = NewHold(0)
	if c.checkService() == nil {
		t.Error("a service is held")
	}
}

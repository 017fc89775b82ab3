// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"slices"
	"testing"
)

// goes says whether a turn may go.
func goes(t *turn) bool {
	select {
	case <-t.ready:
		return true
	default:
		return false
	}
}

func TestLinesTakeTurns(t *testing.T) {
	q := newQueue(bounds{all: 1, waiting: 100})
	first, err := q.enter(turnKey{line: "x"})
	if err != nil || !goes(first) {
		t.Fatal(err)
	}
	names := map[*turn]string{}
	var waiting []*turn
	for _, line := range []string{"a", "a", "a", "a", "b", "b", "c"} {
		one, err := q.enter(turnKey{line: line})
		if err != nil {
			t.Fatal(err)
		}
		names[one] = line
		waiting = append(waiting, one)
	}
	var got []string
	now := first
	for range len(waiting) {
		now.leave()
		i := slices.IndexFunc(waiting, goes)
		now = waiting[i]
		got = append(got, names[now])
		waiting = slices.Delete(waiting, i, i+1)
	}
	if want := []string{"a", "b", "c", "a", "b", "a", "a"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	now.leave()
	now.leave()
	if going, waiting := q.numbers(); going != 0 || waiting != 0 || len(q.going)+len(q.agents)+len(q.lines)+len(q.order) != 0 {
		t.Errorf("%d %d %+v", going, waiting, q)
	}
}

func TestBounds(t *testing.T) {
	q := newQueue(bounds{all: 10, line: 2, skill: 3, waiting: 4, agent: func(string) (int, int) { return 5, 2 }})
	enter := func(k turnKey) bool {
		t.Helper()
		one, err := q.enter(k)
		if err != nil {
			t.Fatal(err)
		}
		return goes(one)
	}
	for i, want := range []bool{true, true, false} {
		if got := enter(turnKey{line: "a", agent: "claw"}); got != want {
			t.Errorf("line: %d", i)
		}
	}
	for i, want := range []bool{true, true, true, false} {
		if got := enter(turnKey{line: string(rune('k' + i)), agent: "claw", skill: "csv"}); got != want {
			t.Errorf("agent and skill: %d", i)
		}
	}
	if _, err := q.enter(turnKey{line: "z", agent: "claw"}); !errors.Is(err, errFull) {
		t.Errorf("the agent's third waiting: %v", err)
	}
	if !enter(turnKey{line: "z"}) {
		t.Error("another suffers from the agent's bounds")
	}
	for range 4 { // two of a line may go
		enter(turnKey{line: "y", agent: "other"})
	}
	if _, err := q.enter(turnKey{line: "x", agent: "third"}); !errors.Is(err, errFull) {
		t.Errorf("beyond the agents' queue: %v", err)
	}
	for range 5 { // one may go, four wait
		enter(turnKey{line: "z"})
	}
	if _, err := q.enter(turnKey{line: "zz"}); !errors.Is(err, errFull) {
		t.Errorf("beyond the host's queue: %v", err)
	}
}

func TestPauseAndWithdraw(t *testing.T) {
	q := newQueue(bounds{all: 1, waiting: 1})
	a, _ := q.enter(turnKey{line: "a"})
	b, _ := q.enter(turnKey{line: "b"})
	a.pause() // a person is asked
	if !goes(b) {
		t.Fatal("nobody goes while the first is asked about")
	}
	c, _ := q.enter(turnKey{line: "c"})
	a.again() // in a full queue
	if goes(a) {
		t.Error("two at once")
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("stopped")
	cancel(cause)
	if err := c.wait(ctx); !errors.Is(err, cause) {
		t.Error(err)
	}
	c.leave()
	b.leave()
	if !goes(a) {
		t.Error("the first does not go again")
	}
	q.set(bounds{all: 2, waiting: 1})
	d, err := q.enter(turnKey{line: "d"})
	if err != nil || !goes(d) {
		t.Error("wider bounds changed nothing")
	}
}

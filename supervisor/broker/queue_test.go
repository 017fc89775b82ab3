// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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
	if going, waiting := q.numbers(); going != 0 || waiting != 0 || len(q.agents)+len(q.skills)+len(q.lines)+len(q.order) != 0 {
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

// TestNobodyIsForgotten: whatever enters, leaves, pauses and is withdrawn, in
// whatever order, at each moment nobody waits who could go, bounds hold, and at
// the end nothing is left.
func TestNobodyIsForgotten(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		b := bounds{all: 1 + r.IntN(8), line: 1 + r.IntN(3), skill: 1 + r.IntN(3), waiting: 1000,
			agent: func(name string) (int, int) { return len(name), 0 }}
		q := newQueue(b)
		var live, paused []*turn
		check := func(step int) {
			t.Helper()
			lines, agents, skills, going := map[string]int{}, map[string]int{}, map[string]int{}, 0
			for _, one := range live {
				if goes(one) {
					lines[one.key.line]++
					agents[one.key.agent]++
					skills[one.key.skill]++
					going++
				}
			}
			seen := map[string]bool{}
			for _, l := range q.lines {
				if len(l.waits) == 0 {
					continue
				}
				k := l.waits[0].key
				seen[k.line] = true
				most, _ := q.ofAgent(k.agent)
				free := going < b.all && lines[k.line] < b.line && (most == 0 || agents[k.agent] < most) && (k.skill == "" || skills[k.skill] < b.skill)
				if free {
					t.Fatalf("seed %d, step %d: the first of line %s waits and could go", seed, step, k.line)
				}
			}
			for _, one := range live {
				if !goes(one) && !seen[one.key.line] {
					t.Fatalf("seed %d, step %d: line %s is lost", seed, step, one.key.line)
				}
			}
			over := going > b.all
			for name, n := range agents {
				over = over || name != "" && n > len(name)
			}
			for name, n := range skills {
				over = over || name != "" && n > b.skill
			}
			for _, n := range lines {
				over = over || n > b.line
			}
			if going != q.going || over {
				t.Fatalf("seed %d, step %d: %d go, %d are counted; %v %v %v", seed, step, going, q.going, lines, agents, skills)
			}
		}
		take := func(list *[]*turn) *turn {
			i := r.IntN(len(*list))
			one := (*list)[i]
			*list = slices.Delete(*list, i, i+1)
			return one
		}
		for step := range 300 {
			switch n := r.IntN(10); {
			case n < 5:
				agent := []string{"", "a", "bb", "ccc"}[r.IntN(4)]
				one, err := q.enter(turnKey{line: agent + "/" + string(rune('k'+r.IntN(4))), agent: agent, skill: []string{"", "s", "t"}[r.IntN(3)]})
				if err != nil {
					t.Fatal(err)
				}
				live = append(live, one)
			case n < 8 && len(live) > 0:
				take(&live).leave()
			case n == 8 && len(live) > 0:
				if i := r.IntN(len(live)); goes(live[i]) {
					live[i].pause()
					paused = append(paused, live[i])
					live = slices.Delete(live, i, i+1)
				}
			case n == 9 && len(paused) > 0:
				one := take(&paused)
				one.again()
				live = append(live, one)
			}
			check(step)
		}
		for _, one := range slices.Concat(live, paused) {
			one.leave()
		}
		if len(q.agents)+len(q.skills)+len(q.lines)+len(q.order)+q.going+q.waiting != 0 {
			t.Fatalf("seed %d: %+v", seed, q)
		}
	}
}

// BenchmarkQueue is a call that enters, goes and leaves while others wait,
// each in a line of its own.
func BenchmarkQueue(b *testing.B) {
	for _, waiting := range []int{0, 200, 20000} {
		for _, of := range []string{"all", "agent"} {
			b.Run(fmt.Sprintf("waiting=%d,for=%s", waiting, of), func(b *testing.B) {
				most := bounds{all: 10, line: 4, waiting: 1 << 20, agent: func(string) (int, int) { return 0, 0 }}
				if of == "agent" {
					most = bounds{all: 1 << 20, line: 4, waiting: 1 << 20, agent: func(string) (int, int) { return 10, 0 }}
				}
				q := newQueue(most)
				var all []*turn
				for i := range waiting + 10 {
					one, err := q.enter(turnKey{line: fmt.Sprint(i), agent: "claw"})
					if err != nil {
						b.Fatal(err)
					}
					all = append(all, one)
				}
				b.ReportAllocs()
				for b.Loop() {
					one, err := q.enter(turnKey{line: fmt.Sprint(len(all)), agent: "claw"})
					if err != nil {
						b.Fatal(err)
					}
					all[0].leave()
					all = append(all[1:], one)
				}
			})
		}
	}
}

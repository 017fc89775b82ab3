// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"testing"
	"time"
)

// The parts of a call are told by contestant, and can be promised about.
func TestStages(t *testing.T) {
	const ms = time.Millisecond
	var rounds []round
	for n := range time.Duration(5) {
		r := made(1, map[string]int{unit: 10})
		r.blocks["rw"] = block{samples: []sample{{wall: 17 * ms, stages: stages{start: 2 * ms, tool: 12 * ms, list: 3 * ms}}}}
		r.blocks["overlay"] = block{samples: []sample{{wall: 100 * ms, stages: stages{start: 4 * ms, tool: (20 + n) * ms, list: 6 * ms, commit: 40 * ms}}}}
		rounds = append(rounds, r)
	}
	list := []contestant{{name: unit}, {name: "rw"}, {name: "overlay"}}
	got := stagesOf("writing", list, rounds)
	want := []stageFigures{
		{Name: "writing", Who: "rw", Calls: 5, Start: flat(2), Tool: flat(12), Ratio: ratio{1.2, 1.2, 1.2}, List: flat(3)},
		{Name: "writing", Who: "overlay", Calls: 5, Start: flat(4), Tool: middle{22 * ms, 21 * ms, 23 * ms}, Ratio: ratio{2.2, 2.1, 2.3}, List: flat(6), Commit: flat(40)},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	for _, c := range []struct {
		who, than string
		bound     float64
		holds     bool
	}{
		{toolOf("overlay"), toolOf("rw"), 1.8, true},
		{toolOf("overlay"), toolOf("rw"), 1.7, false},
		{startOf("overlay"), startOf("rw"), 2, true},
		{listOf("overlay"), listOf("rw"), 1.9, false},
		{toolOf("overlay"), toolOf(unit), 9, false}, // what is spawned tells no stages
	} {
		if v := (promise{who: c.who, than: c.than, bound: c.bound}).judge(rounds, nil); v.Holds != c.holds {
			t.Errorf("%+v: %+v", c, v)
		}
	}
	tables := stageTables(append(got, newStages("undone", "", []stages{{commit: 7 * ms}})))
	if len(tables) != 2 || len(tables[0].rows) != 2 || len(tables[1].rows) != 1 {
		t.Fatalf("%+v", tables)
	}
	if row := tables[0].rows[1]; !slices.Equal(row, []string{"overlay", "5", "4.00 (4.00 to 4.00)", "22.00 (21.00 to 23.00)", "2.20", "6.00 (6.00 to 6.00)", "40.00 (40.00 to 40.00)", ""}) {
		t.Errorf("%q", row)
	}
	if row := tables[1].rows[0]; !slices.Equal(row, []string{"", "1", "", "", "", "", "7.00 (7.00 to 7.00)", ""}) {
		t.Errorf("%q", row)
	}
}

// flat is the middle of equal times.
func flat(ms time.Duration) middle {
	return middle{ms * time.Millisecond, ms * time.Millisecond, ms * time.Millisecond}
}

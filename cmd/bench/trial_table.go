// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"
)

// trialFigures are what a trial came to.
type trialFigures struct {
	Name   string       `json:"name"`
	Rounds int          `json:"rounds"`
	Bytes  bool         `json:"bytes"` // one is a gigabyte, or else a time
	Paced  bool         `json:"paced"` // with a rest before each time
	Ways   []wayFigures `json:"ways"`
}

// wayFigures are one way's; times are nanoseconds, medians over rounds.
type wayFigures struct {
	Name  string        `json:"name"`
	Gives string        `json:"gives"`
	One   time.Duration `json:"one_ns"`          // a gigabyte, or one time
	Ratio ratio         `json:"ratio_to_direct"` // of One, within rounds
	CPU   time.Duration `json:"cpu_ns"`          // for one, of all processes
	P50   time.Duration `json:"p50_ns"`          // of each time
	P99   time.Duration `json:"p99_ns"`
}

func newTrialFigures(t trial, ways []*way, outcomes map[string][]outcome, rounds []round) trialFigures {
	f := trialFigures{Name: t.name, Rounds: len(rounds), Bytes: t.bytes(), Paced: t.errand.Rest > 0}
	for _, y := range ways {
		var one, cpu, each []time.Duration
		for _, o := range outcomes[y.name] {
			one, cpu, each = append(one, o.one), append(cpu, o.cpu), append(each, o.each...)
		}
		v := wayFigures{Name: y.name, Gives: y.gives, One: quantile(one, 0.5), CPU: quantile(cpu, 0.5), P50: quantile(each, 0.5), P99: quantile(each, 0.99)}
		v.Ratio, _ = ratioOf(rounds, y.name, direct)
		f.Ways = append(f.Ways, v)
	}
	return f
}

// table is for people: rates where clients never rest, times where they do.
func (f trialFigures) table() table {
	t := table{title: f.Name, intro: []string{fmt.Sprintf("%d rounds.", f.Rounds)}}
	if f.Bytes {
		t.head = []string{"", "GB/s", "of direct, %", "quartiles", "CPU s a GB", "what is between"}
	} else {
		t.head = []string{"", "p50 ms", "p99 ms", "added p50 ms", "times direct", "quartiles", "a second", "CPU ms", "what is between"}
	}
	for _, w := range f.Ways {
		if f.Bytes {
			t.rows = append(t.rows, []string{w.Name, short(1 / w.One.Seconds()), short(100 / w.Ratio.Median),
				short(100/w.Ratio.High) + " to " + short(100/w.Ratio.Low), short(w.CPU.Seconds()), w.Gives})
			continue
		}
		rate := ""
		if !f.Paced {
			rate = short(1 / w.One.Seconds())
		}
		t.rows = append(t.rows, []string{w.Name, milliseconds(w.P50), milliseconds(w.P99), milliseconds(w.P50 - f.Ways[0].P50), short(w.Ratio.Median),
			short(w.Ratio.Low) + " to " + short(w.Ratio.High), rate, milliseconds(w.CPU), w.Gives})
	}
	return t
}

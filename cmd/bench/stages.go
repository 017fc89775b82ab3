// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"
)

// stages are the parts of a call, one after the other. Together they are what
// the caller waits.
type stages struct {
	start  time.Duration // until the tool begins: plan, layer, box
	tool   time.Duration
	list   time.Duration // from its end until its change set is listed; without one until the answer
	commit time.Duration // from there until all of it is in the workspace, on the disk, and answered
}

// staged is an asker that tells the stages of its last call.
type staged interface{ stages() stages }

// middle is the median and the quartiles of times.
type middle struct {
	Median time.Duration `json:"median_ns"`
	Low    time.Duration `json:"low_ns"`
	High   time.Duration `json:"high_ns"`
}

func middleOf(all []time.Duration) middle {
	return middle{quantile(all, 0.5), quantile(all, 0.25), quantile(all, 0.75)}
}

// cell is the middle for a table; nothing where there is none.
func (m middle) cell() string {
	if m == (middle{}) {
		return ""
	}
	return fmt.Sprintf("%s (%s to %s)", milliseconds(m.Median), milliseconds(m.Low), milliseconds(m.High))
}

// stageFigures are one line of a table of stages.
type stageFigures struct {
	Name   string `json:"name"` // of what is measured
	Who    string `json:"who"`
	Calls  int    `json:"calls"`
	Start  middle `json:"start"`
	Tool   middle `json:"tool"`
	Ratio  ratio  `json:"tool_ratio_to_spawn,omitzero"`
	List   middle `json:"list"`
	Commit middle `json:"commit"`
	Note   string `json:"note,omitempty"`
}

func newStages(name, who string, all []stages) stageFigures {
	of := func(part func(stages) time.Duration) middle {
		times := make([]time.Duration, len(all))
		for i, s := range all {
			times[i] = part(s)
		}
		return middleOf(times)
	}
	return stageFigures{
		Name: name, Who: who, Calls: len(all),
		Start:  of(func(s stages) time.Duration { return s.start }),
		Tool:   of(func(s stages) time.Duration { return s.tool }),
		List:   of(func(s stages) time.Duration { return s.list }),
		Commit: of(func(s stages) time.Duration { return s.commit }),
	}
}

// toolOf names what a contestant's tool took by itself, in rounds.
func toolOf(contestant string) string { return contestant + ", the tool" }

// startOf names what passed until a contestant's tool began.
func startOf(contestant string) string { return contestant + ", start" }

// listOf names what passed from a contestant's tool until its change set.
func listOf(contestant string) string { return contestant + ", to the change set" }

// stagesOf takes the stages of those contestants that tell them out of rounds,
// and adds their times to the rounds, each under a name of its own.
func stagesOf(race string, list []contestant, rounds []round) []stageFigures {
	var figures []stageFigures
	for _, c := range list {
		var all []stages
		for _, r := range rounds {
			var start, tool, set block
			for _, s := range r.blocks[c.name].samples {
				if s.stages == (stages{}) {
					continue
				}
				all = append(all, s.stages)
				start.samples = append(start.samples, sample{wall: s.stages.start})
				tool.samples = append(tool.samples, sample{wall: s.stages.tool})
				set.samples = append(set.samples, sample{wall: s.stages.list})
			}
			r.blocks[startOf(c.name)], r.blocks[toolOf(c.name)], r.blocks[listOf(c.name)] = start, tool, set
		}
		if len(all) == 0 {
			continue
		}
		f := newStages(race, c.name, all)
		f.Ratio, _ = ratioOf(rounds, toolOf(c.name), unit)
		figures = append(figures, f)
	}
	return figures
}

// stageTables has a table for each name, in their order.
func stageTables(figures []stageFigures) []table {
	var all []table
	for _, f := range figures {
		title := f.Name + ": the stages"
		if len(all) == 0 || all[len(all)-1].title != title {
			all = append(all, table{title: title, head: []string{"", "calls", "until it starts, ms", "the tool, ms", "times a spawn", "then listed in ms", "then committed in ms", ""}})
		}
		t := &all[len(all)-1]
		times := ""
		if f.Ratio.Median > 0 {
			times = short(f.Ratio.Median)
		}
		t.rows = append(t.rows, []string{f.Who, fmt.Sprint(f.Calls), f.Start.cell(), f.Tool.cell(), times, f.List.cell(), f.Commit.cell(), f.Note})
	}
	return all
}

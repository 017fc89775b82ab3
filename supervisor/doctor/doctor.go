// SPDX-License-Identifier: Apache-2.0

// Package doctor says what a host offers a sandbox, what would be enforced
// with the present configuration, and how to get what is missing.
//
// A check is a value with a name that looks at one thing and changes nothing;
// only the last three, for root, make a layer, a network that leads out and a
// box, and throw them away:
//
//	checks := doctor.Checks(config)
//	findings := doctor.Run(ctx, checks)      // side by side, in the checks' order
//	doctor.Write(os.Stdout, findings, false)
//	os.Exit(doctor.Status(findings))
//
// The layers are judged by the same pure function that judges a call
// (layer.Lower), so what doctor says and what a run does can't differ.
//
// Without root, what can't be looked at is reported as unknown and never as
// good.
package doctor

import (
	"context"
	"fmt"
	"sync"

	"github.com/clawsup/clawsup/runtime/cgroup"
	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/supervisor"
)

// Level is how good a finding is, the best first.
type Level int

const (
	Good    Level = iota // as it should be
	Noted                // worth knowing, nothing to do
	Unknown              // could not be looked at
	Lowered              // less than it could be, by configuration or by chance
	Broken               // no sandbox can be made
)

var levelNames = []string{"ok", "note", "unknown", "lowered", "broken"}

// String gives the level's name.
func (l Level) String() string { return levelNames[l] }

// MarshalText gives the level's name.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Group is a heading under which findings stand.
type Group string

const (
	HostGroup    Group = "host"
	LayerGroup   Group = "layers"
	ClawsupGroup Group = "clawsup"
)

// Finding is what one check found.
type Finding struct {
	Group Group  `json:"group"`
	Name  string `json:"name"`
	Level Level  `json:"level"`
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"` // what an operator can do
}

// Check looks at one thing.
type Check interface {
	Name() string
	Run(ctx context.Context) Finding
}

// check is a Check made of a function.
type check struct {
	group Group
	name  string
	look  func(ctx context.Context) (Level, string, string)
}

// Name gives the word under which the finding is reported.
func (c check) Name() string { return c.name }

// Run looks.
func (c check) Run(ctx context.Context) Finding {
	f := Finding{Group: c.group, Name: c.name}
	f.Level, f.Text, f.Hint = c.look(ctx)
	return f
}

// Checks are all of them, in the order of the report. What boxes killed
// processes left is looked at here and now: the last check removes them.
func Checks(config supervisor.Config) []Check {
	groups, groupsErr := cgroup.Detect()
	host := layer.Probe(groups)
	list := []Check{
		check{HostGroup, "kernel", kernel(host)},
		check{HostGroup, "cgroups", controlGroups(groups, groupsErr)},
		check{HostGroup, "swap", swap(host)},
		check{HostGroup, "uid range", uidRange(config)},
	}
	plan, _ := layer.Lower(layer.All, host, config.Lower) // the reports have what the error would say
	for _, r := range plan.Reports {
		list = append(list, check{LayerGroup, r.Layer.String(), oneLayer(r)})
	}
	return append(list,
		check{ClawsupGroup, "configuration", configuration(config)},
		check{ClawsupGroup, "profile", defaultProfile(config)},
		check{ClawsupGroup, "programs", programs(config)},
		check{ClawsupGroup, "directories", directories(config)},
		check{ClawsupGroup, "left over", leftOver(config)},
		check{ClawsupGroup, "daemon", daemon(config)},
		check{ClawsupGroup, "layers", overlays(config)},
		check{ClawsupGroup, "way out", wayOut(config)},
		check{ClawsupGroup, "a box", box(config)},
	)
}

// Run runs the checks side by side and gives what they found in their order.
func Run(ctx context.Context, checks []Check) []Finding {
	found := make([]Finding, len(checks))
	var all sync.WaitGroup
	for i, c := range checks {
		all.Go(func() { found[i] = c.Run(ctx) })
	}
	all.Wait()
	return found
}

// Status is the exit status: 0 if everything is enforced, be it by another
// layer; 1 if something is lowered or could not be looked at; 2 if no sandbox
// can be made.
func Status(found []Finding) int {
	worst := Good
	for _, f := range found {
		worst = max(worst, f.Level)
	}
	switch {
	case worst == Broken:
		return 2
	case worst >= Unknown:
		return 1
	}
	return 0
}

// Summary is the last word, in a sentence.
func Summary(found []Finding) string {
	count := map[Level]int{}
	for _, f := range found {
		count[f.Level]++
	}
	switch {
	case count[Broken] > 0:
		return fmt.Sprintf("No sandbox can be made here: %d broken.", count[Broken])
	case count[Lowered] > 0:
		return fmt.Sprintf("Sandboxes work with less than everything: %d lowered.", count[Lowered])
	case count[Unknown] > 0:
		return fmt.Sprintf("Nothing wrong was seen, but %d could not be looked at.", count[Unknown])
	}
	return "Everything is enforced."
}

// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
)

// contradiction is a pair of limits of which one makes the other impossible to
// reach, so that whoever wrote them expects something that can't happen.
type contradiction struct {
	small, large string
	beside       string // a third key that counts; empty if none does
	when         string // how it counts, for readers
	why          string // what would happen instead
	// most is what the small limit can be at most beside the large one.
	most func(p *Profile) (most string, broken bool)
}

// contradictions are all of them. Limits of things in memory are each compared
// with the memory of the box, not their sum: which of them fills is open.
var contradictions = []contradiction{
	inMemory("limits.tmp", func(l *Limits) Bytes { return l.Tmp }, "a full /tmp would kill the call instead of saying that it is full"),
	inMemory("limits.shm", func(l *Limits) Bytes { return l.Shm }, "a full /dev/shm would kill the call instead of saying that it is full"),
	{
		"limits.scratch", "limits.memory", "workspace.mode", ", with a scratch workspace",
		"a full workspace would kill the call instead of saying that it is full",
		func(p *Profile) (string, bool) {
			return p.Limits.Memory.String(), p.Workspace.Mode == WorkspaceScratch && p.Limits.Scratch > p.Limits.Memory
		},
	},
	inMemory("limits.stack", func(l *Limits) Bytes { return l.Stack }, "a runaway recursion would run the box out of memory first"),
	{
		"limits.cpu_time", "limits.wall_time", "limits.cpu", " times `limits.cpu`, rounded up",
		"that many cores can't use so much time before the call ends",
		// A share of a core counts as the whole core, since cpu_time must still
		// mean something where the operator lowered the cpu layer.
		func(p *Profile) (string, bool) {
			most := float64(p.Limits.WallTime) * math.Ceil(p.Limits.CPU)
			if most >= math.MaxInt64 || float64(p.Limits.CPUTime) <= most {
				return "", false
			}
			return Duration(most).String(), true
		},
	},
}

// disagreement is about keys that make each other mean nothing.
type disagreement struct {
	keys []string // one of them is at fault
	text string   // for readers
	hint string
	// broken gives what disagrees, or nothing. d is the file that was laid over its parent.
	broken func(d *document, p *Profile) string
}

// disagreements are all of them.
var disagreements = []disagreement{
	{
		[]string{"network.rule", "network.default"}, "`network.rule` or `network.default` in a file whose `network.mode` is none: nothing would come to them",
		`write mode = "egress", or leave the rules out`,
		func(d *document, p *Profile) string {
			if p.Network.Mode == NetworkEgress || !d.addsLevel() {
				return ""
			}
			return `rules about destinations contradict network.mode = "none": nothing would come to them`
		},
	},
	{
		[]string{"secrets", "network.mode"}, "`secrets` with `network.mode` none: a placeholder becomes a secret only on its way out",
		`write mode = "egress", or [secrets] with nothing in it`,
		func(_ *document, p *Profile) string {
			if p.Network.Mode == NetworkEgress || len(p.Secrets) == 0 {
				return ""
			}
			return `secrets contradict network.mode = "none": a placeholder becomes a secret only on its way out`
		},
	},
	{
		[]string{"secrets", "environment.set", "environment.pass"}, "a variable of `secrets` in `environment.set` or `environment.pass` too: one of them would not count",
		"write it in one place",
		func(_ *document, p *Profile) string {
			for _, name := range slices.Sorted(maps.Keys(p.Secrets)) {
				if _, set := p.Environment.Set[name]; set || slices.Contains(p.Environment.Pass, name) {
					return "the variable " + name + " is a secret's and one of the environment too: one of them would not count"
				}
			}
			return ""
		},
	},
}

func inMemory(name string, limit func(*Limits) Bytes, why string) contradiction {
	return contradiction{name, "limits.memory", "", "", why, func(p *Profile) (string, bool) {
		return p.Limits.Memory.String(), limit(&p.Limits) > p.Limits.Memory
	}}
}

// checkContradictions judges what p became when d was laid over its parent.
func (d *document) checkContradictions(p *Profile, origin map[string]string) error {
	for _, c := range contradictions {
		most, broken := c.most(p)
		if !broken {
			continue
		}
		line := cmp.Or(d.line(c.small), d.line(c.large), d.line(c.beside))
		small, large := valueOf(p, c.small), valueOf(p, c.large)
		return d.fault(line, "%s = %s (%s) contradicts %s = %s (%s): %s; write %s = %q or less, or raise %s",
			c.small, small, origin[c.small], c.large, large, origin[c.large], c.why, c.small, most, c.large)
	}
	for _, c := range disagreements {
		if text := c.broken(d, p); text != "" {
			line := 0
			for _, name := range c.keys {
				line = cmp.Or(line, d.lineWithin(name))
			}
			return d.fault(line, "%s; %s", text, c.hint)
		}
	}
	return nil
}

// lineWithin gives the line of a key, or of the first below it.
func (d *document) lineWithin(name string) int {
	for _, a := range d.assignments {
		if below(strings.ReplaceAll(a.name, ".", "/"), strings.ReplaceAll(name, ".", "/")) {
			return a.line()
		}
	}
	return 0
}

// valueOf gives the setting called name in p, or "nothing".
func valueOf(p *Profile, name string) string {
	all := settings(p)
	if i := slices.IndexFunc(all, func(s setting) bool { return s.name == name }); i >= 0 {
		return all[i].toml
	}
	return "nothing"
}

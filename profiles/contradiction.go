// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"cmp"
	"math"
	"slices"
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
	return nil
}

// valueOf gives the setting called name in p, or "nothing".
func valueOf(p *Profile, name string) string {
	all := settings(p)
	if i := slices.IndexFunc(all, func(s setting) bool { return s.name == name }); i >= 0 {
		return all[i].toml
	}
	return "nothing"
}

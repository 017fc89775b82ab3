// SPDX-License-Identifier: Apache-2.0

package main

import "fmt"

// promise says that in one run a contestant takes at most Bound times as long
// as another.
type promise struct {
	who, than string
	bound     float64
	text      string // the line of docs/SPECIFICATION.md; %.1f is the bound
}

var promises = []promise{
	{"clawsup", "runc", 1.3, "`clawsup run -- /bin/true` without a daemon takes at most %.1f times as long as `runc run`"},
}

// sentence is what docs/SPECIFICATION.md says.
func (p promise) sentence() string { return fmt.Sprintf(p.text, p.bound) }

// verdict is a promise after the measurement.
type verdict struct {
	Promise  string  `json:"promise"`
	Bound    float64 `json:"bound"`
	Measured bool    `json:"measured"`
	Ratio    ratio   `json:"ratio"`
	Holds    bool    `json:"holds"`
}

// judge compares. A promise is broken when three rounds in four broke it.
func (p promise) judge(rounds []round) verdict {
	v := verdict{Promise: p.sentence(), Bound: p.bound}
	v.Ratio, v.Measured = ratioOf(rounds, p.who, p.than)
	v.Holds = v.Measured && v.Ratio.Low <= p.bound
	return v
}

// ratio of one contestant's time to another's: median and quartiles over rounds.
type ratio struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// ratioOf compares who with than within each round. It is false when a round
// lacks one of them, or there is none.
func ratioOf(rounds []round, who, than string) (ratio, bool) {
	var all []float64
	for _, r := range rounds {
		a, b := r.blocks[who].median(), r.blocks[than].median()
		if a == 0 || b == 0 {
			return ratio{}, false
		}
		all = append(all, float64(a)/float64(b))
	}
	return spread(all), len(all) > 0
}

// spread is the median and the quartiles.
func spread(all []float64) ratio {
	return ratio{quantile(all, 0.5), quantile(all, 0.25), quantile(all, 0.75)}
}

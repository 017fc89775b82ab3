// SPDX-License-Identifier: Apache-2.0

package main

import "fmt"

// promise says that in one run a contestant takes at most bound times as long
// as another for one command, or, with callers, for many.
type promise struct {
	race      string // or trial, in which both take part
	who, than string
	callers   int // at once, without a rest; 0: one call after a rest
	bound     float64
	enforced  bool   // it is a line of docs/SPECIFICATION.md, and -quick fails when it is broken
	text      string // that line; %.1f is the bound
}

var promises = []promise{
	{command, "clawsup", "runc", 0, 0.9, true, "`clawsup run -- /bin/true` without a daemon takes at most %.1f times as long as `runc run`"},
	{command, "call", unit, 0, 4.5, true, "A call of `/bin/true` over call.sock, receipts synced, takes at most %.1f times as long as spawning it"},
	{command, "call", "bwrap", 0, 1.2, true, "A call over call.sock takes at most %.1f times as long as `bwrap --unshare-all`"},
	{command, "call", "unshare", 2, 3.0, true, "Two callers without a rest, replacements included, take at most %.1f times as long for a call as with `unshare`"},
	{command, "clawsup run", "bwrap", 0, 4.0, true, "`clawsup run -- /bin/true` by the daemon takes at most %.1f times as long as `bwrap --unshare-all`"},
	{threeFiles, startOf(wideFilesName), startOf(fewFilesName), 0, 1.5, true, "The tool of a call begins at most %.1f times as late in an overlay workspace of 200,000 files as in one of 1,000"},
	{threeFiles, listOf(wideFilesName), listOf(fewFilesName), 0, 2.0, true, "A change set of three files is listed at most %.1f times as late in a workspace of 200,000 files as in one of 1,000"},
	{threeFiles, wideFilesName, fewFilesName, 0, 1.5, true, "A call that touches three files, commit included, takes at most %.1f times as long in a workspace of 200,000 files as in one of 1,000"},
	{manyFiles, toolOf("overlay"), toolOf("rw"), 0, 1.5, true, "A tool that writes 10,000 small files takes at most %.1f times as long in an overlay workspace as in one that it writes through to"},
	{manyFiles, "overlay", "rw", 0, 8.0, true, "A call that writes 10,000 small files, commit to the disk included, takes at most %.1f times as long as one that writes through to memory"},
	{oneStream, through, direct, 0, 3.0, true, "A gigabyte of one stream out of a box with through = \"tcp\" takes at most %.1f times as long as with nothing between client and server"},
	{oneStream, through, bareRelay, 0, 1.3, true, "The same takes at most %.1f times as long as through a relay that does nothing but splice"},
	{oneSealed, through, direct, 0, 3.0, true, "A gigabyte of one stream out of a box with through = \"tls\" takes at most %.1f times as long as with nothing between client and server"},
	{oneEnded, through, direct, 0, 9.0, true, "A gigabyte of one answer whose TLS is ended takes at most %.1f times as long as with nothing between client and server"},
	{pacedPlain, through, direct, 0, 10.0, true, "A request of plain HTTP that a rule allows takes at most %.1f times as long as without a box, its decision and its receipt included"},
	{pacedSecret, through, direct, 0, 12.0, true, "A request whose TLS is ended takes at most %.1f times as long as without a box, its decision and its receipt included"},
	{reachingCall, openCall, closedCall, 0, 6.0, true, "A call of `/bin/true` in a box with a way out takes at most %.1f times as long as in one without"},

	// What is aimed at, and reported.
	{oneStream, through, direct, 0, 1.1, false, "A gigabyte of one stream out of a box with through = \"tcp\" takes at most %.1f times as long as with nothing between client and server"},
	{oneSealed, through, direct, 0, 1.1, false, "A gigabyte of one stream out of a box with through = \"tls\" takes at most %.1f times as long as with nothing between client and server"},
	{reachingCall, openCall, closedCall, 0, 1.5, false, "A call of `/bin/true` in a box with a way out takes at most %.1f times as long as in one without"},
	{command, "call", unit, 0, 2.0, false, "A call of `/bin/true` over call.sock takes at most %.1f times as long as spawning it"},
	{command, "call", "unshare", 0, 1.0, false, "A call over call.sock takes at most %.1f times as long as `unshare`"},
	{command, "call", "go-judge", 0, 1.0, false, "A call over call.sock takes at most %.1f times as long as one of go-judge"},
	{command, "call", "unshare", 2, 1.0, false, "Two callers without a rest take at most %.1f times as long for a call as with `unshare`"},
	{command, "call", "go-judge", 2, 1.0, false, "Two callers without a rest take at most %.1f times as long for a call as with go-judge"},
	{command, "clawsup run", "bwrap", 0, 1.0, false, "`clawsup run -- /bin/true` by the daemon takes at most %.1f times as long as `bwrap --unshare-all`"},
	{command, "clawsup", "runc", 0, 0.5, false, "`clawsup run -- /bin/true` without a daemon takes at most %.1f times as long as `runc run`"},
	{threeFiles, fewFilesName, "rw", 0, 3.0, false, "A call that touches three files, commit to the disk included, takes at most %.1f times as long as one that writes through to memory"},
	{manyFiles, "overlay", "rw", 0, 3.0, false, "A call that writes 10,000 small files, commit to the disk included, takes at most %.1f times as long as one that writes through to memory"},
}

// sentence is what docs/SPECIFICATION.md says.
func (p promise) sentence() string { return fmt.Sprintf(p.text, p.bound) }

// verdict is a promise after the measurement.
type verdict struct {
	Promise  string  `json:"promise"`
	Enforced bool    `json:"enforced"` // or else only aimed at
	Bound    float64 `json:"bound"`
	Measured bool    `json:"measured"`
	Ratio    ratio   `json:"ratio"`
	Holds    bool    `json:"holds"`
}

// judge compares. A promise is broken when three rounds in four broke it.
func (p promise) judge(rounds []round, rates []map[rateKey]tally) verdict {
	v := verdict{Promise: p.sentence(), Enforced: p.enforced, Bound: p.bound}
	if p.callers == 0 {
		v.Ratio, v.Measured = ratioOf(rounds, p.who, p.than)
	} else {
		v.Ratio, v.Measured = rateRatioOf(rates, p.who, p.than, p.callers)
	}
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

// rateRatioOf compares the time that a call takes when callers never rest.
func rateRatioOf(rounds []map[rateKey]tally, who, than string, callers int) (ratio, bool) {
	var all []float64
	for _, r := range rounds {
		a, b := r[rateKey{who, callers}].rate, r[rateKey{than, callers}].rate
		if a == 0 || b == 0 {
			return ratio{}, false
		}
		all = append(all, b/a)
	}
	return spread(all), len(all) > 0
}

// spread is the median and the quartiles.
func spread(all []float64) ratio {
	return ratio{quantile(all, 0.5), quantile(all, 0.25), quantile(all, 0.75)}
}

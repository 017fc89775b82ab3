// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// report is everything that is known at the end; times are nanoseconds.
type report struct {
	Time     time.Time      `json:"time"`
	Kernel   string         `json:"kernel"`
	CPUs     int            `json:"cpus"`
	Cgroup   string         `json:"cgroup"`
	Sync     disk           `json:"disk"`
	Races    []race         `json:"races"`
	Stages   []stageFigures `json:"stages"`
	Rates    []rateFigures  `json:"throughput"`
	Trials   []trialFigures `json:"egress"`
	Rows     []row          `json:"rows"`
	Absent   []string       `json:"absent"`
	Verdicts []verdict      `json:"promises"`

	raced map[string][]round // by the race's name
	rates []map[rateKey]tally
}

// disk is how long one write of a receipt's size and fdatasync(2) take where
// the daemon's log is.
type disk struct {
	P50 time.Duration `json:"sync_p50_ns"`
	P99 time.Duration `json:"sync_p99_ns"`
}

func diskOf(all []time.Duration) disk { return disk{quantile(all, 0.5), quantile(all, 0.99)} }

// race is what contestants took that ran the same command.
type race struct {
	Name    string        `json:"name"`
	Rounds  int           `json:"rounds"`
	Noisy   int           `json:"noisy_rounds"`
	Block   int           `json:"calls_per_block"`
	Rest    time.Duration `json:"rest_ns"` // before each call
	Figures []figures     `json:"contestants"`
}

func newRace(name string, list []contestant, rounds []round, noisy int, size length) race {
	return race{name, len(rounds), noisy, size.block, size.rest, figuresOf(list, rounds)}
}

// figures are one contestant's.
type figures struct {
	Name    string        `json:"name"`
	Gives   string        `json:"gives"`
	Version string        `json:"version,omitempty"`
	Calls   int           `json:"calls"`
	P50     time.Duration `json:"p50_ns"`
	P99     time.Duration `json:"p99_ns"`
	Ratio   ratio         `json:"ratio_to_spawn"`
	CPU     time.Duration `json:"cpu_ns"`
	Kernel  time.Duration `json:"kernel_threads_ns"`
}

func newReport() *report {
	return &report{
		Time: time.Now().UTC().Round(time.Second), Kernel: kernel(), CPUs: runtime.NumCPU(), Cgroup: cgroupVersion(), Absent: []string{}, raced: make(map[string][]round),
	}
}

func figuresOf(list []contestant, rounds []round) []figures {
	var all []figures
	for _, c := range list {
		f := figures{Name: c.name, Gives: c.gives, Version: c.version()}
		var walls []time.Duration
		for _, round := range rounds {
			b := round.blocks[c.name]
			for _, s := range b.samples {
				walls = append(walls, s.wall)
				f.CPU += s.cpu
			}
			f.CPU += b.server
			f.Kernel += b.kernel
		}
		f.Calls = len(walls)
		f.P50, f.P99 = quantile(walls, 0.5), quantile(walls, 0.99)
		f.Ratio, _ = ratioOf(rounds, c.name, unit)
		if f.Calls > 0 {
			f.CPU /= time.Duration(f.Calls)
			f.Kernel /= time.Duration(f.Calls)
		}
		all = append(all, f)
	}
	return all
}

// judgeAll compares with what is promised. Where contestants ran, a promise
// about one that is missing is broken.
func (r *report) judgeAll() {
	for _, p := range promises {
		if v := p.judge(r.raced[p.race], r.rates); v.Measured || v.Enforced && len(r.raced[p.race]) > 0 {
			r.Verdicts = append(r.Verdicts, v)
		}
	}
}

// word says how the promise fared.
func (v verdict) word() string {
	what := "promise"
	if !v.Enforced {
		what = "aim"
	}
	if !v.Measured {
		return what + " not measured"
	}
	word := "missed"
	if v.Holds {
		word = "holds"
	}
	return what + " " + word
}

// judge is an error when a promise doesn't hold.
func (r *report) judge() error {
	var all []error
	for _, v := range r.Verdicts {
		if v.Enforced && !v.Holds {
			all = append(all, fmt.Errorf("%s, %.2f (quartiles %.2f to %.2f): %s", v.word(), v.Ratio.Median, v.Ratio.Low, v.Ratio.High, v.Promise))
		}
	}
	return errors.Join(all...)
}

// write makes the machine-readable file.
func (r *report) write(path string) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

func cgroupVersion() string {
	var fs unix.Statfs_t
	switch err := unix.Statfs("/sys/fs/cgroup", &fs); {
	case err != nil:
		return "unknown"
	case fs.Type == unix.CGROUP2_SUPER_MAGIC:
		return "v2"
	}
	return "v1"
}

// readReport reads what write wrote.
func readReport(path string) (*report, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &report{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

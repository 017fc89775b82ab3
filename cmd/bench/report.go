// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// report is everything that is known at the end; times are nanoseconds.
type report struct {
	Time     time.Time     `json:"time"`
	Kernel   string        `json:"kernel"`
	CPUs     int           `json:"cpus"`
	Cgroup   string        `json:"cgroup"`
	Sync     disk          `json:"disk"`
	Races    []race        `json:"races"`
	Rates    []rateFigures `json:"throughput"`
	Rows     []row         `json:"rows"`
	Absent   []string      `json:"absent"`
	Verdicts []verdict     `json:"promises"`

	rounds []round
	rates  []map[rateKey]tally
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
		Time: time.Now().UTC().Round(time.Second), Kernel: kernel(), CPUs: runtime.NumCPU(), Cgroup: cgroupVersion(), Absent: []string{},
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

// judgeAll compares with what is promised.
func (r *report) judgeAll() {
	for _, p := range promises {
		r.Verdicts = append(r.Verdicts, p.judge(r.rounds, r.rates))
	}
}

// print writes the tables.
func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "Linux %s, %d CPUs, cgroup %s; a sync of the disk takes %s ms (p99 %s)\n", r.Kernel, r.CPUs, r.Cgroup, milliseconds(r.Sync.P50), milliseconds(r.Sync.P99))
	for _, race := range r.Races {
		fmt.Fprintf(w, "\n## %s\n\n%d rounds of %d calls, a rest of %v before each\n", race.Name, race.Rounds, race.Block, race.Rest)
		if race.Noisy > 0 {
			fmt.Fprintf(w, "NOISY: %d of these rounds were disturbed; measure again on a quieter machine\n", race.Noisy)
		}
		fmt.Fprintln(w)
		printFigures(w, race.Figures)
	}
	if len(r.Rates) > 0 {
		fmt.Fprintf(w, "\n## throughput of %s, without a rest\n\n", command)
		printRates(w, r.Rates)
	}
	if len(r.Rows) > 0 {
		fmt.Fprintln(w, "\n## more")
		fmt.Fprintln(w)
		printRows(w, r.Rows)
	}
	fmt.Fprintln(w)
	for _, a := range r.Absent {
		fmt.Fprintf(w, "left out: %s\n", a)
	}
	for _, v := range r.Verdicts {
		fmt.Fprintf(w, "%s: %s\n", v.word(), v.Promise)
	}
}

func printFigures(w io.Writer, all []figures) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tp50 ms\tp99 ms\ttimes a spawn\t(quartiles)\tCPU ms\tkernel threads ms\t  ")
	for _, f := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%.1f\t(%.1f to %.1f)\t%s\t%s\t  %s\n", f.Name, milliseconds(f.P50), milliseconds(f.P99),
			f.Ratio.Median, f.Ratio.Low, f.Ratio.High, milliseconds(f.CPU), milliseconds(f.Kernel), f.Gives)
	}
	_ = t.Flush()
}

func printRates(w io.Writer, all []rateFigures) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tcallers\tcalls a second\t(quartiles)\tCPU ms a call\tkernel threads ms\t")
	for _, f := range all {
		fmt.Fprintf(t, "%s\t%d\t%.0f\t(%.0f to %.0f)\t%s\t%s\t\n", f.Name, f.Callers, f.Rate.Median, f.Rate.Low, f.Rate.High, milliseconds(f.CPU), milliseconds(f.Kernel))
	}
	_ = t.Flush()
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
	return fmt.Sprintf("%s %s, %.2f (quartiles %.2f to %.2f)", what, word, v.Ratio.Median, v.Ratio.Low, v.Ratio.High)
}

// judge is an error when a promise doesn't hold.
func (r *report) judge() error {
	var all []error
	for _, v := range r.Verdicts {
		if v.Enforced && !v.Holds {
			all = append(all, fmt.Errorf("%s: %s", v.word(), v.Promise))
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

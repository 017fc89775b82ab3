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
	Time     time.Time `json:"time"`
	Kernel   string    `json:"kernel"`
	CPUs     int       `json:"cpus"`
	Cgroup   string    `json:"cgroup"`
	Rounds   int       `json:"rounds"`
	Noisy    int       `json:"noisy_rounds"`
	Block    int       `json:"calls_per_block"`
	Rest     int64     `json:"rest_ns"`
	Figures  []figures `json:"contestants"`
	Absent   []string  `json:"absent"`
	Verdicts []verdict `json:"promises"`
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

func newReport(list []contestant, rounds []round, noisy int, absent []string, size length) report {
	r := report{
		Time: time.Now().UTC().Round(time.Second), Kernel: kernel(), CPUs: runtime.NumCPU(), Cgroup: cgroupVersion(),
		Rounds: len(rounds), Noisy: noisy, Block: size.block, Rest: size.rest.Nanoseconds(), Absent: absent,
	}
	for _, c := range list {
		f := figures{Name: c.name, Gives: c.gives, Version: c.version()}
		var walls []time.Duration
		for _, round := range rounds {
			b := round.blocks[c.name]
			for _, s := range b.samples {
				walls = append(walls, s.wall)
				f.CPU += s.cpu
			}
			f.Kernel += b.kernel
		}
		f.Calls = len(walls)
		f.P50, f.P99 = quantile(walls, 0.5), quantile(walls, 0.99)
		f.Ratio, _ = ratioOf(rounds, c.name, unit)
		if f.Calls > 0 {
			f.CPU /= time.Duration(f.Calls)
			f.Kernel /= time.Duration(f.Calls)
		}
		r.Figures = append(r.Figures, f)
	}
	for _, p := range promises {
		r.Verdicts = append(r.Verdicts, p.judge(rounds))
	}
	return r
}

// print writes the table.
func (r report) print(w io.Writer) {
	fmt.Fprintf(w, "One %s, whole process, %d rounds of %d calls, Linux %s, %d CPUs, cgroup %s\n", command, r.Rounds, r.Block, r.Kernel, r.CPUs, r.Cgroup)
	if r.Noisy > 0 {
		fmt.Fprintf(w, "NOISY: %d of these rounds were disturbed; measure again on a quieter machine\n", r.Noisy)
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tp50 ms\tp99 ms\ttimes a spawn\t(quartiles)\tCPU ms\tkernel threads ms\t  ")
	for _, f := range r.Figures {
		fmt.Fprintf(t, "%s\t%s\t%s\t%.1f\t(%.1f to %.1f)\t%s\t%s\t  %s\n", f.Name, milliseconds(f.P50), milliseconds(f.P99),
			f.Ratio.Median, f.Ratio.Low, f.Ratio.High, milliseconds(f.CPU), milliseconds(f.Kernel), f.Gives)
	}
	_ = t.Flush()
	fmt.Fprintln(w)
	for _, a := range r.Absent {
		fmt.Fprintf(w, "left out: %s\n", a)
	}
	for _, v := range r.Verdicts {
		fmt.Fprintf(w, "%s: %s\n", v.word(), v.Promise)
	}
}

// word says how the promise fared.
func (v verdict) word() string {
	if !v.Measured {
		return "NOT MEASURED"
	}
	word := "broken"
	if v.Holds {
		word = "holds"
	}
	return fmt.Sprintf("%s, %.2f (quartiles %.2f to %.2f)", word, v.Ratio.Median, v.Ratio.Low, v.Ratio.High)
}

// judge is an error when a promise doesn't hold.
func (r report) judge() error {
	var all []error
	for _, v := range r.Verdicts {
		if !v.Holds {
			all = append(all, fmt.Errorf("%s: %s", v.word(), v.Promise))
		}
	}
	return errors.Join(all...)
}

// write makes the machine-readable file.
func (r report) write(path string) error {
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

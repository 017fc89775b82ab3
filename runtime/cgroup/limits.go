// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits are what a leaf may use. A zero field is not enforced.
type Limits struct {
	Memory            int64    // bytes, rounded down to whole pages; see the package comment for socket buffers on v1
	NoSwap            bool     // nothing of Memory may go to swap
	Pids              int64    // processes and threads at once
	CPU               float64  // cores: 0.25 is a quarter of one, 2 is two whole ones; at least 0.001
	ReadBps, WriteBps int64    // bytes per second on each of Devices
	Devices           []Device // whole block devices, see [DevicesBehind]
}

// LimitError says which limit could not be had. The sandbox must not run, unless the operator lowered that controller.
type LimitError struct {
	Controller Controller
	File       string // of the group; empty if the host lacks the controller altogether
	Err        error
}

// Error names the controller, the file and what can be done about it.
func (e *LimitError) Error() string {
	if e.File == "" {
		return fmt.Sprintf("this host has no %s control: %v; %s", e.Controller, e.Err, e.Controller.Hint())
	}
	return fmt.Sprintf("set %s limit in %s: %v", e.Controller, e.File, e.Err)
}

// Unwrap returns the cause.
func (e *LimitError) Unwrap() error { return e.Err }

// check refuses limits that mean nothing.
func (l Limits) check() error {
	page := int64(os.Getpagesize())
	switch {
	case l.Memory < 0 || l.Memory > 0 && l.Memory < page:
		return fmt.Errorf("memory limit of %d bytes: it must be at least one page of %d", l.Memory, page)
	case l.Pids < 0:
		return fmt.Errorf("pids limit of %d is negative", l.Pids)
	case math.IsNaN(l.CPU) || l.CPU != 0 && l.CPU < minCPU || l.CPU > maxCPU:
		return fmt.Errorf("cpu limit of %g cores: it must lie between %g and %g", l.CPU, float64(minCPU), float64(maxCPU))
	case l.ReadBps < 0 || l.WriteBps < 0:
		return fmt.Errorf("io limit of %d and %d bytes per second is negative", l.ReadBps, l.WriteBps)
	case (l.ReadBps > 0 || l.WriteBps > 0) && len(l.Devices) == 0:
		return errors.New("io limit without a device: name the one that holds the files, or leave the limit out where no disk is behind them")
	}
	return nil
}

// The kernel takes quotas of at least 1 ms and periods of at most 1 s (Documentation/scheduler/sched-bwc.rst).
const (
	minCPU        = 0.001
	maxCPU        = 1 << 14
	defaultPeriod = 100_000   // microseconds
	minQuota      = 1_000     // microseconds
	maxPeriod     = 1_000_000 // microseconds
)

// bandwidth turns a share of cores into quota and period in microseconds.
//
// The period is the kernel's own 100 ms. A shorter one would cut the longest pause (75 ms at a quarter of a core), but
// also what a group may use at one go, and most calls are short: with 25 ms at hand a small program starts, works and
// ends without ever being stopped, with 5 ms of every 20 it would be stopped three times. Below a hundredth of a core the
// quota would fall under the kernel's least, so there the period grows instead, up to 1 s.
func bandwidth(cores float64) (quota int64, period uint64) {
	period = defaultPeriod
	if cores*defaultPeriod < minQuota {
		period = min(uint64(math.Round(minQuota/cores)), maxPeriod)
	}
	return max(int64(math.Round(cores*float64(period))), minQuota), period
}

// setting is one file of a group: what to write, a system call for each text, and how the kernel must show it afterwards.
// The files are written here and not by containerd/cgroups, for which each takes a loading of the group, a look for
// the file, and a reading back apart, some 40 µs: a leaf has nine.
type setting struct {
	controller Controller
	file       string
	write      []string
	shown      []shown
	optional   bool // nothing is lost where the kernel has no such file
}

// shown is the expected content of a file of the group. A keyed file holds a line per device, and the line of this
// device has all the words of text.
type shown struct {
	text  string
	keyed bool
}

// exactly is a setting that is shown as it is written.
func exactly(c Controller, file, text string) setting {
	return setting{controller: c, file: file, write: []string{text}, shown: []shown{{text: text}}}
}

// settings lists what l asks of a host of version v, in the order of writing. It is pure.
func (l Limits) settings(v Version) ([]setting, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	if l.NoSwap && v != V2 && l.Memory == 0 {
		return nil, &LimitError{Controller: Swap, File: "memory.memsw.limit_in_bytes",
			Err: errors.New("cgroup v1 can forbid swap only together with a memory limit")}
	}
	s := make([]setting, 0, 10)
	unified := v == V2
	pages := strconv.FormatInt(l.Memory/int64(os.Getpagesize())*int64(os.Getpagesize()), 10)
	switch {
	case l.Memory == 0:
	case unified:
		s = append(s, exactly(Memory, "memory.max", pages), exactly(Memory, "memory.oom.group", "1"))
	default:
		sockets := exactly(Memory, "memory.kmem.tcp.limit_in_bytes", strconv.FormatInt(socketMemory(l.Memory), 10))
		sockets.optional = true
		s = append(s, exactly(Memory, "memory.limit_in_bytes", pages), sockets)
	}
	switch {
	case !l.NoSwap:
	case unified:
		s = append(s, exactly(Swap, "memory.swap.max", "0"))
	default: // never below the limit without swap, so after it
		s = append(s, exactly(Swap, "memory.memsw.limit_in_bytes", pages), exactly(Swap, "memory.swappiness", "0"))
	}
	if l.Pids > 0 {
		s = append(s, exactly(Pids, "pids.max", strconv.FormatInt(l.Pids, 10)))
	}
	if l.CPU > 0 {
		q, p := bandwidth(l.CPU)
		quota, period := strconv.FormatInt(q, 10), strconv.FormatUint(p, 10)
		if unified {
			s = append(s, exactly(CPU, "cpu.max", quota+" "+period))
		} else {
			s = append(s, exactly(CPU, "cpu.cfs_quota_us", quota), exactly(CPU, "cpu.cfs_period_us", period))
		}
	}
	return l.throttle(s, unified), nil
}

// maxSocketMemory is what all buffers of a v1 leaf's sockets may hold at most: room for several connections over loopback
// at full speed, and little enough that every sandbox of a large host can have it.
const maxSocketMemory = 16 << 20

// socketMemory is how much a v1 leaf may keep in socket buffers when its memory limit is that many bytes. It comes on top,
// since v1 doesn't count it as memory; hence only a part, in whole pages, and at least one.
func socketMemory(memory int64) int64 {
	page := int64(os.Getpagesize())
	return max(min(memory/4, maxSocketMemory)/page*page, page)
}

// throttle appends the io part of settings.
func (l Limits) throttle(s []setting, unified bool) []setting {
	both := setting{controller: IO, file: "io.max"}
	for _, way := range []struct {
		rate     int64
		v1file   string
		v2prefix string
	}{
		{l.ReadBps, "blkio.throttle.read_bps_device", "rbps="},
		{l.WriteBps, "blkio.throttle.write_bps_device", "wbps="},
	} {
		if way.rate == 0 {
			continue
		}
		one := setting{controller: IO, file: way.v1file}
		for _, d := range l.Devices {
			rate := strconv.FormatInt(way.rate, 10)
			if unified {
				line := d.String() + " " + way.v2prefix + rate
				both.write, both.shown = append(both.write, line), append(both.shown, shown{line, true})
			} else {
				line := d.String() + " " + rate
				one.write, one.shown = append(one.write, line), append(one.shown, shown{line, true})
			}
		}
		if !unified {
			s = append(s, one)
		}
	}
	if both.write != nil {
		s = append(s, both)
	}
	return s
}

// holds reports whether content of the file is what was asked for.
func (s shown) holds(content string) bool {
	if !s.keyed {
		return content == s.text
	}
	words := strings.Fields(s.text)
	for line := range strings.Lines(content) {
		have := strings.Fields(line)
		if len(have) > 0 && have[0] == words[0] &&
			!slices.ContainsFunc(words, func(w string) bool { return !slices.Contains(have, w) }) {
			return true
		}
	}
	return false
}

// Limit writes limits of the leaf, reads them back and compares. Zero fields stay as they were: a leaf may be made with
// some limits and get the rest once what is trusted in it is set up. The error is a [*LimitError].
func (l *Leaf) Limit(limits Limits) error {
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	return l.limit(limits)
}

// limit is Limit of a leaf that nobody can delete meanwhile.
func (l *Leaf) limit(limits Limits) error {
	all, err := limits.settings(l.host.Version)
	if err != nil {
		return err
	}
	for _, s := range all {
		root, ok := l.host.mount(s.controller)
		if !ok {
			return &LimitError{Controller: s.controller, Err: errors.New("it is not mounted or not enabled")}
		}
		if !l.host.usable[s.controller] && s.controller != Swap { // of swap the file itself tells
			return &LimitError{Controller: s.controller, Err: errors.New("the kernel does not offer it")}
		}
		name := root + l.path + "/" + s.file
		err := s.apply(name)
		missing := errors.Is(err, fs.ErrNotExist)
		if missing && s.optional {
			continue
		}
		if missing {
			err = fmt.Errorf("%w: %s", err, s.controller.Hint())
		}
		if err != nil {
			return &LimitError{Controller: s.controller, File: name, Err: err}
		}
	}
	return nil
}

// apply writes the setting into its file, reads that back and compares.
func (s setting) apply(name string) error {
	fd, err := open(name, unix.O_RDWR)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, text := range s.write {
		if err := put(fd, name, text); err != nil {
			return err
		}
	}
	have, err := get(fd, name)
	if err != nil {
		return err
	}
	for _, want := range s.shown {
		if !want.holds(have) {
			return fmt.Errorf("wanted %q, the kernel shows %q", want.text, have)
		}
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"
	"github.com/opencontainers/runtime-spec/specs-go"
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

// setting is one limit: how the library writes it on either version and how the kernel must show it afterwards.
type setting struct {
	controller Controller
	v1         specs.LinuxResources
	v2         cgroup2.Resources
	shown      []shown
	optional   bool // nothing is lost where the kernel has no such file
}

// shown is the expected content of a file of the group. A keyed file holds a line per device, and the line of this
// device has all the words of text.
type shown struct {
	file, text string
	keyed      bool
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
	var s []setting
	unified := v == V2
	pages := strconv.FormatInt(l.Memory/int64(os.Getpagesize())*int64(os.Getpagesize()), 10)
	if l.Memory > 0 {
		one := setting{controller: Memory}
		if unified {
			one.v2.Memory = &cgroup2.Memory{Max: &l.Memory, OOMGroup: ptr(true)}
			one.shown = []shown{{file: "memory.max", text: pages}, {file: "memory.oom.group", text: "1"}}
		} else {
			one.v1.Memory = &specs.LinuxMemory{Limit: &l.Memory}
			one.shown = []shown{{file: "memory.limit_in_bytes", text: pages}}
		}
		s = append(s, one)
	}
	if l.Memory > 0 && !unified {
		bytes := socketMemory(l.Memory)
		one := setting{controller: Memory, optional: true}
		one.v1.Memory = &specs.LinuxMemory{KernelTCP: &bytes}
		one.shown = []shown{{file: "memory.kmem.tcp.limit_in_bytes", text: strconv.FormatInt(bytes, 10)}}
		s = append(s, one)
	}
	if l.NoSwap {
		one := setting{controller: Swap}
		if unified {
			one.v2.Memory = &cgroup2.Memory{Swap: ptr(int64(0))}
			one.shown = []shown{{file: "memory.swap.max", text: "0"}}
		} else {
			one.v1.Memory = &specs.LinuxMemory{Swap: &l.Memory, Swappiness: ptr(uint64(0))}
			one.shown = []shown{{file: "memory.memsw.limit_in_bytes", text: pages}, {file: "memory.swappiness", text: "0"}}
		}
		s = append(s, one)
	}
	if l.Pids > 0 {
		one := setting{controller: Pids, shown: []shown{{file: "pids.max", text: strconv.FormatInt(l.Pids, 10)}}}
		one.v1.Pids = &specs.LinuxPids{Limit: &l.Pids}
		one.v2.Pids = &cgroup2.Pids{Max: l.Pids}
		s = append(s, one)
	}
	if l.CPU > 0 {
		quota, period := bandwidth(l.CPU)
		one := setting{controller: CPU}
		if unified {
			one.v2.CPU = &cgroup2.CPU{Max: cgroup2.NewCPUMax(&quota, &period)}
			one.shown = []shown{{file: "cpu.max", text: fmt.Sprintf("%d %d", quota, period)}}
		} else {
			one.v1.CPU = &specs.LinuxCPU{Quota: &quota, Period: &period}
			one.shown = []shown{{file: "cpu.cfs_quota_us", text: strconv.FormatInt(quota, 10)},
				{file: "cpu.cfs_period_us", text: strconv.FormatUint(period, 10)}}
		}
		s = append(s, one)
	}
	if l.ReadBps > 0 || l.WriteBps > 0 {
		s = append(s, l.throttle(unified))
	}
	return s, nil
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

// throttle is the io part of settings.
func (l Limits) throttle(unified bool) setting {
	one := setting{controller: IO}
	one.v1.BlockIO = &specs.LinuxBlockIO{}
	one.v2.IO = &cgroup2.IO{}
	for _, way := range []struct {
		rate   int64
		v1     *[]specs.LinuxThrottleDevice
		v1file string
		v2     cgroup2.IOType
	}{
		{l.ReadBps, &one.v1.BlockIO.ThrottleReadBpsDevice, "blkio.throttle.read_bps_device", cgroup2.ReadBPS},
		{l.WriteBps, &one.v1.BlockIO.ThrottleWriteBpsDevice, "blkio.throttle.write_bps_device", cgroup2.WriteBPS},
	} {
		if way.rate == 0 {
			continue
		}
		for _, d := range l.Devices {
			t := specs.LinuxThrottleDevice{Rate: uint64(way.rate)}
			t.Major, t.Minor = int64(d.Major), int64(d.Minor)
			*way.v1 = append(*way.v1, t)
			one.v2.IO.Max = append(one.v2.IO.Max, cgroup2.Entry{Type: way.v2, Major: t.Major, Minor: t.Minor, Rate: t.Rate})
			if unified {
				one.shown = append(one.shown, shown{"io.max", fmt.Sprintf("%s %s=%d", d, way.v2, t.Rate), true})
			} else {
				one.shown = append(one.shown, shown{way.v1file, fmt.Sprintf("%s %d", d, t.Rate), true})
			}
		}
	}
	return one
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
		dir := filepath.Join(root, l.path)
		if s.optional {
			if _, err := os.Lstat(filepath.Join(dir, s.shown[0].file)); errors.Is(err, fs.ErrNotExist) {
				continue
			}
		}
		if err := l.apply(s, root); err != nil {
			file := filepath.Join(dir, s.shown[0].file)
			if p := (*fs.PathError)(nil); errors.As(err, &p) {
				file = p.Path
			}
			// The library opens with O_CREATE, which the kernel answers with a misleading "permission denied".
			if _, missing := os.Lstat(file); errors.Is(missing, fs.ErrNotExist) {
				err = fmt.Errorf("%w: %s", missing, s.controller.Hint())
			}
			return &LimitError{Controller: s.controller, File: file, Err: err}
		}
		for _, want := range s.shown {
			have, err := read(dir, want.file)
			if err == nil && !want.holds(have) {
				err = fmt.Errorf("wanted %q, the kernel shows %q", want.text, have)
			}
			if err != nil {
				return &LimitError{Controller: s.controller, File: filepath.Join(dir, want.file), Err: err}
			}
		}
	}
	return nil
}

// apply has the library write one setting below the hierarchy mounted at root.
func (l *Leaf) apply(s setting, root string) error {
	if l.host.Version == V2 {
		m, err := cgroup2.Load(l.path, cgroup2.WithMountpoint(root))
		if err != nil {
			return err
		}
		return m.Update(&s.v2)
	}
	g, err := cgroup1.Load(cgroup1.StaticPath(l.path), cgroup1.WithHierarchy(func() ([]cgroup1.Subsystem, error) {
		return []cgroup1.Subsystem{subsystem(s.controller, filepath.Dir(root))}, nil
	}))
	if err != nil {
		return err
	}
	return g.Update(&s.v1)
}

// subsystem returns the library's v1 driver for c. It finds the hierarchy by the controller's name below top, which
// [OpenParent] has checked.
func subsystem(c Controller, top string) cgroup1.Subsystem {
	switch c {
	case Pids:
		return cgroup1.NewPids(top)
	case CPU:
		return cgroup1.NewCpu(top)
	case Cpuacct:
		return cgroup1.NewCpuacct(top)
	case IO:
		return cgroup1.NewBlkio(top)
	default: // Memory and Swap
		return cgroup1.NewMemory(top, cgroup1.OptionalSwap(), cgroup1.IgnoreModules("kmem", "kmem.tcp"))
	}
}

func ptr[T any](v T) *T { return &v }

// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"
)

// Stats is what a leaf has used since it was made, including all groups below it. A number that this host does not
// count is zero and its Known flag false.
type Stats struct {
	CPU, User, System time.Duration // processor time: CPU is all of it, exact; User and System are rounded to clock ticks on v1
	CPUKnown          bool

	MemoryPeak      uint64 // bytes
	MemoryPeakKnown bool
	PidsPeak        uint64 // processes and threads at once
	PidsPeakKnown   bool

	OOMKills      uint64 // kills for want of memory; ending a whole leaf on v2 counts its first victim twice
	PidsLimitHits uint64 // forks and threads refused

	IORead, IOWritten uint64 // bytes that reached block devices
	IOKnown           bool
}

// Stats reads all statistics of the leaf.
func (l *Leaf) Stats() (Stats, error) {
	if err := l.enter(); err != nil {
		return Stats{}, err
	}
	defer l.leave()
	var s Stats
	var err error
	if l.host.Version == V2 {
		err = l.statsUnified(&s)
	} else {
		err = l.statsSplit(&s)
	}
	if err == nil {
		err = l.statsPids(&s)
	}
	if err != nil {
		return Stats{}, fmt.Errorf("statistics of control group %s: %w", l.name, err)
	}
	return s, nil
}

// statsSplit reads v1.
func (l *Leaf) statsSplit(s *Stats) error {
	var drivers []cgroup1.Subsystem
	for _, c := range []Controller{Memory, Cpuacct, IO} {
		if root, ok := l.host.mount(c); ok && l.host.usable[c] {
			drivers = append(drivers, subsystem(c, filepath.Dir(root)))
		}
	}
	if len(drivers) == 0 {
		return nil
	}
	g, err := cgroup1.Load(cgroup1.StaticPath(l.path), cgroup1.WithHierarchy(func() ([]cgroup1.Subsystem, error) { return drivers, nil }))
	if err != nil {
		return err
	}
	m, err := g.Stat()
	if err != nil {
		return err
	}
	if l.host.usable[Cpuacct] {
		u := m.CPU.Usage
		s.CPU, s.User, s.System, s.CPUKnown = time.Duration(u.Total), time.Duration(u.User), time.Duration(u.Kernel), true
	}
	if m.Memory != nil {
		s.MemoryPeak, s.MemoryPeakKnown = m.Memory.Usage.Max, true
		s.OOMKills = m.MemoryOomControl.OomKill
	}
	if m.Blkio != nil {
		s.IOKnown = true
		for _, e := range m.Blkio.IoServiceBytesRecursive {
			switch e.Op {
			case "Read":
				s.IORead += e.Value
			case "Write":
				s.IOWritten += e.Value
			}
		}
	}
	return nil
}

// statsUnified reads v2.
func (l *Leaf) statsUnified(s *Stats) error {
	g, err := cgroup2.Load(l.path, cgroup2.WithMountpoint(l.host.Hierarchies[0].Mount))
	if err != nil {
		return err
	}
	mask := cgroup2.StatCPU
	if l.host.usable[Memory] {
		mask |= cgroup2.StatMemoryEvents
	}
	if l.host.usable[IO] {
		mask |= cgroup2.StatIO
	}
	m, err := g.StatFiltered(mask)
	if err != nil {
		return err
	}
	us := func(n uint64) time.Duration { return time.Duration(n) * time.Microsecond }
	s.CPU, s.User, s.System, s.CPUKnown = us(m.CPU.UsageUsec), us(m.CPU.UserUsec), us(m.CPU.SystemUsec), true
	if m.MemoryEvents != nil {
		s.OOMKills = m.MemoryEvents.OomKill
	}
	if m.Io != nil {
		s.IOKnown = true
		for _, e := range m.Io.Usage {
			s.IORead += e.Rbytes
			s.IOWritten += e.Wbytes
		}
	}
	if l.host.usable[Memory] {
		s.MemoryPeak, s.MemoryPeakKnown, err = l.peak(l.dirs[0], "memory.peak")
	}
	return err
}

// statsPids reads the files of the pids controller, which are the same on both versions.
func (l *Leaf) statsPids(s *Stats) error {
	dir, ok := l.dir(Pids)
	if !ok {
		return nil
	}
	var err error
	if s.PidsLimitHits, err = readValue(dir, "pids.events", "max"); err != nil {
		return err
	}
	s.PidsPeak, s.PidsPeakKnown, err = l.peak(dir, "pids.peak")
	return err
}

// peak reads a file that older kernels lack.
func (l *Leaf) peak(dir, file string) (n uint64, known bool, err error) {
	text, err := read(dir, file)
	if errors.Is(err, os.ErrNotExist) {
		return 0, false, nil
	}
	if err == nil {
		n, err = strconv.ParseUint(text, 10, 64)
	}
	return n, err == nil, err
}

// openUsage opens the file that CPUUsage reads.
func (l *Leaf) openUsage() error {
	dir, ok := l.dir(Cpuacct)
	if !ok {
		return nil
	}
	file := "cpuacct.usage"
	if l.host.Version == V2 {
		file = "cpu.stat"
	}
	f, err := os.Open(filepath.Join(dir, file))
	l.usage = f
	return err
}

// CPUUsage returns the processor time that the leaf has used. It costs one system call on a file that is kept open, so
// that it can be asked often.
func (l *Leaf) CPUUsage() (time.Duration, error) {
	if err := l.enter(); err != nil {
		return 0, err
	}
	defer l.leave()
	if l.usage == nil {
		return 0, &LimitError{Controller: Cpuacct, Err: fmt.Errorf("leaf %s has no account of processor time", l.name)}
	}
	var buf [512]byte
	n, err := l.usage.ReadAt(buf[:], 0)
	if err != nil && err != io.EOF {
		return 0, fmt.Errorf("processor time of control group %s: %w", l.name, err)
	}
	return parseUsage(buf[:n], l.host.Version)
}

// parseUsage takes the beginning of cpuacct.usage (nanoseconds) or, on V2, of cpu.stat ("usage_usec" and microseconds).
func parseUsage(text []byte, v Version) (time.Duration, error) {
	line, _, _ := strings.Cut(string(text), "\n")
	unit := time.Nanosecond
	if v == V2 {
		unit = time.Microsecond
		var ok bool
		if line, ok = strings.CutPrefix(line, "usage_usec "); !ok {
			return 0, fmt.Errorf("cpu.stat begins with %q and not with usage_usec", line)
		}
	}
	n, err := strconv.ParseInt(line, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("processor time: %w", err)
	}
	return time.Duration(n) * unit, nil
}

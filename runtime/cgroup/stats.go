// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
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

// Stats reads all statistics of the leaf. It opens one small file for each, and not containerd/cgroups, which reads everything
// that the controllers have to tell: ten times as much.
func (l *Leaf) Stats() (Stats, error) {
	if err := l.enter(); err != nil {
		return Stats{}, err
	}
	defer l.leave()
	var s Stats
	for _, part := range []func(*Stats) error{l.statsCPU, l.statsMemory, l.statsIO, l.statsPids} {
		if err := part(&s); err != nil {
			return Stats{}, fmt.Errorf("statistics of control group %s: %w", l.name, err)
		}
	}
	return s, nil
}

// userHz is what cpuacct.stat counts in a second; every architecture that Go knows has this (times(2)).
const userHz = 100

// statsCPU reads the account of processor time.
func (l *Leaf) statsCPU(s *Stats) error {
	if l.usage == nil {
		return nil
	}
	text, err := readAt(l.usage)
	if err != nil {
		return err
	}
	unified := l.host.unified(Cpuacct)
	if s.CPU, err = parseUsage(text, unified); err != nil {
		return err
	}
	user, system, unit := "user_usec", "system_usec", time.Microsecond
	if !unified {
		dir, _ := l.dir(Cpuacct)
		if text, err = read(dir, "cpuacct.stat"); err != nil {
			return err
		}
		user, system, unit = "user", "system", time.Second/userHz
	}
	u, _ := value(text, user)
	k, _ := value(text, system)
	s.User, s.System, s.CPUKnown = time.Duration(u)*unit, time.Duration(k)*unit, true
	return nil
}

// statsMemory reads the most that was used and the kills.
func (l *Leaf) statsMemory(s *Stats) error {
	dir, ok := l.dir(Memory)
	if !ok {
		return nil
	}
	peak := "memory.max_usage_in_bytes"
	var kills string
	var err error
	if l.host.Version == V2 {
		peak = "memory.peak"
		kills, err = read(dir, "memory.events")
	} else {
		kills, err = readAt(l.oom)
	}
	if err != nil {
		return err
	}
	s.OOMKills, _ = value(kills, "oom_kill") // not counted before Linux 4.13
	s.MemoryPeak, s.MemoryPeakKnown, err = l.peak(dir, peak)
	return err
}

// statsIO adds up all devices.
func (l *Leaf) statsIO(s *Stats) error {
	dir, ok := l.dir(IO)
	if !ok {
		return nil
	}
	file := "blkio.throttle.io_service_bytes_recursive"
	if l.host.Version == V2 {
		file = "io.stat"
	}
	text, err := read(dir, file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	s.IORead, s.IOWritten = parseIO(text)
	s.IOKnown = err == nil
	return err
}

// parseIO adds up blkio's "MAJ:MIN Read N" and "MAJ:MIN Write N" lines, or io.stat's "MAJ:MIN rbytes=N wbytes=N ...".
func parseIO(text string) (read, written uint64) {
	for line := range strings.Lines(text) {
		way := ""
		for word := range strings.FieldsSeq(line) {
			key, number, pair := strings.Cut(word, "=")
			if !pair {
				key, number = way, word
			}
			n, err := strconv.ParseUint(number, 10, 64)
			switch {
			case err != nil:
			case key == "Read", key == "rbytes":
				read += n
			case key == "Write", key == "wbytes":
				written += n
			}
			way = word
		}
	}
	return read, written
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

// openUsage opens the files that are read more than once: what CPUUsage reads, and on v1 what tells of memory.
func (l *Leaf) openUsage() error {
	if dir, ok := l.dir(Cpuacct); ok {
		file := "/cpuacct.usage"
		if l.host.unified(Cpuacct) {
			file = "/cpu.stat"
		}
		var err error
		if l.usage, err = openFile(dir+file, unix.O_RDONLY); err != nil {
			return err
		}
	}
	if dir, ok := l.dir(Memory); ok && l.host.Version != V2 {
		var err error
		if l.oom, err = openFile(dir+"/memory.oom_control", unix.O_RDONLY); err != nil {
			return err
		}
	}
	return nil
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
	text, err := readAt(l.usage)
	if err != nil {
		return 0, fmt.Errorf("processor time of control group %s: %w", l.name, err)
	}
	return parseUsage(text, l.host.unified(Cpuacct))
}

// parseUsage takes the beginning of cpuacct.usage (nanoseconds) or, of v2, of cpu.stat ("usage_usec" and microseconds).
func parseUsage(text string, unified bool) (time.Duration, error) {
	line, _, _ := strings.Cut(text, "\n")
	unit := time.Nanosecond
	if unified {
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

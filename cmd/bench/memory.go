// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// settle is how long a daemon is left alone before its memory is read.
const settle = 2 * time.Second

// memory is of a daemon at rest, of sandboxes that wait, and of those with a
// process that sleeps.
func (b *bench) memory(ctx context.Context) error {
	s, err := newSite(b.dir, b.programs, "[pool]\nboxes = 128\nper_profile = 128\nper_session = 128\nmemory = \"4G\"\n")
	if err != nil {
		return err
	}
	if err := s.profile("sleep", sleepProfile); err != nil {
		return err
	}
	if err := s.up(); err != nil {
		return err
	}
	defer s.down()
	rest := func() { time.Sleep(settle) }
	rest()
	r, at := b.report, s.weigh()
	r.tell("daemon, just started", "", mb(at.daemon), "MB", "proportional set size")
	r.tell("daemon, just started", "and its helpers", mb(at.all-at.daemon), "MB", fmt.Sprintf("%d processes", at.processes-1))

	a, err := s.caller(plain("", command))
	if err != nil {
		return err
	}
	defer a.Close()
	for n := range 100 {
		if err := a.call(n); err != nil {
			return err
		}
	}
	// Many at once, so that many are kept waiting for the next time.
	for range 2 {
		if err := s.burst(100); err != nil {
			return err
		}
	}
	rest()
	used := s.weigh()
	r.tell("daemon at rest, after 300 calls", "", mb(used.daemon), "MB", "proportional set size")
	r.tell("daemon at rest, after 300 calls", "and all below it", mb(used.all-used.daemon), "MB", fmt.Sprintf("%d processes, %d sandboxes that wait", used.processes-1, used.boxes))
	if boxes := used.boxes - at.boxes; boxes > 0 {
		s.tellEach(r, "a waiting sandbox", at, used, boxes, "its share of the template included")
	} else {
		r.Absent = append(r.Absent, "a waiting sandbox: none waits")
	}
	const live = 100
	stop, err := s.sleepers(ctx, live)
	if err != nil {
		return err
	}
	rest()
	s.tellEach(r, "a live sandbox, sleep in it", used, s.weigh(), live, "the process that sleeps included")
	return stop()
}

// burst asks for n calls at once.
func (s *site) burst(n int) error {
	done := make(chan error)
	for range n {
		go func() {
			a, err := s.caller(plain("", command))
			if err == nil {
				err = errors.Join(a.call(0), a.Close())
			}
			done <- err
		}()
	}
	var err error
	for range n {
		err = errors.Join(err, <-done)
	}
	return err
}

// tellEach tells what each of n boxes weighs that came between two weighings.
func (s *site) tellEach(r *report, name string, before, after weight, n int, note string) {
	each := func(kb int64) float64 { return float64(kb) / float64(n) }
	r.tell(name, "processes", each(after.all-before.all-(after.daemon-before.daemon)), "kB", fmt.Sprintf("proportional set size, of %d; %s", n, note))
	r.tell(name, "kernel", each(after.kernel-before.kernel), "kB", "slab that can't be reclaimed, stacks, page tables and per-CPU memory, of the whole machine")
}

// sleepers asks for so many calls that sleep, and returns once all run. What it
// gives stops them.
func (s *site) sleepers(ctx context.Context, n int) (stop func() error, err error) {
	calls, err := s.dial("call")
	if err != nil {
		return nil, err
	}
	defer calls.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for range n {
		if err := calls.Call(ctx, api.CallSubmit, api.Submit{Args: raw.Of([]string{"/usr/bin/sleep", "3000"}), Profile: "sleep"}, nil); err != nil {
			return nil, err
		}
	}
	admin, err := s.dial("admin")
	if err != nil {
		return nil, err
	}
	for began := time.Now(); ; {
		var d api.Daemon
		if err := admin.Call(ctx, api.Status, api.Nothing{}, &d); err != nil {
			return nil, err
		}
		if d.Calls >= n && d.Queue == 0 && s.running("sleep") >= n {
			break
		}
		if time.Since(began) > patience {
			return nil, fmt.Errorf("%d of %d sandboxes run after %v: %s", s.running("sleep"), n, patience, s.daemon.said())
		}
		time.Sleep(10 * time.Millisecond)
	}
	return func() error {
		defer admin.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return admin.Call(ctx, api.CallStop, api.Stop{All: true}, nil)
	}, nil
}

// sleepProfile is of calls that sleep while others are measured.
const sleepProfile = "extends = \"build\"\n[limits]\nwall_time = \"1h\"\n"

// weight is what a daemon and all that it started hold; sizes are kB.
type weight struct {
	daemon, rss int64 // of the daemon itself
	all         int64 // with all processes that it started
	kernel      int64 // of the kernel, of the whole machine
	processes   int
	boxes       int // control groups with a process in them
	files       int // descriptors of the daemon
	threads     int64
	mounts      int
}

func (s *site) weigh() weight {
	w := weight{processes: 1}
	w.daemon, w.rss = pss(s.daemon.pid)
	w.all = w.daemon
	for pid := range s.started() {
		if pid == s.daemon.pid {
			continue
		}
		p, _ := pss(pid)
		w.all += p
		w.processes++
	}
	for _, key := range []string{"SUnreclaim", "KernelStack", "PageTables", "SecPageTables", "Percpu"} {
		w.kernel += field("/proc/meminfo", key)
	}
	w.boxes = len(s.boxes())
	files, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.daemon.pid))
	w.files = len(files)
	w.threads = field(fmt.Sprintf("/proc/%d/status", s.daemon.pid), "Threads")
	mounts, _ := os.ReadFile(fmt.Sprintf("/proc/%d/mounts", s.daemon.pid))
	w.mounts = strings.Count(string(mounts), "\n")
	return w
}

// boxes are the control groups below the slice that have a process.
func (s *site) boxes() []string {
	var all []string
	for _, dir := range groupDirs(s.slice) {
		leaves, _ := filepath.Glob(dir + "/*/cgroup.procs")
		var live []string
		for _, leaf := range leaves {
			if text, _ := os.ReadFile(leaf); len(text) > 0 {
				live = append(live, filepath.Base(filepath.Dir(leaf)))
			}
		}
		if len(live) > len(all) { // v1 has the same ones in each hierarchy
			all = live
		}
	}
	return all
}

// started are the names of the daemon and of all processes that came of it, by
// pid.
func (s *site) started() map[int]string {
	children := make(map[int][]int)
	names := make(map[int]string)
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue
		}
		// pid (name) state ppid ...: the name may hold anything
		head, rest, _ := cutLast(string(stat), ") ")
		fields := strings.Fields(rest)
		if len(fields) < 2 {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(dir))
		parent, _ := strconv.Atoi(fields[1])
		children[parent] = append(children[parent], pid)
		_, names[pid], _ = strings.Cut(head, "(")
	}
	all := make(map[int]string)
	for next := children[s.daemon.keeper]; len(next) > 0; {
		pid := next[0]
		next = append(next[1:], children[pid]...)
		all[pid] = names[pid]
	}
	return all
}

func (s *site) running(name string) int {
	n := 0
	for _, running := range s.started() {
		if running == name {
			n++
		}
	}
	return n
}

func cutLast(text, at string) (before, after string, found bool) {
	i := strings.LastIndex(text, at)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(at):], true
}

// pss is the proportional and the resident set size (proc_pid_smaps(5)), in kB.
func pss(pid int) (proportional, resident int64) {
	file := fmt.Sprintf("/proc/%d/smaps_rollup", pid)
	return field(file, "Pss"), field(file, "Rss")
}

// field is the number behind "key:" in a file of proc(5), 0 without one.
func field(file, key string) int64 {
	text, _ := os.ReadFile(file)
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			if words := strings.Fields(rest); len(words) > 0 {
				n, _ := strconv.ParseInt(words[0], 10, 64)
				return n
			}
		}
	}
	return 0
}

func mb(kb int64) float64 { return float64(kb) / 1024 }

// steadyParts is how often a daemon is looked at while it works.
const steadyParts = 20

// steadiness has a daemon answer many calls, by four callers, and tells what it
// holds more of for each thousand, in the second half.
func (b *bench) steadiness(ctx context.Context) error {
	s, err := newSite(b.dir, b.programs, "")
	if err != nil {
		return err
	}
	if err := s.up(); err != nil {
		return err
	}
	defer s.down()
	var calls []float64
	held := make([][]float64, len(holdings))
	each := b.steady / steadyParts / maxCallers
	began := time.Now()
	for part := range steadyParts {
		done := make(chan error)
		for range maxCallers {
			go func() {
				a, err := s.caller(plain("", command))
				for n := 0; err == nil && n < each && ctx.Err() == nil; n++ {
					err = a.call(n)
				}
				if a != nil {
					_ = a.Close()
				}
				done <- err
			}()
		}
		for range maxCallers {
			if e := <-done; e != nil {
				err = e
			}
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		time.Sleep(settle / 4)
		w := s.weigh()
		if part%5 == 4 {
			fmt.Fprintf(os.Stderr, "bench: steady, %d calls, %v, %+v\n", (part+1)*each*maxCallers, time.Since(began).Round(time.Second), w)
		}
		if part >= steadyParts/2 {
			calls = append(calls, float64((part+1)*each*maxCallers)/1000)
			for i, h := range holdings {
				held[i] = append(held[i], h.of(w))
			}
		}
	}
	const name = "steady"
	b.report.tell(name, "calls", float64(steadyParts*each*maxCallers), "calls", "looked at over the second half")
	for i, h := range holdings {
		b.report.tell(name, h.name, slope(calls, held[i]), h.unit+" per 1,000 calls", fmt.Sprintf("%s %s at the end", short(held[i][len(held[i])-1]), h.unit))
	}
	return nil
}

// holdings are what must not grow.
var holdings = []struct {
	name, unit string
	of         func(weight) float64
}{
	{"proportional set size", "kB", func(w weight) float64 { return float64(w.daemon) }},
	{"resident set size", "kB", func(w weight) float64 { return float64(w.rss) }},
	{"descriptors", "open", func(w weight) float64 { return float64(w.files) }},
	{"threads", "threads", func(w weight) float64 { return float64(w.threads) }},
	{"processes below it", "processes", func(w weight) float64 { return float64(w.processes - 1) }},
	{"mounts it sees", "mounts", func(w weight) float64 { return float64(w.mounts) }},
	{"kernel memory", "kB", func(w weight) float64 { return float64(w.kernel) }},
}

// maxRSS is the most that a process that has ended had resident, in kB.
func maxRSS(p *os.ProcessState) int64 {
	if use, ok := p.SysUsage().(*syscall.Rusage); ok {
		return use.Maxrss
	}
	return 0
}

// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// expect reads events until want arrives.
func expect(t *testing.T, events <-chan Event, want Event) {
	t.Helper()
	ctx := patience(t)
	for {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatalf("the watch ended without %v", want)
			}
			if e == want {
				return
			}
		case <-ctx.Done():
			t.Fatalf("no %v", want)
		}
	}
}

func TestOutOfMemory(t *testing.T) {
	h := realHost(t)
	need(t, h, Memory)
	p := testParent(t, h)
	leaf := newLeaf(t, p, "oom", Limits{Memory: 64 << 20, NoSwap: h.Usable(Swap)})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events, err := leaf.Watch(ctx)
	must(t, err)

	const most = 64<<20 + 64<<12 // v2 lets the kernel's own allocations pass the limit by a few pages
	small := startChild(t, leaf, "memory40")
	small.start()
	if err := small.Wait(); err != nil {
		t.Fatalf("40 MB in a leaf of 64 MB: %v", err)
	}
	if s, err := leaf.Stats(); err != nil || s.OOMKills != 0 || s.MemoryPeakKnown && (s.MemoryPeak < 40<<20 || s.MemoryPeak > most) {
		t.Fatalf("after 40 MB: %+v, %v", s, err)
	}
	select {
	case e := <-events:
		t.Fatalf("%v for 40 MB", e)
	default:
	}

	big := startChild(t, leaf, "memory80")
	big.start()
	big.Wait()
	if st := big.ProcessState.Sys().(syscall.WaitStatus); !st.Signaled() || st.Signal() != syscall.SIGKILL {
		t.Fatalf("80 MB in a leaf of 64 MB: %v", big.ProcessState)
	}
	expect(t, events, OOM)
	if s, err := leaf.Stats(); err != nil || s.OOMKills == 0 || s.MemoryPeakKnown && s.MemoryPeak > most {
		t.Fatalf("after 80 MB: %+v, %v", s, err)
	}

	late, err := leaf.Watch(ctx) // what happened before the watch is reported too
	must(t, err)
	expect(t, late, OOM)
	must(t, leaf.Delete()) // on v1 that rings the eventfd, which must not look like another one
	cancel()
	for _, c := range []<-chan Event{events, late} {
		for e := range c {
			if e != OOM {
				t.Errorf("%v after the end", e)
			}
		}
	}
}

func TestPidsLimit(t *testing.T) {
	h := realHost(t)
	need(t, h, Pids)
	p := testParent(t, h)
	leaf := newLeaf(t, p, "pids", Limits{Pids: 16})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events, err := leaf.Watch(ctx)
	must(t, err)
	c := startChild(t, leaf, "bomb")
	dir, _ := leaf.dir(Pids)
	if max, err := read(dir, "pids.max"); max != "16" || err != nil {
		t.Fatalf("pids.max is %q, %v", max, err)
	}
	c.start()
	expect(t, events, PidsLimit)
	s, err := leaf.Stats()
	must(t, err)
	if s.PidsLimitHits == 0 || s.PidsPeakKnown && s.PidsPeak != 16 {
		t.Errorf("%+v", s)
	}
	must(t, leaf.Kill(patience(t)))
}

// TestWatchLeavesNothing counts descriptors and goroutines around watches that end in each possible way.
func TestWatchLeavesNothing(t *testing.T) {
	p := testParent(t, realHost(t))
	leaf := newLeaf(t, p, "watch", Limits{})
	standing, end := context.WithCancel(context.Background())
	defer end()
	_, err := leaf.Watch(standing) // so that what all watches of a parent share is there
	must(t, err)
	files, routines := openFiles(t), runtime.NumGoroutine()
	for i := range 20 {
		ctx, cancel := context.WithCancel(context.Background())
		events, err := leaf.Watch(ctx)
		must(t, err)
		if i == 19 {
			must(t, leaf.Delete())
			files-- // the leaf's own
		}
		cancel()
		for range events {
		}
	}
	if n := openFiles(t); n > files {
		t.Errorf("%d descriptors, were %d", n, files)
	}
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > routines && time.Now().Before(deadline) {
		runtime.Gosched() // the one that closed the channel may still be on its last instruction
	}
	if n := runtime.NumGoroutine(); n > routines {
		t.Errorf("%d goroutines, were %d", n, routines)
	}
	if _, err := leaf.Watch(context.Background()); err == nil && p.host.Usable(Pids) {
		t.Error("a leaf that is gone can be watched")
	}
}

// TestCPUShare burns processor time in a leaf with a quarter of a core. What it may use at most is exact: one quota for each
// period that the measurement touches, and a clock tick of overrun on each processor. That it gets its share at all depends on
// what else the machine does, so the best of several windows counts.
func TestCPUShare(t *testing.T) {
	h := realHost(t)
	need(t, h, CPU, Cpuacct)
	p := testParent(t, h)
	const share, window = 0.25, 1200 * time.Millisecond
	leaf := newLeaf(t, p, "cpu", Limits{CPU: share})
	startChild(t, leaf, "burn").start()
	var got float64
	for range 6 {
		before, err := leaf.CPUUsage()
		must(t, err)
		from := time.Now()
		<-time.After(window)
		after, err := leaf.CPUUsage()
		must(t, err)
		wall := time.Since(from)
		used := after - before
		const quota, period, tick = 25 * time.Millisecond, 100 * time.Millisecond, 10 * time.Millisecond
		if most := quota*(wall/period+2) + tick*time.Duration(runtime.NumCPU()); used > most {
			t.Fatalf("used %v in %v, at most %v are its share", used, wall, most)
		}
		got = max(got, used.Seconds()/wall.Seconds())
		t.Logf("%v in %v: %.3f", used, wall, used.Seconds()/wall.Seconds())
		if got >= 0.9*share {
			break
		}
	}
	if got < 0.9*share { // that it isn't too much was exact, above
		t.Errorf("share of %.3f, want %.2f less a tenth at least", got, share)
	}
	// Both readings are of one clock, so the second must lie between the others.
	before, err := leaf.CPUUsage()
	must(t, err)
	s, err := leaf.Stats()
	must(t, err)
	if after, err := leaf.CPUUsage(); err != nil || s.CPU < before || s.CPU > after || s.User == 0 || !s.CPUKnown {
		t.Errorf("%v, %+v and then %v, %v", before, s, after, err)
	}
}

// diskFile returns an empty file and the disks that it lies on.
func diskFile(t *testing.T) (string, []Device) {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "clawsup-test-") // /tmp may be in memory
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	disks, err := DevicesBehind(dir)
	if err != nil || len(disks) == 0 {
		t.Skipf("no disk behind %s: %v", dir, err)
	}
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	return file, disks
}

func TestIOStats(t *testing.T) {
	h := realHost(t)
	need(t, h, IO)
	file, _ := diskFile(t)
	leaf := newLeaf(t, testParent(t, h), "io", Limits{})
	c := startChild(t, leaf, "write", file)
	c.start()
	must(t, c.Wait())
	if s, err := leaf.Stats(); err != nil || !s.IOKnown || s.IOWritten < 8<<20 {
		t.Errorf("after writing 8 MiB past the cache: %+v, %v", s, err)
	}
}

// TestKill has Kill win against everything that tries not to die, in nested groups as well, and spare a bystander.
func TestKill(t *testing.T) {
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			p := testParent(t, h)
			bystander := startChild(t, nil, "sleep")
			bystander.start()
			for _, c := range []struct {
				mode   string
				freeze bool
				nested bool
			}{{"sleep", false, false}, {"sleep", true, false}, {"sleep", false, true}, {"sleep", true, true}, {"stop", false, false},
				{"stop", true, false}, {"daemon", false, false}, {"daemon", true, true}, {"threads", false, false}, {"bomb", false, false}, {"bomb", true, true}} {
				leaf := newLeaf(t, p, fmt.Sprintf("%s-%v-%v", c.mode, c.freeze, c.nested), Limits{})
				in := leaf
				if c.nested {
					for _, dir := range leaf.dirs {
						must(t, os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755))
						must(t, os.Mkdir(filepath.Join(dir, "c"), 0o755))
					}
					in = &Leaf{host: h, path: filepath.Join(leaf.path, "a", "b")}
					for _, dir := range leaf.dirs {
						in.dirs = append(in.dirs, filepath.Join(dir, "a", "b"))
					}
				}
				child := startChild(t, in, c.mode)
				if c.mode == "bomb" && !limitBomb(t, leaf, child.Process.Pid) {
					t.Log("no pids control for a fork bomb")
					continue
				}
				if c.freeze && c.mode == "sleep" {
					must(t, in.Freeze(patience(t))) // the nested group alone
				}
				child.start()
				if c.mode == "daemon" {
					must(t, child.Wait()) // from here on only the grandchild is left
				}
				if c.mode == "bomb" {
					awaitFull(t, leaf)
				}
				if c.freeze {
					must(t, leaf.Freeze(patience(t)))
				}
				pids, err := processes(leaf.dirs)
				must(t, err)
				if len(pids) == 0 {
					t.Fatalf("%+v: nobody to kill", c)
				}
				if err := leaf.Kill(patience(t)); err != nil {
					t.Fatalf("%+v: %v", c, err)
				}
				for _, pid := range pids { // it has left the group, and then has a little way to go still
					for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
						if s := state(pid); s == "X" || s == "Z" {
							break
						} else if time.Now().After(end) {
							t.Errorf("%+v: %d is still in state %s", c, pid, s)
							break
						}
					}
				}
				must(t, leaf.Delete())
				if left := existing(leaf); left != nil {
					t.Errorf("%+v: left %q", c, left)
				}
				must(t, leaf.Kill(patience(t))) // nobody, nowhere
			}
			if s := state(bystander.Process.Pid); s != "S" {
				t.Errorf("the bystander is in state %s", s)
			}
		})
	}
}

// bombPids bounds fork bombs.
const bombPids = 60

// limitBomb makes sure that the process can't fork beyond bombPids, with the v1 pids group of the leaf or, if the leaf has
// none, with a group made just for that. It reports whether the limit was read back.
func limitBomb(t *testing.T, leaf *Leaf, pid int) bool {
	dir, ok := leaf.dir(Pids)
	if !ok {
		real := realHost(t)
		if !real.Usable(Pids) {
			return false
		}
		dir, _ = newLeaf(t, testParent(t, real), "bomb", Limits{Pids: bombPids}).dir(Pids)
		must(t, write(dir, "cgroup.procs", fmt.Sprint(pid)))
	} else {
		must(t, write(dir, "pids.max", fmt.Sprint(bombPids)))
	}
	max, err := read(dir, "pids.max")
	must(t, err)
	return max == fmt.Sprint(bombPids)
}

// awaitFull waits until the bomb has gone off: until more than half of what it may have is there.
func awaitFull(t *testing.T, leaf *Leaf) {
	t.Helper()
	ctx := patience(t)
	for ctx.Err() == nil {
		if pids, err := processes(leaf.dirs); err == nil && len(pids) > bombPids/2 {
			return
		}
		runtime.Gosched()
	}
	t.Fatal("the fork bomb does not go off")
}

// TestKillGivesUp asks for a kill with a context that has ended: it must say who is left, and leave the leaf thawed.
func TestKillGivesUp(t *testing.T) {
	h := realHost(t)
	leaf := newLeaf(t, testParent(t, h), "late", Limits{})
	c := startChild(t, leaf, "sleep")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := leaf.Kill(ctx); h.Version != V2 && !errors.Is(err, context.Canceled) {
		t.Errorf("kill with an ended context: %v", err)
	}
	if h.Version != V2 {
		if err := leaf.Delete(); !errors.Is(err, syscall.EBUSY) {
			t.Errorf("delete of a leaf with a process: %v", err)
		}
		if s := state(c.Process.Pid); s != "S" {
			t.Errorf("the process is in state %s", s)
		}
	}
}

func TestFreeze(t *testing.T) {
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			need(t, h, Freezer)
			leaf := newLeaf(t, testParent(t, h), "freeze", Limits{})
			c := startChild(t, leaf, "burn")
			c.start()
			for range 3 {
				must(t, leaf.Freeze(patience(t)))
				awaitStill(t, c.Process.Pid)
				before, err := leaf.CPUUsage()
				must(t, err)
				after, err := leaf.CPUUsage()
				must(t, err)
				if before != after {
					t.Errorf("it used %v while frozen", after-before)
				}
				must(t, leaf.Thaw(patience(t)))
				ctx := patience(t)
				for after == before && ctx.Err() == nil {
					after, err = leaf.CPUUsage()
					must(t, err)
				}
				must(t, ctx.Err())
			}
		})
	}
}

// awaitStill waits until no thread of a process runs. v2 calls one frozen that can't get out of the kernel any more, and a
// signal may still have it turn round once in there.
func awaitStill(t *testing.T, pid int) {
	t.Helper()
	for ctx := patience(t); ; runtime.Gosched() {
		running := false
		stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		for _, file := range stats {
			text, _ := os.ReadFile(file)
			_, after, _ := strings.Cut(string(text), ") ")
			running = running || strings.HasPrefix(after, "R")
		}
		if !running {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%d runs while frozen", pid)
		}
	}
}

// TestSweep leaves one leaf that is wanted and sweeps those that are not: with processes, empty, and in one hierarchy only.
func TestSweep(t *testing.T) {
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			p := testParent(t, h)
			wanted, lost, empty := newLeaf(t, p, "wanted", Limits{}), newLeaf(t, p, "lost", Limits{}), newLeaf(t, p, "empty", Limits{})
			stays, goes := startChild(t, wanted, "sleep"), startChild(t, lost, "sleep")
			half := p.leaf("half")
			must(t, os.Mkdir(half.dirs[len(half.dirs)-1], 0o755))
			astray := startChild(t, &Leaf{dirs: half.dirs[len(half.dirs)-1:]}, "sleep")
			stays.start()
			goes.start()
			astray.start()
			must(t, p.Sweep(patience(t), 30*time.Second, func(name string) bool { return name == "wanted" }))
			if stuck := p.Stuck(); len(stuck) > 0 {
				t.Errorf("stuck: %v", stuck)
			}
			if len(existing(wanted)) != len(h.Hierarchies) || strings.Contains("XZ", state(stays.Process.Pid)) {
				t.Error("the wanted one is gone")
			}
			for _, c := range []child{goes, astray} {
				if c.Wait(); c.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Errorf("%v", c.ProcessState)
				}
			}
			for _, l := range []*Leaf{lost, empty, half} {
				if left := existing(l); left != nil {
					t.Errorf("left %q", left)
				}
			}
			must(t, p.Close()) // not empty: stays
			if len(existing(wanted)) != len(h.Hierarchies) {
				t.Error("closing the parent removed a leaf")
			}
		})
	}
}

// TestCycles makes and deletes many leaves and counts what is left.
func TestCycles(t *testing.T) {
	h := realHost(t)
	p := testParent(t, h)
	names := func() (all []string) {
		for _, tree := range h.Hierarchies {
			entries, err := os.ReadDir(filepath.Join(tree.Mount, p.path))
			must(t, err)
			for _, e := range entries {
				all = append(all, e.Name())
			}
		}
		return all
	}
	files, before := openFiles(t), names()
	for i := range 200 {
		leaf, err := p.Create(fmt.Sprintf("cycle-%d", i), Limits{})
		must(t, err)
		_, err = leaf.Stats()
		must(t, err)
		must(t, leaf.Kill(patience(t)))
		must(t, leaf.Delete())
	}
	if n := openFiles(t); n != files {
		t.Errorf("%d descriptors, were %d", n, files)
	}
	if after := names(); !slices.Equal(before, after) {
		t.Errorf("the parent holds %q, held %q", after, before)
	}
}

func FuzzValue(f *testing.F) {
	f.Add("low 0\noom_kill 7\n", "oom_kill")
	f.Add("max 3", "max")
	f.Add("usage_usec 18446744073709551616\n", "usage_usec")
	f.Fuzz(func(t *testing.T, text, key string) {
		n, ok := value(text, key)
		if !ok && n != 0 && n != 1<<64-1 {
			t.Errorf("%d for a missing key", n)
		}
		parseUsage(text, true)
		parseUsage(text, false)
		parseIO(text)
	})
}

func TestParseIO(t *testing.T) {
	for text, want := range map[string][2]uint64{
		"254:0 Read 5\n254:0 Write 7\n254:0 Sync 12\n254:0 Total 12\n8:0 Read 1\n8:0 Write 2\nTotal 15\n": {6, 9},
		"8:0 rbytes=5 wbytes=7 rios=1 wios=2 dbytes=3 dios=4\n254:0 rbytes=1 wbytes=2\n254:16\n":          {6, 9},
		"": {}, "Total 0\n": {}, "8:0 Read -1\n8:0 wbytes=x\n": {},
	} {
		if read, written := parseIO(text); read != want[0] || written != want[1] {
			t.Errorf("%q: %d and %d", text, read, written)
		}
	}
}

func TestParseUsage(t *testing.T) {
	for _, c := range []struct {
		text    string
		version Version
		want    time.Duration
		bad     bool
	}{
		{"123456789\n", Hybrid, 123456789, false},
		{"usage_usec 1500\nuser_usec 1000\n", V2, 1500 * time.Microsecond, false},
		{"user_usec 1000\n", V2, 0, true}, {"", V1, 0, true}, {"x\n", V1, 0, true},
	} {
		if d, err := parseUsage(c.text, c.version == V2); d != c.want || (err != nil) != c.bad {
			t.Errorf("%q: %v, %v", c.text, d, err)
		}
	}
}

func BenchmarkCPUUsage(b *testing.B) {
	leaf := newLeaf(b, testParent(b, realHost(b)), "bench", Limits{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := leaf.CPUUsage(); err != nil {
			b.Fatal(err)
		}
	}
}

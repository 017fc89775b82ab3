// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"context"
	"strconv"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// benchLimits are what a sandbox has by default.
func benchLimits(b *testing.B, h Host) Limits {
	l := Limits{Memory: 256 << 20, NoSwap: h.Usable(Swap), Pids: 64}
	disks, err := DevicesBehind("/usr")
	must(b, err)
	if h.Usable(IO) && len(disks) > 0 {
		l.ReadBps, l.WriteBps, l.Devices = 64<<20, 64<<20, disks
	}
	return l
}

// processor is the processor time that this process has used, user and system, in nanoseconds. What the kernel does later
// for a removed group is not in it.
func processor(b *testing.B) int64 {
	var u unix.Rusage
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkLife is the whole life of a leaf, empty, as a call needs it: of one in all hierarchies and of a box.
func BenchmarkLife(b *testing.B) {
	h := realHost(b)
	for name, create := range map[string]func(*Parent, string, Limits) (*Leaf, error){"leaf": (*Parent).Create, "box": (*Parent).CreateBox} {
		b.Run(name, func(b *testing.B) {
			p := testParent(b, h)
			l := benchLimits(b, h)
			b.ReportAllocs()
			i := 0
			before := processor(b)
			for b.Loop() {
				i++
				leaf, err := create(p, "bench-"+strconv.Itoa(i), l)
				must(b, err)
				must(b, leaf.RestrictDevices())
				closeEntrance(b, leaf)
				must(b, leaf.Limit(Limits{CPU: 0.25}))
				watch, cancel := context.WithCancel(context.Background())
				events, err := leaf.Watch(watch)
				must(b, err)
				_, err = leaf.CPUUsage()
				must(b, err)
				cancel()
				_, err = leaf.Stats()
				must(b, err)
				must(b, leaf.Remove(watch))
				for range events {
				}
			}
			b.ReportMetric(float64(processor(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// closeEntrance opens the entrance and closes it.
func closeEntrance(b *testing.B, leaf *Leaf) {
	tasks, unified, err := leaf.Entrance()
	must(b, err)
	for _, f := range tasks {
		f.Close()
	}
	if unified != nil {
		unified.Close()
	}
}

// BenchmarkFloor is what the kernel takes for the life of a box: the same system calls, without a check, a word or a path of
// Go's.
func BenchmarkFloor(b *testing.B) {
	h := realHost(b)
	p := testParent(b, h)
	l := benchLimits(b, h)
	l.CPU = 0.25
	settings, err := l.settings(h.Version)
	must(b, err)
	box, err := p.CreateBox("floor", Limits{})
	must(b, err)
	must(b, box.Delete())
	type file struct {
		path  []byte
		write []string
	}
	path := func(s string) []byte { return append([]byte(s), 0) }
	var dirs, tasks [][]byte
	var files []file
	for i, dir := range box.dirs {
		dirs = append(dirs, path(dir))
		if box.host.Hierarchies[i].Unified {
			tasks = append(tasks, path(dir))
		} else {
			tasks = append(tasks, path(dir+"/tasks"))
		}
	}
	for _, dir := range shares(p) {
		tasks = append(tasks, path(dir+"/tasks"))
	}
	for _, s := range settings {
		dir, _ := box.dir(s.controller)
		files = append(files, file{path(dir + "/" + s.file), s.write})
	}
	used := map[Controller][]string{Memory: {"memory.oom_control", "memory.max_usage_in_bytes"}, Cpuacct: {"cpu.stat"},
		IO: {"blkio.throttle.io_service_bytes_recursive"}, Pids: {"pids.events", "pids.peak"}}
	if h.Version == V2 {
		used[Memory], used[IO] = []string{"memory.events", "memory.peak"}, []string{"io.stat"}
	}
	for c, names := range used {
		dir, _ := box.dir(c)
		for _, name := range names {
			files = append(files, file{path: path(dir + "/" + name)})
		}
	}
	var buf [512]byte
	call := func(trap, a, b, c uintptr) uintptr {
		r, _, _ := syscall.RawSyscall6(trap, a, b, c, 0, 0, 0)
		return r
	}
	control, _ := box.dir(Memory)
	bell := path(control + "/cgroup.event_control")
	memory := path(control + "/memory.oom_control")
	at := func(b []byte) uintptr { return uintptr(unsafe.Pointer(&b[0])) }
	b.ReportAllocs()
	before := processor(b)
	for b.Loop() {
		for _, dir := range dirs {
			if call(syscall.SYS_MKDIR, at(dir), 0o755, 0) != 0 {
				b.Fatal("mkdir")
			}
		}
		for _, f := range files {
			flags := uintptr(syscall.O_RDWR)
			if f.write == nil {
				flags = syscall.O_RDONLY
			}
			fd := call(syscall.SYS_OPEN, at(f.path), flags, 0)
			for _, text := range f.write {
				call(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.StringData(text))), uintptr(len(text)))
			}
			call(syscall.SYS_PREAD64, fd, at(buf[:]), uintptr(len(buf)))
			call(syscall.SYS_CLOSE, fd, 0, 0)
		}
		for _, task := range tasks {
			flags := uintptr(unix.O_PATH)
			if task[len(task)-2] == 's' {
				flags = unix.O_WRONLY
			}
			call(syscall.SYS_CLOSE, call(syscall.SYS_OPEN, at(task), flags, 0), 0, 0)
		}
		if h.Version != V2 {
			oom, event := call(syscall.SYS_OPEN, at(memory), syscall.O_RDONLY, 0), call(syscall.SYS_EVENTFD2, 0, 0, 0)
			fd := call(syscall.SYS_OPEN, at(bell), syscall.O_WRONLY, 0)
			text := strconv.AppendUint(append(strconv.AppendUint(buf[:0], uint64(event), 10), ' '), uint64(oom), 10)
			if call(syscall.SYS_WRITE, fd, at(text), uintptr(len(text))) != uintptr(len(text)) {
				b.Fatal("cgroup.event_control")
			}
			for _, one := range []uintptr{fd, event, oom} {
				call(syscall.SYS_CLOSE, one, 0, 0)
			}
		}
		for _, dir := range dirs {
			if call(syscall.SYS_RMDIR, at(dir), 0, 0) != 0 {
				b.Fatal("rmdir")
			}
		}
	}
	b.ReportMetric(float64(processor(b)-before)/float64(b.N), "cpu-ns/op")
}

// BenchmarkStep is each step of a box's life by itself.
func BenchmarkStep(b *testing.B) {
	h := realHost(b)
	p := testParent(b, h)
	l := benchLimits(b, h)
	steps := []struct {
		name  string
		timed func(leaf *Leaf)
	}{
		{"entrance", func(leaf *Leaf) { closeEntrance(b, leaf) }},
		{"limit-cpu", func(leaf *Leaf) { must(b, leaf.Limit(Limits{CPU: 0.25})) }},
		{"watch", func(leaf *Leaf) {
			watch, cancel := context.WithCancel(context.Background())
			events, err := leaf.Watch(watch)
			must(b, err)
			cancel()
			for range events {
			}
		}},
		{"stats", func(leaf *Leaf) {
			_, err := leaf.Stats()
			must(b, err)
		}},
		{"kill-empty", func(leaf *Leaf) { must(b, leaf.Kill(context.Background())) }},
		{"remove", func(leaf *Leaf) { must(b, leaf.Remove(context.Background())) }},
	}
	b.Run("create", func(b *testing.B) {
		b.ReportAllocs()
		var cpu int64
		for i := range b.N {
			before := processor(b)
			leaf, err := p.CreateBox("bench-"+strconv.Itoa(i), l)
			b.StopTimer()
			cpu += processor(b) - before
			must(b, err)
			must(b, leaf.Remove(context.Background()))
			b.StartTimer()
		}
		b.ReportMetric(float64(cpu)/float64(b.N), "cpu-ns/op")
	})
	for _, s := range steps {
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			var cpu int64
			for i := range b.N {
				b.StopTimer()
				leaf, err := p.CreateBox("bench-"+strconv.Itoa(i), l)
				must(b, err)
				b.StartTimer()
				before := processor(b)
				s.timed(leaf)
				cpu += processor(b) - before
				b.StopTimer()
				must(b, leaf.Remove(context.Background()))
				b.StartTimer()
			}
			b.ReportMetric(float64(cpu)/float64(b.N), "cpu-ns/op")
		})
	}
}

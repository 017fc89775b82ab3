// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// Where every distribution mounts control groups, and the only places where libcontainer looks for v2.
const (
	unifiedMount = "/sys/fs/cgroup"
	hybridMount  = "/sys/fs/cgroup/unified"
)

// Version says which kind of hierarchy carries the controllers of a host.
type Version uint8

// The three kinds of host. On a Hybrid one all controllers are on v1 and the v2 hierarchy only groups processes.
const (
	V1 Version = iota + 1
	Hybrid
	V2
)

// String returns "v1", "hybrid" or "v2".
func (v Version) String() string {
	return [...]string{V1: "v1", Hybrid: "hybrid", V2: "v2"}[v]
}

// Controller is one thing that a control group can limit or do. Swap, Freezer and Devices are no controllers of their
// own on every version, yet can be missing on their own.
type Controller uint8

// The controllers that a sandbox may need. Cpuacct is what measures CPU time.
const (
	Memory Controller = iota
	Swap
	Pids
	CPU
	Cpuacct
	IO
	Freezer
	Devices
	controllers // their number
)

// String returns the name that an operator would search for.
func (c Controller) String() string {
	return [...]string{"memory", "swap", "pids", "cpu", "cpuacct", "io", "freezer", "devices"}[c]
}

// v1Names are the kernel's names of the controllers on v1; Swap is part of memory there.
var v1Names = [controllers]string{
	Memory: "memory", Swap: "memory", Pids: "pids", CPU: "cpu", Cpuacct: "cpuacct", IO: "blkio", Freezer: "freezer", Devices: "devices",
}

// hints tell how a host gets what it lacks.
var hints = [controllers]string{
	Memory:  "boot without cgroup_disable=memory, and with cgroup_enable=memory where the distribution turns it off",
	Swap:    "boot with swapaccount=1",
	Pids:    "the kernel needs CONFIG_CGROUP_PIDS",
	CPU:     "the kernel needs CONFIG_CFS_BANDWIDTH",
	Cpuacct: "the kernel needs CONFIG_CGROUP_CPUACCT",
	IO:      "the kernel needs CONFIG_BLK_DEV_THROTTLING",
	Freezer: "the kernel needs CONFIG_CGROUP_FREEZER, or Linux 5.2 on cgroup v2",
	Devices: "the kernel needs CONFIG_CGROUP_DEVICE and on cgroup v2 CONFIG_CGROUP_BPF",
}

// Hierarchy is one mounted tree of control groups.
type Hierarchy struct {
	Mount       string   // absolute mount point
	Unified     bool     // cgroup v2
	Controllers []string // v1: the kernel's names, or name=systemd; v2: none
}

// Host is what [Detect] found. The zero Host can do nothing.
type Host struct {
	Version     Version
	Hierarchies []Hierarchy // all that a leaf lives in; exactly one on V2
	Systemd     bool        // systemd is running and owns the tree

	// Files that newer kernels have. They exist only below the root group, so on a v2 host without any group below
	// the root they are reported missing.
	Kill       bool // cgroup.kill works for leaves: V2 and Linux 5.14
	MemoryPeak bool // v1 always; V2 since Linux 5.19
	PidsPeak   bool // Linux 6.1

	usable [controllers]bool
	half   bool // Hybrid, for leaves that use of the v2 hierarchy what needs no controller: kill, freeze and CPU time
}

// Usable reports whether limits and functions of c can be had.
func (h Host) Usable(c Controller) bool { return h.usable[c] }

// Hint says in half a sentence what an operator can do to get c.
func (c Controller) Hint() string { return hints[c] }

// unified reports whether c is had by files of v2.
func (h Host) unified(c Controller) bool {
	return h.Version == V2 || h.half && (c == Freezer || c == Cpuacct)
}

// mount returns where c is mounted.
func (h Host) mount(c Controller) (string, bool) {
	unified := h.unified(c)
	for _, t := range h.Hierarchies {
		if t.Unified && unified || !unified && slices.Contains(t.Controllers, v1Names[c]) {
			return t.Mount, true
		}
	}
	return "", false
}

// v2Mount returns where the v2 hierarchy is mounted that leaves live in.
func (h Host) v2Mount() (string, bool) {
	for _, t := range h.Hierarchies {
		if t.Unified {
			return t.Mount, true
		}
	}
	return "", false
}

// forBoxes returns the host as a leaf sees it that is no more than [Parent.CreateBox] promises, and the v1 hierarchies in
// which all such leaves have one group between them. half tells that groups of a hybrid host's v2 hierarchy can be killed and
// frozen. It is pure.
//
// Every hierarchy that a leaf lives in costs it some 40 µs for a directory and 5 for a process to enter. So it has a
// directory of its own only where something is counted, limited, frozen or killed for itself. Whom device rules bind, and
// whom systemd takes for whose, is the same for all. Nothing rests on any other hierarchy (cpuset, perf_event, net_cls,
// hugetlb, ...): a process stays there where the one is that started it.
func (h Host) forBoxes(half bool) (boxes Host, shared []Hierarchy) {
	boxes = h
	if h.Version == V2 {
		return boxes, nil
	}
	boxes.half, boxes.Hierarchies = half, nil
	if half {
		boxes.usable[Freezer], boxes.usable[Cpuacct] = true, true
	}
	own := []string{v1Names[Memory], v1Names[Pids], v1Names[CPU], v1Names[IO]}
	if !half {
		own = append(own, v1Names[Cpuacct], v1Names[Freezer])
	}
	common := []string{v1Names[Devices]}
	if h.Systemd {
		common = append(common, "name=systemd")
	}
	has := func(t Hierarchy, any []string) bool {
		return slices.ContainsFunc(any, func(name string) bool { return slices.Contains(t.Controllers, name) })
	}
	for _, t := range h.Hierarchies {
		switch {
		case t.Unified: // first, since the first that is busy ends an attempt at removal
			boxes.Hierarchies = slices.Insert(boxes.Hierarchies, 0, t)
		case has(t, own):
			boxes.Hierarchies = append(boxes.Hierarchies, t)
		case has(t, common):
			shared = append(shared, t)
		}
	}
	return boxes, shared
}

// facts are the files that detection reads, so that detection itself is a pure function.
type facts struct {
	mountinfo   string          // /proc/self/mountinfo
	cgroups     string          // /proc/cgroups
	controllers string          // cgroup.controllers of the v2 root
	files       map[string]bool // names of files seen in some group below the root
	systemd     bool            // /run/systemd/system exists
}

// Detect reads what this host offers. It changes nothing. An error means that no usable hierarchy is mounted.
func Detect() (Host, error) {
	var f facts
	for _, r := range []struct {
		to   *string
		path string
	}{
		{&f.mountinfo, "/proc/self/mountinfo"},
		{&f.cgroups, "/proc/cgroups"},
		{&f.controllers, filepath.Join(unifiedMount, "cgroup.controllers")},
	} {
		text, err := os.ReadFile(r.path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return Host{}, fmt.Errorf("detect control groups: %w", err)
		}
		*r.to = string(text)
	}
	info, err := os.Stat("/run/systemd/system")
	f.systemd = err == nil && info.IsDir()
	h, err := detect(f)
	if err != nil {
		return Host{}, err
	}
	f.files = leafFiles(h)
	return detect(f)
}

// leafFiles returns the names of the files in the root of each v1 hierarchy that matters and in one group below each,
// since the root lacks some of them.
func leafFiles(h Host) map[string]bool {
	names := map[string]bool{}
	for _, c := range []Controller{Memory, Pids, CPU, IO} {
		root, ok := h.mount(c)
		if !ok {
			continue
		}
		entries, _ := os.ReadDir(root)
		for _, e := range entries {
			if !e.IsDir() {
				names[e.Name()] = true
				continue
			}
			inner, _ := os.ReadDir(filepath.Join(root, e.Name()))
			for _, i := range inner {
				names[i.Name()] = true
			}
		}
	}
	return names
}

// detect derives a Host from facts. It is pure.
func detect(f facts) (Host, error) {
	mounts, err := mountinfo.GetMountsFromReader(strings.NewReader(f.mountinfo), mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return Host{}, fmt.Errorf("detect control groups: /proc/self/mountinfo: %w", err)
	}
	h := Host{Systemd: f.systemd}
	for _, m := range mounts {
		if m.FSType == "cgroup2" && m.Mountpoint == unifiedMount {
			h.Version = V2
			h.Hierarchies = []Hierarchy{{Mount: unifiedMount, Unified: true}}
			return h.withUnified(f), nil
		}
	}

	enabled := map[string]bool{}
	for line := range strings.Lines(f.cgroups) {
		if w := strings.Fields(line); len(w) == 4 && w[0] != "#subsys_name" {
			enabled[w[0]] = w[3] == "1"
		}
	}
	seen := map[string]bool{} // v1 hierarchies may be mounted twice; the usual place comes first
	slices.SortStableFunc(mounts, func(a, b *mountinfo.Info) int {
		return boolOrder(filepath.Dir(b.Mountpoint) == unifiedMount) - boolOrder(filepath.Dir(a.Mountpoint) == unifiedMount)
	})
	for _, m := range mounts {
		if m.FSType == "cgroup2" {
			if m.Mountpoint == hybridMount {
				h.Version = Hybrid
				h.Hierarchies = append(h.Hierarchies, Hierarchy{Mount: m.Mountpoint, Unified: true})
			}
			continue
		}
		t := Hierarchy{Mount: m.Mountpoint}
		for o := range strings.SplitSeq(m.VFSOptions, ",") {
			if (enabled[o] || o == "name=systemd") && !seen[o] {
				seen[o] = true
				t.Controllers = append(t.Controllers, o)
			}
		}
		if len(t.Controllers) > 0 {
			h.Hierarchies = append(h.Hierarchies, t)
		}
	}
	if len(seen) == 0 {
		return Host{}, errors.New("no control groups are mounted below /sys/fs/cgroup: mount cgroup2 there, or boot with systemd")
	}
	if h.Version == 0 {
		h.Version = V1
	}
	for c := range controllers {
		h.usable[c] = seen[v1Names[c]]
	}
	h.usable[Swap] = h.usable[Memory] && f.files["memory.memsw.limit_in_bytes"]
	h.MemoryPeak = h.usable[Memory]
	h.PidsPeak = f.files["pids.peak"]
	return h, nil
}

// withUnified fills in what a v2 root says about itself.
func (h Host) withUnified(f facts) Host {
	for name := range strings.FieldsSeq(f.controllers) {
		switch name {
		case "memory":
			h.usable[Memory] = true
		case "pids":
			h.usable[Pids] = true
		case "cpu":
			h.usable[CPU] = true
		case "io":
			h.usable[IO] = true
		}
	}
	h.usable[Swap] = h.usable[Memory] && f.files["memory.swap.max"]
	h.usable[Cpuacct] = true // cpu.stat is there without any controller
	h.usable[Freezer] = f.files["cgroup.freeze"]
	h.usable[Devices] = true // a BPF program; the kernel says no when it is attached
	h.Kill = f.files["cgroup.kill"]
	h.MemoryPeak = f.files["memory.peak"]
	h.PidsPeak = f.files["pids.peak"]
	return h
}

func boolOrder(b bool) int {
	if b {
		return 1
	}
	return 0
}

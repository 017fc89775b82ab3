// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	cgroupsV1 = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t3\t1\t1\ncpu\t1\t1\t1\ncpuacct\t2\t1\t1\nblkio\t7\t1\t1\n" +
		"memory\t4\t14\t1\ndevices\t5\t1\t1\nfreezer\t6\t1\t1\nnet_cls\t0\t1\t1\npids\t8\t1\t1\n"
	mountsDebian = `22 28 0:21 / /proc rw,nosuid shared:13 - proc proc rw
26 25 0:24 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
`
	mountsHybrid = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`
	mountsV1 = `25 24 0:22 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755
26 25 0:23 / /sys/fs/cgroup/systemd rw,nosuid shared:10 - cgroup cgroup rw,xattr,release_agent=/usr/lib/systemd/systemd-cgroups-agent,name=systemd
30 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:14 - cgroup cgroup rw,cpu,cpuacct
31 25 0:28 / /sys/fs/cgroup/memory rw,nosuid shared:15 - cgroup cgroup rw,memory
32 25 0:29 / /sys/fs/cgroup/pids rw,nosuid shared:16 - cgroup cgroup rw,pids
33 25 0:30 / /sys/fs/cgroup/freezer rw,nosuid shared:17 - cgroup cgroup rw,freezer
34 25 0:31 / /sys/fs/cgroup/devices rw,nosuid shared:18 - cgroup cgroup rw,devices
35 25 0:28 / /var/lib/thing/memory rw,nosuid shared:15 - cgroup cgroup rw,memory
`
)

func files(names ...string) map[string]bool {
	m := map[string]bool{}
	for _, n := range names {
		m[n] = true
	}
	return m
}

func TestDetect(t *testing.T) {
	modern := files("memory.swap.max", "memory.peak", "pids.peak", "cgroup.freeze", "cgroup.kill")
	for _, c := range []struct {
		name    string
		facts   facts
		version Version
		usable  string // names of the usable ones in order
		mounts  string // of the hierarchies
		flags   string // kill, memory peak, pids peak, systemd
	}{
		{"pure v2 Debian", facts{mountsDebian, "", "cpuset cpu io memory hugetlb pids rdma misc", modern, true},
			V2, "memory swap pids cpu cpuacct io freezer devices", "/sys/fs/cgroup", "kill mempeak pidspeak systemd"},
		{"v2, Linux 5.10, memory and swap off", facts{mountsDebian, "", "cpuset cpu io pids", files("cgroup.freeze"), false},
			V2, "pids cpu cpuacct io freezer devices", "/sys/fs/cgroup", ""},
		{"v2, no swap accounting", facts{mountsDebian, "", "cpu io memory pids", files("cgroup.freeze", "cgroup.kill"), false},
			V2, "memory pids cpu cpuacct io freezer devices", "/sys/fs/cgroup", "kill"},
		{"hybrid", facts{mountsHybrid, cgroupsV1, "", files("memory.memsw.limit_in_bytes", "pids.peak"), false},
			Hybrid, "memory swap pids cpu cpuacct io freezer devices", "/sys/fs/cgroup/cpu /sys/fs/cgroup/cpuacct /sys/fs/cgroup/memory " +
				"/sys/fs/cgroup/devices /sys/fs/cgroup/freezer /sys/fs/cgroup/blkio /sys/fs/cgroup/pids /sys/fs/cgroup/systemd /sys/fs/cgroup/unified",
			"mempeak pidspeak"},
		{"v1, co-mounted, memory mounted twice, no blkio, no swap accounting", facts{mountsV1, cgroupsV1, "", nil, true},
			V1, "memory pids cpu cpuacct freezer devices", "/sys/fs/cgroup/systemd /sys/fs/cgroup/cpu,cpuacct /sys/fs/cgroup/memory " +
				"/sys/fs/cgroup/pids /sys/fs/cgroup/freezer /sys/fs/cgroup/devices", "mempeak systemd"},
		{"v1 with memory disabled at boot", facts{mountsV1, strings.Replace(cgroupsV1, "memory\t4\t14\t1", "memory\t0\t1\t0", 1), "", nil, false},
			V1, "pids cpu cpuacct freezer devices", "/sys/fs/cgroup/systemd /sys/fs/cgroup/cpu,cpuacct " +
				"/sys/fs/cgroup/pids /sys/fs/cgroup/freezer /sys/fs/cgroup/devices", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := detect(c.facts)
			must(t, err)
			var usable, mounts, flags []string
			for i := range controllers {
				if h.Usable(i) {
					usable = append(usable, i.String())
				}
			}
			for _, tree := range h.Hierarchies {
				mounts = append(mounts, tree.Mount)
			}
			for _, f := range []struct {
				name string
				set  bool
			}{{"kill", h.Kill}, {"mempeak", h.MemoryPeak}, {"pidspeak", h.PidsPeak}, {"systemd", h.Systemd}} {
				if f.set {
					flags = append(flags, f.name)
				}
			}
			if h.Version != c.version || strings.Join(usable, " ") != c.usable || strings.Join(mounts, " ") != c.mounts || strings.Join(flags, " ") != c.flags {
				t.Errorf("got %v\n%q\n%q\n%q", h.Version, usable, mounts, flags)
			}
		})
	}
	for name, f := range map[string]facts{
		"nothing mounted": {mountinfo: "22 28 0:21 / /proc rw - proc proc rw\n", cgroups: cgroupsV1},
		"broken":          {mountinfo: "22 28 / - cgroup\n"},
		"v2 elsewhere":    {mountinfo: "26 25 0:24 / /mnt rw - cgroup2 cgroup2 rw\n", controllers: "memory"},
	} {
		if h, err := detect(f); err == nil {
			t.Errorf("%s: no error but %+v", name, h)
		}
	}
}

func TestDetectHere(t *testing.T) {
	h, err := Detect()
	must(t, err)
	t.Logf("%v, swap %v, kill %v, peaks %v %v", h.Version, h.Usable(Swap), h.Kill, h.MemoryPeak, h.PidsPeak)
	for _, tree := range h.Hierarchies {
		if _, err := os.Stat(filepath.Join(tree.Mount, "cgroup.procs")); err != nil {
			t.Error(err)
		}
	}
}

func TestUnitOf(t *testing.T) {
	for in, want := range map[string]string{
		"0::/clawsup.slice/clawsup-7.scope\n":                                 "/clawsup.slice/clawsup-7.scope",
		"0::/clawsup.slice/clawsup-7.scope/supervisor\n":                      "/clawsup.slice/clawsup-7.scope",
		"0::/clawsup.slice/clawsupd.service/supervisor\n":                     "/clawsup.slice/clawsupd.service",
		"0::/a.slice/clawsup.slice/x.scope\n":                                 "/a.slice/clawsup.slice/x.scope",
		"1:name=systemd:/clawsup.slice/x.scope\n0::/system.slice/y.service\n": "",
		"0::/clawsup.slice/clawsup-7.scope/call-1\n":                          "",
		"0::/clawsup.slice/supervisor\n":                                      "",
		"0::/clawsup.slice\n":                                                 "",
		"0::/\n":                                                              "",
		"":                                                                    "",
	} {
		if got := unitOf(in, "clawsup.slice"); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	if got := scopeName("clawsup.slice", 7); got != "clawsup-7.scope" {
		t.Error(got)
	}
}

// TestForBoxes shows in which hierarchies a leaf of CreateBox lives and which it shares.
func TestForBoxes(t *testing.T) {
	for name, c := range map[string]struct {
		facts       facts
		half        bool
		own, shared string
	}{
		"v2":                  {facts{mountsDebian, "", "cpu io memory pids", files("cgroup.freeze", "cgroup.kill"), true}, false, "/sys/fs/cgroup", ""},
		"hybrid":              {facts{mountsHybrid, cgroupsV1, "", nil, false}, true, "unified cpu memory blkio pids", "devices"},
		"hybrid with systemd": {facts{mountsHybrid, cgroupsV1, "", nil, true}, true, "unified cpu memory blkio pids", "devices systemd"},
		"hybrid, Linux 5.10":  {facts{mountsHybrid, cgroupsV1, "", nil, true}, false, "unified cpu cpuacct memory freezer blkio pids", "devices systemd"},
		"v1":                  {facts{mountsV1, cgroupsV1, "", nil, true}, false, "cpu,cpuacct memory pids freezer", "systemd devices"},
		"devices beside pids": {facts{strings.ReplaceAll(mountsV1, "rw,pids", "rw,pids,devices"), cgroupsV1, "", nil, false}, false, "cpu,cpuacct memory pids freezer", ""},
	} {
		h, err := detect(c.facts)
		must(t, err)
		boxes, shared := h.forBoxes(c.half)
		names := func(all []Hierarchy) string {
			var s []string
			for _, one := range all {
				s = append(s, strings.TrimPrefix(one.Mount, unifiedMount+"/"))
			}
			return strings.Join(s, " ")
		}
		if own, common := names(boxes.Hierarchies), names(shared); own != c.own || common != c.shared {
			t.Errorf("%s: own %q, shared %q", name, own, common)
		}
		for _, need := range []Controller{Freezer, Cpuacct} {
			if mount, ok := boxes.mount(need); ok != h.Usable(need) || boxes.unified(need) != (c.half || h.Version == V2) {
				t.Errorf("%s: %v at %q, %v", name, need, mount, ok)
			}
		}
	}
}

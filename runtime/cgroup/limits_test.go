// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
)

func TestBandwidth(t *testing.T) {
	for _, c := range []struct {
		cores  float64
		quota  int64
		period uint64
	}{
		{0.25, 25_000, 100_000}, {1, 100_000, 100_000}, {1.5, 150_000, 100_000}, {64, 6_400_000, 100_000},
		{0.01, 1_000, 100_000}, {0.005, 1_000, 200_000}, {0.001, 1_000, 1_000_000}, {0.333, 33_300, 100_000},
	} {
		if quota, period := bandwidth(c.cores); quota != c.quota || period != c.period {
			t.Errorf("%g cores: %d of %d µs, want %d of %d", c.cores, quota, period, c.quota, c.period)
		}
	}
}

// TestSettings shows for both versions which files must hold what.
func TestSettings(t *testing.T) {
	disks := []Device{{8, 0}, {254, 16}}
	full := Limits{Memory: 64<<20 + 100, NoSwap: true, Pids: 32, CPU: 0.25, ReadBps: 1 << 20, WriteBps: 2 << 20, Devices: disks}
	for _, c := range []struct {
		version Version
		limits  Limits
		want    string
	}{
		{V2, full, "memory memory.max=67108864; memory memory.oom.group=1; swap memory.swap.max=0; pids pids.max=32; cpu cpu.max=25000 100000; " +
			"io io.max=8:0 rbps=1048576; io io.max=254:16 rbps=1048576; io io.max=8:0 wbps=2097152; io io.max=254:16 wbps=2097152"},
		{Hybrid, full, "memory memory.limit_in_bytes=67108864; memory memory.kmem.tcp.limit_in_bytes=16777216; swap memory.memsw.limit_in_bytes=67108864; swap memory.swappiness=0; pids pids.max=32; " +
			"cpu cpu.cfs_quota_us=25000; cpu cpu.cfs_period_us=100000; io blkio.throttle.read_bps_device=8:0 1048576; " +
			"io blkio.throttle.read_bps_device=254:16 1048576; io blkio.throttle.write_bps_device=8:0 2097152; io blkio.throttle.write_bps_device=254:16 2097152"},
		{V1, Limits{}, ""},
		{V2, Limits{NoSwap: true}, "swap memory.swap.max=0"},
		{V1, Limits{Memory: 1 << 20}, "memory memory.limit_in_bytes=1048576; memory memory.kmem.tcp.limit_in_bytes=262144"},
		{V1, Limits{Memory: 8192}, "memory memory.limit_in_bytes=8192; memory memory.kmem.tcp.limit_in_bytes=4096"},
	} {
		all, err := c.limits.settings(c.version)
		must(t, err)
		var got []string
		for _, s := range all {
			for _, w := range s.shown {
				got = append(got, fmt.Sprintf("%s %s=%s", s.controller, s.file, w.text))
			}
		}
		if strings.Join(got, "; ") != c.want {
			t.Errorf("%v %+v: got\n%s", c.version, c.limits, strings.Join(got, "; "))
		}
	}
	for name, l := range map[string]Limits{
		"less than a page": {Memory: 4095}, "negative memory": {Memory: -1}, "negative pids": {Pids: -1}, "tiny cpu": {CPU: 0.0001},
		"negative cpu": {CPU: -1}, "nan": {CPU: math.NaN()}, "infinite": {CPU: math.Inf(1)}, "negative io": {ReadBps: -1},
		"io without device": {WriteBps: 1}, "swap without memory": {NoSwap: true},
	} {
		if _, err := l.settings(V1); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestShownHolds(t *testing.T) {
	for _, c := range []struct {
		shown   shown
		content string
		want    bool
	}{
		{shown{text: "100000 100000"}, "max 100000", false},
		{shown{text: "100000 100000"}, "100000 100000", true},
		{shown{text: "8:0 rbps=5", keyed: true}, "7:0 rbps=5 wbps=max\n8:0 rbps=5 wbps=max riops=max", true},
		{shown{text: "8:0 rbps=5", keyed: true}, "7:0 rbps=5\n8:0 rbps=50", false},
		{shown{text: "8:0 5", keyed: true}, "8:1 5", false},
		{shown{text: "8:0 5", keyed: true}, "", false},
	} {
		if got := c.shown.holds(c.content); got != c.want {
			t.Errorf("%+v in %q: %v", c.shown, c.content, got)
		}
	}
}

// TestLimitsHere sets everything this machine has and reads the files itself.
func TestLimitsHere(t *testing.T) {
	h := realHost(t)
	p := testParent(t, h)
	l := Limits{}
	if h.Usable(Memory) {
		l.Memory = 64<<20 + 5
		l.NoSwap = h.Usable(Swap)
	}
	if h.Usable(Pids) {
		l.Pids = 20
	}
	if h.Usable(CPU) {
		l.CPU = 0.5
	}
	disks, err := DevicesBehind("/")
	must(t, err)
	if h.Usable(IO) && len(disks) > 0 {
		l.ReadBps, l.WriteBps, l.Devices = 50<<20, 40<<20, disks
	}
	leaf := newLeaf(t, p, "limits", l)
	settings, err := l.settings(h.Version)
	must(t, err)
	if len(settings) == 0 {
		t.Skip("this machine has no controllers")
	}
	for _, s := range settings {
		dir, _ := leaf.dir(s.controller)
		for _, w := range s.shown {
			have, err := read(dir, s.file)
			if s.optional && errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil || !w.holds(have) {
				t.Errorf("%s: %q, %v, want %q", s.file, have, err, w.text)
			}
		}
	}
	if _, err := p.Create("limits", Limits{}); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second leaf of the same name: %v", err)
	}
	if len(existing(leaf)) != len(h.Hierarchies) {
		t.Error("the failed second one has removed the first")
	}
}

// TestLimitsRefused has limits that can't be set name their controller and leave nothing behind.
func TestLimitsRefused(t *testing.T) {
	h := realHost(t)
	p := testParent(t, h)
	for name, c := range map[string]struct {
		limits Limits
		lose   Controller
		want   Controller
	}{
		"no-such-disk": {Limits{ReadBps: 1 << 20, Devices: []Device{{0, 1}}}, controllers, IO},
		"no-memory":    {Limits{Memory: 1 << 30}, Memory, Memory},
		"no-pids":      {Limits{Pids: 5}, Pids, Pids},
	} {
		cut := &Parent{host: p.host, path: p.path}
		if c.lose < controllers {
			cut.host.usable[c.lose] = false
		} else {
			need(t, h, c.want)
		}
		_, err := cut.Create(name, c.limits)
		var limit *LimitError
		if !errors.As(err, &limit) || limit.Controller != c.want || !strings.Contains(err.Error(), c.want.String()) {
			t.Errorf("%s: %v", name, err)
		}
		if left := existing(p.leaf(name)); left != nil {
			t.Errorf("%s: left behind: %q", name, left)
		}
	}
	for _, name := range []string{"", ".", "..", "a/b", "-a", "a\n", "a b", supervisorGroup, strings.Repeat("a", 129)} {
		if _, err := p.Create(name, Limits{}); err == nil {
			t.Errorf("a leaf named %q was made", name)
		}
	}
	for _, path := range []string{"", "/", "a", "/a/", "/a/../b", "/a//b", "/.a"} {
		if p, err := OpenParent(h, path); err == nil {
			p.Close()
			t.Errorf("a parent at %q was made", path)
		}
	}
}

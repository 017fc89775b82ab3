// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"fmt"
	"math"
	"os"
	goruntime "runtime"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/cgroup"
	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/runtime/wire"
)

// noDevice is what a result says of cgroup.io where there is nothing to throttle.
const noDevice = "no block device behind the box's files"

// limits are the group's, as far as the plan enforces them, but for the
// processor's: that one comes last.
func (spec *Spec) limits(devices []cgroup.Device) cgroup.Limits {
	var l cgroup.Limits
	g, on := spec.Group, spec.Layers.Enforce
	if on.Has(layer.CgroupMemory) {
		l.Memory = g.Memory
		l.NoSwap = on.Has(layer.CgroupSwap)
	}
	if on.Has(layer.CgroupPids) {
		l.Pids = g.Pids
	}
	if on.Has(layer.CgroupIO) && devices != nil {
		l.ReadBps, l.WriteBps, l.Devices = g.DiskRead, g.DiskWrite, devices
	}
	return l
}

// cores is the most CPU time per wall time that the box can use.
func (spec *Spec) cores() float64 {
	if spec.Layers.Enforce.Has(layer.CgroupCPU) {
		return spec.Group.CPU
	}
	return float64(goruntime.NumCPU())
}

// rlimits are the tool's.
func (spec *Spec) rlimits() []wire.Rlimit {
	list := []wire.Rlimit{
		// 1, not 0: where core_pattern names a program, 0 does not keep the
		// kernel from starting it, as the host's root, on the tool's memory
		// (core(5)); a limit of 1 ends both kinds of dump.
		{Resource: unix.RLIMIT_CORE, Value: 1},
		{Resource: unix.RLIMIT_FSIZE, Value: uint64(spec.FileSize)},
		{Resource: unix.RLIMIT_NOFILE, Value: uint64(spec.OpenFiles)},
		{Resource: unix.RLIMIT_STACK, Value: uint64(spec.Stack)},
		{Resource: unix.RLIMIT_NPROC, Value: uint64(spec.Group.Pids)},
		{Resource: unix.RLIMIT_MEMLOCK, Value: 64 << 10},
		{Resource: unix.RLIMIT_MSGQUEUE, Value: 0},
		// Counted against the host's root as well, who made the user namespace.
		{Resource: unix.RLIMIT_SIGPENDING, Value: 128},
	}
	if spec.CPUTime > 0 {
		// One process alone can't outlive the call's bound, whatever the watcher does.
		list = append(list, wire.Rlimit{Resource: unix.RLIMIT_CPU, Value: uint64(math.Ceil(spec.CPUTime.Seconds())) + 1})
	}
	return list
}

// devicesOf keeps which block devices lie behind a file system, by its number.
type devicesOf map[uint64][]cgroup.Device

// all are those behind everything that the box can read.
func (known devicesOf) all(spec *Spec) ([]cgroup.Device, error) {
	if !spec.Layers.Enforce.Has(layer.CgroupIO) {
		return nil, nil
	}
	paths := []string{"/usr"}
	if spec.Rootfs != "" {
		paths = []string{spec.Rootfs}
	}
	paths = append(paths, spec.Read...)
	for _, b := range spec.Binds {
		paths = append(paths, b.Source)
	}
	var all []cgroup.Device
	seen := map[cgroup.Device]bool{}
	for _, p := range paths {
		devices, err := known.behind(p)
		if errors.Is(err, os.ErrNotExist) {
			continue // the mount will say so
		}
		if err != nil {
			return nil, err
		}
		for _, d := range devices {
			if !seen[d] {
				seen[d] = true
				all = append(all, d)
			}
		}
	}
	return all, nil
}

func (known devicesOf) behind(path string) ([]cgroup.Device, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, fmt.Errorf("device behind %s: %w", path, err)
	}
	if devices, ok := known[st.Dev]; ok {
		return devices, nil
	}
	devices, err := cgroup.DevicesBehind(path)
	if err == nil {
		known[st.Dev] = devices
	}
	return devices, err
}

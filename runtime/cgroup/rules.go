// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/containerd/cgroups/v3/cgroup2"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// wildcard stands for every number, as in the library's rules.
const wildcard = -1

// deviceRule is a character device that may be read and written.
type deviceRule struct{ major, minor int64 }

// allowed are the character devices that a sandbox may open, for reading and writing; it may make none, and it gets no
// block device. Whether they exist in its /dev is another layer's matter.
var allowed = []deviceRule{
	{1, 3},          // /dev/null
	{1, 5},          // /dev/zero
	{1, 7},          // /dev/full
	{1, 8},          // /dev/random
	{1, 9},          // /dev/urandom
	{5, 0},          // /dev/tty: leads to the controlling terminal of who opens it, so to none but its own
	{5, 2},          // /dev/ptmx: programs that run others in a terminal (script, expect, ssh); a private devpts behind it
	{136, wildcard}, // /dev/pts/*: the kernel serves them from the devpts that they lie in, which is the private one
}

// String is the rule as devices.allow takes it and devices.list shows it (cgroup-v1/devices.rst).
func (d deviceRule) String() string {
	minor := "*"
	if d.minor != wildcard {
		minor = strconv.FormatInt(d.minor, 10)
	}
	return fmt.Sprintf("c %d:%s rw", d.major, minor)
}

// RestrictDevices has the leaf's processes open no device but null, zero, full, random, urandom, tty, ptmx and pts/*, for
// reading and writing, and make none: the same rules that [Leaf.Config] gives to libcontainer. They are read back. The error
// is a [*LimitError]. Whoever is in the leaf already keeps what it has open. A leaf of [Parent.CreateBox] has the rules
// already.
func (l *Leaf) RestrictDevices() error {
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	if l.box {
		return nil
	}
	return l.restrictDevices()
}

// restrictDevices is RestrictDevices of a leaf that nobody can delete meanwhile.
func (l *Leaf) restrictDevices() error {
	dir, ok := l.dir(Devices)
	if !ok {
		return &LimitError{Controller: Devices, Err: errors.New("it is not mounted or not enabled")}
	}
	bind := restrict
	if l.host.Version == V2 {
		bind = filterDevices
	}
	if err := bind(dir); err != nil {
		return &LimitError{Controller: Devices, File: dir, Err: err}
	}
	return nil
}

// restrict writes the rules into the v1 group dir, unless it has them, and reads them back. A group that has groups below it
// can't be denied everything any more.
func restrict(dir string) error {
	shown, err := read(dir, "devices.list")
	if err != nil || onlyAllowed(shown) == nil {
		return err
	}
	if err := write(dir, "devices.deny", "a"); err != nil {
		return err
	}
	for _, d := range allowed {
		if err := write(dir, "devices.allow", d.String()); err != nil {
			return err
		}
	}
	if shown, err = read(dir, "devices.list"); err != nil {
		return err
	}
	return onlyAllowed(shown)
}

// onlyAllowed compares what devices.list shows with what it must, in any order.
func onlyAllowed(shown string) error {
	var want []string
	for _, d := range allowed {
		want = append(want, d.String())
	}
	have := strings.Split(shown, "\n")
	slices.Sort(want)
	slices.Sort(have)
	if !slices.Equal(want, have) {
		return fmt.Errorf("wanted %q, the kernel shows %q", want, have)
	}
	return nil
}

// deviceFilter is the rules as a program of type BPF_PROG_TYPE_CGROUP_DEVICE. The kernel checks and compiles it once for
// this process, and every leaf is given the same one; a leaf keeps it when this process has ended.
var deviceFilter = sync.OnceValues(func() (*loadedFilter, error) {
	var rules []specs.LinuxDeviceCgroup
	for _, d := range allowed { // what no rule allows is denied
		rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &d.major, Minor: &d.minor, Access: "rw"})
	}
	instructions, license, err := cgroup2.DeviceFilter(rules)
	if err != nil {
		return nil, err
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "clawsup_devices", Type: ebpf.CGroupDevice, Instructions: instructions, License: license})
	if err != nil {
		return nil, err
	}
	info, err := program.Info()
	if err != nil {
		return nil, errors.Join(err, program.Close())
	}
	id, ok := info.ID()
	if !ok {
		return nil, errors.Join(errors.New("the kernel does not number its programs (Linux 4.13)"), program.Close())
	}
	return &loadedFilter{program, id}, nil
})

// loadedFilter is a program and the kernel's number for it.
type loadedFilter struct {
	program *ebpf.Program
	id      ebpf.ProgramID
}

// filterDevices attaches the filter to the v2 group dir and asks whether it is there. Filters of groups above go on having
// their say (BPF_F_ALLOW_MULTI), so that this one can only take away.
func filterDevices(dir string) error {
	filter, err := deviceFilter()
	if err != nil {
		return fmt.Errorf("load the device filter: %w", err)
	}
	fd, err := open(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	attached := link.RawAttachProgram(link.RawAttachProgramOptions{Target: fd, Program: filter.program, Attach: ebpf.AttachCGroupDevice, Flags: unix.BPF_F_ALLOW_MULTI})
	there, err := link.QueryPrograms(link.QueryOptions{Target: fd, Attach: ebpf.AttachCGroupDevice})
	if err != nil {
		return fmt.Errorf("device filter: %w", errors.Join(attached, err))
	}
	if !slices.ContainsFunc(there.Programs, func(p link.AttachedProgram) bool { return p.ID == filter.id }) {
		return fmt.Errorf("the device filter is not in force: %w", attached)
	}
	return nil // also if it was there already, which is an error of the first
}

// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// supervisorGroup is the child of a scope that holds this process: a group that hands controllers down may have no
// processes of its own.
const supervisorGroup = "supervisor"

// scopeWait bounds how long systemd may take to make a scope.
const scopeWait = 30 * time.Second

// openScope returns a parent below slice that systemd has delegated to this process: the unit that the process runs in,
// if that is below slice and delegated, or else a new transient scope, as systemd-run --scope makes one. See systemd's
// document on control group delegation (CGROUP_DELEGATION.md), sections "Two Key Design Rules" and "Three Scenarios".
func openScope(h Host, slice string) (*Parent, error) {
	p := &Parent{host: h, boxes: h, bells: &bells{}, unit: true}
	path, err := ownUnit(h, slice)
	if err == nil && path == "" {
		name := scopeName(filepath.Base(slice), os.Getpid())
		if err = startScope(name, filepath.Base(slice), "clawsup sandboxes of process "+strconv.Itoa(os.Getpid()), os.Getpid()); err == nil {
			path, err = ownUnit(h, slice)
		}
	}
	if err == nil && path == "" {
		err = errors.New("systemd made the scope, but this process is not in it or it is not delegated")
	}
	if err == nil {
		p.path = path
		err = p.stepAside()
	}
	if err != nil {
		return nil, fmt.Errorf("open control group below %s with systemd: %w", slice, err)
	}
	return p, nil
}

// ownUnit returns the path of the delegated unit below slice that this process runs in, or nothing.
func ownUnit(h Host, slice string) (string, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	own := unitOf(string(text), filepath.Base(slice))
	if own == "" {
		return "", nil
	}
	if !delegated(filepath.Join(h.Hierarchies[0].Mount, own)) {
		return "", nil
	}
	return own, nil
}

// delegated reports whether systemd has given the group away.
func delegated(dir string) bool {
	for _, name := range []string{"trusted.delegate", "user.delegate"} { // set by systemd 240 and later
		mark := make([]byte, 8)
		if n, err := unix.Getxattr(dir, name, mark); err == nil && string(mark[:n]) == "1" {
			return true
		}
	}
	return false
}

// unitOf takes /proc/PID/cgroup of a v2 host and returns the group of the service or scope that lies directly in slice
// and holds the process, itself or in its supervisor group; nothing if there is none.
func unitOf(cgroupFile, slice string) string {
	for line := range strings.Lines(cgroupFile) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		if filepath.Base(path) == supervisorGroup {
			path = filepath.Dir(path)
		}
		if s := filepath.Ext(path); filepath.Base(filepath.Dir(path)) == slice && (s == ".scope" || s == ".service") {
			return path
		}
	}
	return ""
}

// stopWait is how long systemd waits between asking the processes of a scope to end and killing them, at shutdown say.
// PID 1 of a sandbox doesn't listen to such requests.
const stopWait = 10 * time.Second

// startScope has systemd move a process into a new, delegated scope of slice.
func startScope(name, slice, description string, pid int) error {
	if !strings.HasSuffix(slice, ".slice") {
		return fmt.Errorf("%s must end in .slice", slice)
	}
	ctx, cancel := context.WithTimeout(context.Background(), scopeWait)
	defer cancel()
	conn, err := dbus.NewWithContext(ctx)
	if err != nil {
		return fmt.Errorf("reach systemd over D-Bus: %w", err)
	}
	defer conn.Close()
	done := make(chan string, 1)
	properties := []dbus.Property{
		dbus.PropDescription(description),
		dbus.PropSlice(slice),
		dbus.PropPids(uint32(pid)),
		{Name: "Delegate", Value: godbus.MakeVariant(true)},
		{Name: "CollectMode", Value: godbus.MakeVariant("inactive-or-failed")},
		{Name: "TimeoutStopUSec", Value: godbus.MakeVariant(uint64(stopWait.Microseconds()))},
	}
	// One sandbox out of memory must not end the others. systemd 253 can be told; before, it only takes note.
	calm := dbus.Property{Name: "OOMPolicy", Value: godbus.MakeVariant("continue")}
	_, err = conn.StartTransientUnitContext(ctx, name, "fail", append(properties[:len(properties):len(properties)], calm), done)
	if dbusError(err) == "org.freedesktop.DBus.Error.PropertyReadOnly" { // a property that it doesn't know
		_, err = conn.StartTransientUnitContext(ctx, name, "fail", properties, done)
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	select {
	case result := <-done:
		if result != "done" {
			return fmt.Errorf("start %s: systemd says %q", name, result)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("start %s: %w", name, ctx.Err())
	}
}

// dbusError is the name of an error that came over D-Bus, or nothing.
func dbusError(err error) string {
	var e godbus.Error
	if !errors.As(err, &e) {
		return ""
	}
	return e.Name
}

func scopeName(slice string, pid int) string {
	return strings.TrimSuffix(slice, ".slice") + "-" + strconv.Itoa(pid) + ".scope"
}

// stepAside moves this process into the supervisor group and hands the unit's controllers down to its children.
func (p *Parent) stepAside() error {
	supervisor, err := p.makeSupervisor()
	if err != nil {
		return err
	}
	if err := write(supervisor, "cgroup.procs", strconv.Itoa(os.Getpid())); err != nil {
		return err
	}
	return p.handDown(p.unified())
}

// unified is the parent's directory on a v2 host.
func (p *Parent) unified() string { return filepath.Join(p.host.Hierarchies[0].Mount, p.path) }

// makeSupervisor makes the supervisor group, if need be, and returns its directory.
func (p *Parent) makeSupervisor() (string, error) {
	dir := filepath.Join(p.unified(), supervisorGroup)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return dir, nil
}

// sibling reports whether a unit of the parent's slice is a scope of the kind that is made here.
func (p *Parent) sibling(unit string) bool {
	stem := strings.TrimSuffix(filepath.Base(filepath.Dir(p.path)), ".slice")
	return strings.HasPrefix(unit, stem+"-") && filepath.Ext(unit) == ".scope"
}

// predecessors returns the other scopes of the slice that may have leaves of nobody: those whose supervisor has died, and
// the held one, whose supervisor group never tells who works with it.
func (p *Parent) predecessors() []*Parent {
	slice := filepath.Dir(p.path)
	mount := p.host.Hierarchies[0].Mount
	entries, _ := os.ReadDir(filepath.Join(mount, slice))
	var left []*Parent
	for _, e := range entries {
		path := filepath.Join(slice, e.Name())
		if !e.IsDir() || path == p.path || !p.sibling(e.Name()) {
			continue
		}
		// A scope without a supervisor group is one that is just being made.
		populated, err := readValue(filepath.Join(mount, path, supervisorGroup), "cgroup.events", "populated")
		if err == nil && (populated == 0 || e.Name() == heldName(filepath.Base(slice))) {
			left = append(left, &Parent{host: p.host, boxes: p.boxes, path: path, bells: p.bells})
		}
	}
	return left
}

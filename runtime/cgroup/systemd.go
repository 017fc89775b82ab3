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
	p := &Parent{host: h, unit: true}
	path, err := ownUnit(h, slice)
	if err == nil && path == "" {
		if err = startScope(filepath.Base(slice)); err == nil {
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
	dir := filepath.Join(h.Hierarchies[0].Mount, own)
	for _, name := range []string{"trusted.delegate", "user.delegate"} { // set by systemd 240 and later
		mark := make([]byte, 8)
		if n, err := unix.Getxattr(dir, name, mark); err == nil && string(mark[:n]) == "1" {
			return own, nil
		}
	}
	return "", nil
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

// startScope has systemd move this process into a new scope of slice, "NAME-PID.scope" in "NAME.slice".
func startScope(slice string) error {
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
	name := scopeName(slice, os.Getpid())
	done := make(chan string, 1)
	_, err = conn.StartTransientUnitContext(ctx, name, "fail", []dbus.Property{
		dbus.PropDescription("clawsup sandboxes of process " + strconv.Itoa(os.Getpid())),
		dbus.PropSlice(slice),
		dbus.PropPids(uint32(os.Getpid())),
		{Name: "Delegate", Value: godbus.MakeVariant(true)},
		{Name: "CollectMode", Value: godbus.MakeVariant("inactive-or-failed")},
	}, done)
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

func scopeName(slice string, pid int) string {
	return strings.TrimSuffix(slice, ".slice") + "-" + strconv.Itoa(pid) + ".scope"
}

// stepAside moves this process into the supervisor group and hands the unit's controllers down to its children.
func (p *Parent) stepAside() error {
	dir := filepath.Join(p.host.Hierarchies[0].Mount, p.path)
	supervisor := filepath.Join(dir, supervisorGroup)
	if err := os.Mkdir(supervisor, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := write(supervisor, "cgroup.procs", strconv.Itoa(os.Getpid())); err != nil {
		return err
	}
	return p.handDown(dir)
}

// predecessors returns the scopes of the same slice whose supervisor has died while leaves of it live on.
func (p *Parent) predecessors() []*Parent {
	slice := filepath.Dir(p.path)
	stem, _ := strings.CutSuffix(filepath.Base(slice), ".slice")
	mount := p.host.Hierarchies[0].Mount
	entries, _ := os.ReadDir(filepath.Join(mount, slice))
	var left []*Parent
	for _, e := range entries {
		path := filepath.Join(slice, e.Name())
		if !e.IsDir() || path == p.path || !strings.HasPrefix(e.Name(), stem+"-") || filepath.Ext(path) != ".scope" {
			continue
		}
		// A scope without a supervisor group is one that is just being made.
		populated, err := readValue(filepath.Join(mount, path, supervisorGroup), "cgroup.events", "populated")
		if err == nil && populated == 0 {
			left = append(left, &Parent{host: p.host, path: path})
		}
	}
	return left
}

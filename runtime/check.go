// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"fmt"
	"math"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/runtime/wire"
)

type bound struct {
	name  string
	value int64
}

// check refuses a call that contradicts itself or that execve(2) would.
func (c *Call) check() error {
	if err := c.checkTool(); err != nil {
		return err
	}
	if c.WallTime <= 0 {
		return errors.New("wall_time is not set")
	}
	if c.StdoutMax < 0 || c.StderrMax < 0 {
		return errors.New("an output cap is negative")
	}
	if h := c.Hold; h != nil && (h.most < 0 || h.most > maxHold) {
		return fmt.Errorf("a call can be held for %v at most, not for %v", maxHold, h.most)
	}
	if c.Socket != nil {
		return errors.New("only a service may have a socket")
	}
	return nil
}

// checkService is check for a service.
func (c *Call) checkService() error {
	if err := c.checkTool(); err != nil {
		return err
	}
	for _, b := range []bound{{"wall_time", int64(c.WallTime)}, {"stdout", c.StdoutMax}, {"stderr", c.StderrMax}} {
		if b.value != 0 {
			return fmt.Errorf("a service has no %s", b.name)
		}
	}
	if c.Hold != nil {
		return errors.New("a service has no wall_time that could be held")
	}
	return c.checkSocket()
}

// checkTool looks at what both have.
func (c *Call) checkTool() error {
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		return errors.New("there is no command to run")
	}
	total := 0
	for what, list := range map[string][]string{"argument": c.Argv, "variable": c.Env} {
		for i, s := range list {
			if strings.ContainsRune(s, 0) {
				return fmt.Errorf("%s %d holds a NUL byte", what, i)
			}
			if len(s) >= wire.MaxString {
				return fmt.Errorf("%s %d is %d bytes; the limit is %d", what, i, len(s), wire.MaxString-1)
			}
			total += len(s) + 1
		}
	}
	if total > wire.MaxStrings {
		return fmt.Errorf("argv and environment are %d bytes; the limit is %d: pass large input through stdin or a file", total, wire.MaxStrings)
	}
	if !path.IsAbs(c.Dir) {
		return fmt.Errorf("working directory %q is not absolute", c.Dir)
	}
	return nil
}

// checkSocket refuses a Socket that isn't a connected Unix socket.
func (c *Call) checkSocket() error {
	if c.Socket == nil {
		return nil
	}
	return control(c.Socket, func(fd int) error {
		if domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil || domain != unix.AF_UNIX {
			return errors.New("the tool's socket is not a Unix socket")
		}
		if _, err := unix.Getpeername(fd); err != nil {
			return fmt.Errorf("the tool's socket: %w", err)
		}
		return nil
	})
}

// checkBox refuses a box for a call that can't be, or has no end.
func (h *Host) checkBox(spec *Spec) error {
	if spec.Network == NetworkHost {
		return errors.New("only a service can be in the host's network")
	}
	if spec.CPUTime <= 0 {
		return errors.New("cpu_time is not set")
	}
	return h.check(spec)
}

// checkBerth refuses one for a service that can't be, or has an end.
func (h *Host) checkBerth(spec *Spec) error {
	if spec.CPUTime != 0 {
		return errors.New("a service has no cpu_time")
	}
	return h.check(spec)
}

// check refuses a box that contradicts itself.
func (h *Host) check(spec *Spec) error {
	on := spec.Layers.Enforce
	fits := false
	switch spec.Network {
	case NetworkNone:
		fits = on.Has(layer.Network)
	case NetworkHost:
		fits = !on.Has(layer.Network)
	case NetworkEgress:
		fits = on.Has(layer.Network) && !on.Has(layer.LandlockTCP) && !on.Has(layer.LandlockUDP)
	default:
		return fmt.Errorf("no network is number %d", spec.Network)
	}
	if !fits {
		return errors.New("the plan of the layers is for another network than the box's: see layer.HostNetwork and layer.LedNetwork")
	}
	if on.Has(layer.Seccomp) && len(spec.Filter) == 0 {
		return errors.New("the plan enforces seccomp and the box has no filter")
	}
	for _, b := range []bound{{"file_size", spec.FileSize}, {"open_files", spec.OpenFiles}, {"stack", spec.Stack}} {
		if b.value <= 0 {
			return fmt.Errorf("%s is not set", b.name)
		}
	}
	for i := range spec.Binds {
		if b := &spec.Binds[i]; b.Upper != nil && (b.Owner == nil || !b.Writable || b.Recurse) {
			return fmt.Errorf("what is written to %s can't go to a layer: that takes an owner, and is for one tree that can be written", b.Target)
		}
	}
	t := spec.Tool
	if t == nil {
		return nil
	}
	for _, id := range []int{t.UID, t.GID} {
		if id <= 0 || int64(id) >= math.MaxUint32 {
			return fmt.Errorf("%d is no user or group that a tool may have", id)
		}
		if end := h.config.UIDBase + h.config.Slots*SlotIDs; id >= h.config.UIDBase && id < end {
			return fmt.Errorf("%d belongs to a box: those from %d up to %d do", id, h.config.UIDBase, end-1)
		}
	}
	return nil
}

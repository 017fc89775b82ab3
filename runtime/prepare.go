// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/cgroup"
	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/runtime/wire"
)

// Hostname is every box's name for itself.
const Hostname = "box"

// prepareLimit bounds preparation. It takes some milliseconds; a host that
// needs this long is in trouble.
const prepareLimit = 30 * time.Second

// endLimit bounds the end of a box: that everything in it is dead once it was
// killed, and gone. It takes milliseconds; what needs this long waits for a
// disk or a network file system, and only that can end it.
const endLimit = 10 * time.Second

// Sandbox is a prepared box. Run it once, or not at all, then Close it.
type Sandbox struct {
	host    *Host
	key     Key
	slot    *slot
	leaf    *cgroup.Leaf
	conn    *conn
	init    *pidfd // PID 1 of the box
	plan    layer.Plan
	spec    *Spec
	took    time.Duration
	watch   context.Context // of events
	unwatch context.CancelFunc
	events  <-chan cgroup.Event
	used    bool
	done    bool // PID 1 has said its last word
	closed  bool
}

// Prepare makes a template for one box, and the box.
func (h *Host) Prepare(ctx context.Context, spec Spec) (*Sandbox, error) {
	begin := time.Now()
	t, err := h.Template(ctx, spec)
	if err != nil {
		return nil, err
	}
	s, err := t.Prepare(ctx, spec)
	if err := errors.Join(err, t.Close()); err != nil {
		if s != nil {
			err = errors.Join(err, s.Close())
		}
		return nil, err
	}
	s.took = time.Since(begin)
	return s, nil
}

// Prepare makes a box that waits for a call. The template's key is that of the
// spec. The error is an *Error, and then nothing of the box is left.
func (t *Template) Prepare(ctx context.Context, spec Spec) (*Sandbox, error) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, prepareLimit)
	defer cancel()
	shared, own, err := treeOf(&spec).Split()
	if err != nil {
		return nil, failed(StepMount, err)
	}
	if spec.templateKey(shared, own) != t.key {
		return nil, failed(StepSpec, errors.New("the template is for other boxes"))
	}
	s := &Sandbox{host: t.host, key: spec.key(t.key, own), plan: spec.Layers, spec: &spec}
	if spec.Network == NetworkEgress {
		s.note(layer.Network, ledNetwork)
	}
	for _, st := range []struct {
		step Step
		do   func() error
	}{
		{StepSpec, func() error { return t.host.checkBox(&spec) }},
		{StepSlot, func() error { return s.takeSlot(ctx) }},
		{StepCgroup, func() error { return s.makeGroup(ctx, t) }},
		{StepContainer, func() error { return s.clone(ctx, t, own) }},
		{StepInit, func() error { return s.greet(ctx) }},
		{StepCgroup, s.limitCPU},
		{StepCgroup, s.attend},
	} {
		if err := st.do(); err != nil {
			var e *Error
			if !errors.As(err, &e) {
				e = failed(st.step, err)
			}
			return nil, errors.Join(e, s.Close())
		}
	}
	s.took = time.Since(begin)
	return s, nil
}

func (s *Sandbox) takeSlot(ctx context.Context) error {
	var err error
	s.slot, err = s.host.claim(ctx)
	return err
}

func (s *Sandbox) makeGroup(ctx context.Context, t *Template) error {
	t.mu.Lock()
	devices, err := t.devices.all(s.spec)
	t.mu.Unlock()
	if err != nil {
		return err
	}
	if s.plan.Enforce.Has(layer.CgroupIO) && devices == nil {
		s.note(layer.CgroupIO, noDevice)
	}
	s.leaf, err = s.host.makeLeaf(ctx, s.slot, s.host.parent.CreateBox, s.spec.limits(devices))
	return err
}

// note adds to what the result says of a layer.
func (s *Sandbox) note(l layer.Layer, detail string) {
	s.plan.Reports = slices.Clone(s.plan.Reports)
	s.plan.Reports[l] = layer.Report{Layer: l, State: s.plan.Reports[l].State, Detail: detail}
}

// clone orders the box from the template, with everything that is its own.
func (s *Sandbox) clone(ctx context.Context, t *Template, own []rootfs.Own) (err error) {
	tool := s.host.tool(s.spec, s.slot)
	order := wire.BoxOrder{Root: s.host.hostID(s.slot, 0), UID: tool.UID, GID: tool.GID}
	var fds []int
	var files []*os.File
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	add := func(f *os.File) (err error) {
		files = append(files, f)
		fds, err = appendFD(fds, f)
		return err
	}
	var theirs *os.File
	if s.conn, theirs, err = newConn(); err != nil {
		return err
	}
	if err := add(theirs); err != nil {
		return err
	}
	tasks, unified, err := s.leaf.Entrance()
	if err != nil {
		return failed(StepCgroup, err)
	}
	if unified != nil {
		order.Unified = true
		tasks = append([]*os.File{unified}, tasks...)
	}
	order.Groups = len(tasks)
	for _, f := range tasks {
		if err := add(f); err != nil {
			return err
		}
	}
	for i := range own {
		o := &own[i]
		for _, dir := range o.Make {
			order.Places = append(order.Places, wire.Place{Kind: wire.PlaceDirectory, Target: dir})
		}
		p := wire.Place{Kind: wire.PlaceTmpfs, Target: o.Target, Loose: o.Loose}
		if o.Tmpfs != nil {
			p.Flags, p.Options = o.Tmpfs.Mount(tool.UID, tool.GID)
		} else {
			p.Kind = wire.PlaceTree
			tree, err := o.Bind.Detach(rootfs.Owner{UID: tool.UID, GID: tool.GID})
			if err != nil {
				return failed(StepMount, err)
			}
			if err := add(os.NewFile(uintptr(tree), o.Target)); err != nil {
				return err
			}
			if w := o.Bind.Owner; w != nil && o.Bind.Upper == nil {
				p.Mapped, p.UID, p.GID = true, uint64(w.UID), uint64(w.GID)
			}
		}
		order.Places = append(order.Places, p)
	}
	if len(order.Places) > wire.MaxPlaces || len(fds) > wire.MaxFDs {
		return failed(StepSpec, fmt.Errorf("a box has %d places of its own; the limit is %d", len(order.Places), wire.MaxPlaces))
	}
	_, fd, err := t.ask(ctx, order.Encode(), fds...)
	if err != nil {
		return fmt.Errorf("clone the box: %w", err)
	}
	s.init, err = newPidfd(fd)
	return err
}

// greet waits for the box's first word.
func (s *Sandbox) greet(ctx context.Context) error {
	e, err := s.conn.receive(ctx)
	switch {
	case err != nil:
		if stats, broken := s.leaf.Stats(); broken == nil && stats.OOMKills > 0 {
			err = fmt.Errorf("its memory limit of %d bytes is not enough to begin with", s.spec.Group.Memory)
		}
		return fmt.Errorf("the box did not report: %w", err)
	case e.Failure != nil:
		return failed(e.Failure.Step, s.explain(e.Failure, nil))
	case e.Outcome != nil:
		return wire.ErrFrame
	}
	return nil
}

// explain says what a failure in the box means.
func (s *Sandbox) explain(f *wire.BoxFailure, any []string) error {
	if f.Step != StepMount {
		return f.Explain(any)
	}
	for i := range s.spec.Binds {
		if b := &s.spec.Binds[i]; b.Target == f.Text && b.Owner != nil {
			return &rootfs.Error{Target: b.Target, Err: fmt.Errorf("%s: %w", b.Source, rootfs.ExplainMapping(f.Errno))}
		}
	}
	err := error(f.Errno)
	switch f.Errno {
	case unix.ELOOP:
		err = errors.New("a symbolic link is on the way to where it is to be shown")
	case unix.ENOENT:
		err = errors.New("there is no such place in what is shown there, and none is made: make it on the host")
	}
	return &rootfs.Error{Target: f.Text, Err: err}
}

// limitCPU comes last: what prepares the box is trusted and short, and under
// the tool's share it would wait for most of a period.
func (s *Sandbox) limitCPU() error {
	if !s.spec.Layers.Enforce.Has(layer.CgroupCPU) {
		return nil
	}
	return s.leaf.Limit(cgroup.Limits{CPU: s.spec.Group.CPU})
}

// attend begins to watch the group, which the call then needn't wait for.
func (s *Sandbox) attend() (err error) {
	s.watch, s.unwatch = context.WithCancel(context.Background())
	s.events, err = s.leaf.Watch(s.watch)
	return err
}

// Key is what the box is good for.
func (s *Sandbox) Key() Key { return s.key }

// Waiting tells whether the box can be given its call.
func (s *Sandbox) Waiting() bool { return !s.used && !s.closed && !s.init.ended() }

// Close ends what is left of the box and removes it, or gives up after ten
// seconds. It returns an *Error when something stays behind; then the slot's
// directory stays too, and the next Open tries again.
func (s *Sandbox) Close() error {
	if s.closed {
		return nil
	}
	s.used, s.closed = true, true
	if s.unwatch != nil {
		s.unwatch()
	}
	// Its own bound, not a caller's: cleaning up is not optional.
	ctx, cancel := context.WithTimeout(context.Background(), endLimit)
	defer cancel()
	var errs []error
	var left error // why the group is still there
	if s.conn != nil {
		errs = append(errs, s.conn.Close())
	}
	if s.init != nil {
		// The end of PID 1 is the end of all that is in its pid namespace. One
		// that has said its last word is ending by itself. What a throttled disk
		// holds up, the group's Kill sets free.
		if !s.done {
			errs = append(errs, s.init.kill())
		}
		s.init.awaitFor(exitPause)
	}
	if s.leaf != nil {
		left = s.leaf.Remove(ctx)
	}
	if s.init != nil {
		if err := s.init.await(ctx); err != nil {
			errs = append(errs, fmt.Errorf("the box does not end: %w", err))
		}
		errs = append(errs, s.init.Close())
	}
	errs = append(errs, left)
	if s.slot != nil {
		if left == nil {
			errs = append(errs, os.Remove(s.slot.dir))
		}
		errs = append(errs, s.slot.release())
	}
	if err := errors.Join(errs...); err != nil {
		return failed(StepCleanup, err)
	}
	return nil
}

// exitPause is how long a killed box may take to end before its group's limits
// are looked at: with none of them in the way it is less than a millisecond.
const exitPause = 50 * time.Millisecond

// Freeze has every process of the box stand still, until Close or the end of
// its call kills them. It may be called while Run is running, and at any time
// after: a box that is gone, or is being killed, stands still.
func (s *Sandbox) Freeze(ctx context.Context) error {
	return freeze(ctx, s.leaf)
}

func freeze(ctx context.Context, leaf *cgroup.Leaf) error {
	err := leaf.Freeze(ctx)
	if err == nil || errors.Is(err, cgroup.ErrDeleted) || errors.Is(err, cgroup.ErrKilled) {
		return nil
	}
	return failed(StepCgroup, err)
}

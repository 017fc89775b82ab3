// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/cgroup"
	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/runtime/wire"
)

// Berth is a prepared box for a service. Serve in it once, or not at all, then
// Close it.
type Berth struct {
	host      *Host
	slot      *slot
	leaf      *cgroup.Leaf
	container *libcontainer.Container
	process   *libcontainer.Process
	conn      *wire.Conn
	diagnosis *diagnosis
	plan      layer.Plan
	rules     []wire.Rule
	spec      *Spec
	took      time.Duration
	used      bool
	closed    bool
}

// Berth makes a box in which clawsup-init waits for a service. The error is an
// *Error, and then nothing of the box is left.
func (h *Host) Berth(ctx context.Context, spec Spec) (*Berth, error) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, prepareLimit)
	defer cancel()
	s := &Berth{host: h, plan: spec.Layers, spec: &spec}
	steps := []struct {
		step Step
		do   func(context.Context, *Spec) error
	}{
		{StepSpec, func(_ context.Context, spec *Spec) error { return h.checkBerth(spec) }},
		{StepSlot, s.takeSlot},
		{StepCgroup, s.makeGroup},
		{StepContainer, s.makeContainer},
		{StepInit, s.greet},
		{StepCgroup, s.limitCPU},
	}
	if spec.Network == NetworkEgress {
		s.note(layer.Network, ledNetwork)
	}
	for _, st := range steps {
		if err := st.do(ctx, &spec); err != nil {
			var e *Error
			if !errors.As(err, &e) {
				e = failed(st.step, err)
			}
			if said := s.diagnosis.said(); said != "" {
				e = failed(e.Step, fmt.Errorf("%w; %s", e.Err, said))
			}
			return nil, errors.Join(e, s.Close())
		}
	}
	s.took = time.Since(begin)
	return s, nil
}

func (s *Berth) takeSlot(ctx context.Context, _ *Spec) error {
	var err error
	s.slot, err = s.host.claim(ctx)
	return err
}

// makeGroup makes the leaf with what the plan enforces of the limits, but for
// the processor's.
func (s *Berth) makeGroup(ctx context.Context, spec *Spec) error {
	devices, err := devicesOf{}.all(spec)
	if err != nil {
		return err
	}
	if spec.Layers.Enforce.Has(layer.CgroupIO) && devices == nil {
		s.note(layer.CgroupIO, noDevice)
	}
	s.leaf, err = s.host.makeLeaf(ctx, s.slot, s.host.parent.Create, spec.limits(devices))
	return err
}

// note adds to what the result says of a layer.
func (s *Berth) note(l layer.Layer, detail string) {
	s.report(layer.Report{Layer: l, State: s.plan.Reports[l].State, Detail: detail})
}

// report replaces what the result says of a layer.
func (s *Berth) report(r layer.Report) {
	s.plan.Reports = slices.Clone(s.plan.Reports)
	s.plan.Reports[r.Layer] = r
}

// makeContainer builds the root and has libcontainer start clawsup-init in
// it, all on one thread that has a mount namespace of its own and ends with
// this function.
func (s *Berth) makeContainer(_ context.Context, spec *Spec) error {
	ours, theirs, err := wire.Pair()
	if err != nil {
		return err
	}
	s.conn = wire.NewConn(ours)
	control := os.NewFile(uintptr(theirs), "control")
	defer control.Close()
	s.diagnosis, err = newDiagnosis()
	if err != nil {
		return err
	}
	tree := s.host.tree(spec, s.slot)
	tree.Init = s.host.config.Init
	s.rules = tree.Rules()
	err = rootfs.OnOwnThread(func() error { return s.start(tree, spec, control) })
	s.diagnosis.closeWriter()
	return err
}

func (s *Berth) start(tree *rootfs.Tree, spec *Spec, control *os.File) error {
	if err := rootfs.Isolate(); err != nil {
		return failed(StepMount, err)
	}
	if err := tree.Build(s.host.stageDir()); err != nil {
		return failed(StepMount, err)
	}
	config, err := s.containerConfig(spec)
	if err != nil {
		return err
	}
	s.container, err = libcontainer.Create(s.slot.dir, "container", config)
	if err != nil {
		return err
	}
	process := &libcontainer.Process{
		Init:       true,
		Args:       []string{rootfs.InitPath},
		Env:        []string{"GOMAXPROCS=2", "GOGC=off"},
		Cwd:        "/",
		ExtraFiles: []*os.File{control}, // becomes wire.ControlFD
		Stderr:     s.diagnosis.writer,
	}
	if err := s.container.Run(process); err != nil {
		return err
	}
	s.process = process
	return nil
}

// greet waits for clawsup-init's first word.
func (s *Berth) greet(ctx context.Context, _ *Spec) error {
	// A shutdown of the socket is what wakes the reader when time is up.
	stop := context.AfterFunc(ctx, func() { _ = s.conn.Shutdown() })
	var hello wire.Hello
	err := s.conn.Receive(&hello)
	if !stop() { // the socket is shut, also if the word had just come
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("clawsup-init did not report: %w", err)
	}
	if hello.Protocol != wire.Protocol {
		return fmt.Errorf("clawsup-init speaks version %d and clawsup %d: install both from one build", hello.Protocol, wire.Protocol)
	}
	return nil
}

// limitCPU comes last: what prepares the box is trusted and short, and under
// the tool's share it would wait for most of a period.
func (s *Berth) limitCPU(_ context.Context, spec *Spec) error {
	if !spec.Layers.Enforce.Has(layer.CgroupCPU) {
		return nil
	}
	return s.leaf.Limit(cgroup.Limits{CPU: spec.Group.CPU})
}

// Close ends what is left of the box and removes it, or gives up after ten
// seconds. It returns an *Error when something stays behind; then the slot's
// directory stays too, and the next Open tries again.
func (s *Berth) Close() error {
	if s.closed {
		return nil
	}
	s.used, s.closed = true, true
	// Its own bound, not a caller's: cleaning up is not optional.
	ctx, cancel := context.WithTimeout(context.Background(), endLimit)
	defer cancel()
	var errs []error
	var left error // why the group is still there
	if s.conn != nil {
		errs = append(errs, s.conn.Close())
	}
	if s.leaf != nil {
		left = s.leaf.Kill(ctx)
	}
	if s.process != nil {
		errs = append(errs, reap(ctx, s.process))
	}
	if s.container != nil && left == nil { // it would wait for each of the group's directories
		errs = append(errs, s.container.Destroy())
	}
	if s.leaf != nil && left == nil {
		left = s.leaf.Delete()
	}
	errs = append(errs, left)
	if s.diagnosis != nil {
		errs = append(errs, s.diagnosis.close())
	}
	if s.slot != nil {
		if left == nil {
			errs = append(errs, os.RemoveAll(s.slot.dir))
		}
		errs = append(errs, s.slot.release())
	}
	if err := errors.Join(errs...); err != nil {
		return failed(StepCleanup, err)
	}
	return nil
}

// reap waits for clawsup-init, which was killed, so that it is no zombie. How
// it ended was reported, or does not matter any more.
func reap(ctx context.Context, process *libcontainer.Process) error {
	ended := make(chan struct{})
	go func() {
		_, _ = process.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("clawsup-init does not end: %w", ctx.Err())
	}
}

// diagnosis is where clawsup-init's standard error goes: nothing, unless it
// can't do its work.
type diagnosis struct {
	reader, writer *os.File
}

func newDiagnosis() (*diagnosis, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	return &diagnosis{os.NewFile(uintptr(p[0]), "diagnosis"), os.NewFile(uintptr(p[1]), "diagnosis")}, nil
}

func (d *diagnosis) closeWriter() {
	_ = d.writer.Close()
}

// said is what is in the pipe now, in one line.
func (d *diagnosis) said() string {
	if d == nil {
		return ""
	}
	fd := int(d.reader.Fd())
	if unix.SetNonblock(fd, true) != nil {
		return ""
	}
	buf := make([]byte, 4096)
	n, _ := unix.Read(fd, buf)
	return strings.Join(strings.Fields(string(buf[:max(n, 0)])), " ")
}

func (d *diagnosis) close() error {
	d.closeWriter()
	return d.reader.Close()
}

// message is the call in init's terms, with what the plan enforces.
func (s *Berth) message(c Call) wire.Call {
	m := wire.Call{
		Argv: wire.Texts(c.Argv), Env: wire.Texts(c.Env), Dir: wire.Text(c.Dir),
		Requires: wire.Texts(c.Requires), RequiresAny: wire.Texts(c.RequiresAny),
		Rlimits: s.spec.rlimits(), Landlock: s.spec.landlock(s.rules),
		Socket: c.Socket != nil,
	}
	if s.plan.Enforce.Has(layer.Seccomp) {
		m.Seccomp = s.spec.Filter
	}
	return m
}

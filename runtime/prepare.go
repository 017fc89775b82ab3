// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	goruntime "runtime"
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

// Hostname is every box's name for itself.
const Hostname = "box"

// prepareLimit bounds preparation. It takes some ten milliseconds; a host
// that needs this long is in trouble.
const prepareLimit = 30 * time.Second

// endLimit bounds the end of a box: that everything in it is dead once it was
// killed, and gone. It takes milliseconds; what needs this long waits for a
// disk or a network file system, and only that can end it.
const endLimit = 10 * time.Second

// Sandbox is a prepared box. Run it once, or not at all, then Close it.
type Sandbox struct {
	host      *Host
	slot      *slot
	leaf      *cgroup.Leaf
	container *libcontainer.Container
	process   *libcontainer.Process
	conn      *wire.Conn
	diagnosis *diagnosis
	plan      layer.Plan
	rules     []wire.Rule
	measure   []string
	cores     float64 // the most CPU time per wall time that the box can use
	pids      int64   // as Group.Pids
	took      time.Duration
	used      bool
	done      bool // clawsup-init has reported its last event
	closed    bool
}

// Prepare makes a box in which clawsup-init waits for a call. The error is
// an *Error, and then nothing of the box is left.
func (h *Host) Prepare(ctx context.Context, spec Spec) (*Sandbox, error) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, prepareLimit)
	defer cancel()
	s := &Sandbox{host: h, plan: spec.Layers, pids: spec.Group.Pids, cores: float64(goruntime.NumCPU())}
	if spec.Layers.Enforce.Has(layer.CgroupCPU) {
		s.cores = spec.Group.CPU
	}
	steps := []struct {
		step Step
		do   func(context.Context, *Spec) error
	}{
		{StepSpec, func(_ context.Context, spec *Spec) error { return h.check(spec) }},
		{StepSlot, s.takeSlot},
		{StepCgroup, s.makeGroup},
		{StepContainer, s.makeContainer},
		{StepInit, s.greet},
		{StepCgroup, s.limitCPU},
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

func (s *Sandbox) takeSlot(ctx context.Context, _ *Spec) error {
	var err error
	if s.slot, err = s.host.claim(ctx); err != nil {
		return err
	}
	return os.Mkdir(s.slot.dir, 0o711)
}

// makeGroup makes the leaf with what the plan enforces of the limits, but for
// the processor's.
func (s *Sandbox) makeGroup(_ context.Context, spec *Spec) error {
	var l cgroup.Limits
	g, on := spec.Group, spec.Layers.Enforce
	if on.Has(layer.CgroupMemory) {
		l.Memory = g.Memory
		l.NoSwap = on.Has(layer.CgroupSwap)
	}
	if on.Has(layer.CgroupPids) {
		l.Pids = g.Pids
	}
	if on.Has(layer.CgroupIO) {
		l.ReadBps, l.WriteBps = g.DiskRead, g.DiskWrite
		devices, err := s.devices(spec)
		if err != nil {
			return err
		}
		if l.Devices = devices; devices == nil {
			l.ReadBps, l.WriteBps = 0, 0
			s.note(layer.CgroupIO, "no block device behind the box's files")
		}
	}
	var err error
	s.leaf, err = s.host.parent.Create(s.host.leafName(s.slot.number), l)
	return err
}

// devices are the block devices behind everything that the box can read.
func (s *Sandbox) devices(spec *Spec) ([]cgroup.Device, error) {
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
		devices, err := cgroup.DevicesBehind(p)
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

// note adds to what the result says of a layer.
func (s *Sandbox) note(l layer.Layer, detail string) {
	s.report(layer.Report{Layer: l, State: s.plan.Reports[l].State, Detail: detail})
}

// report replaces what the result says of a layer.
func (s *Sandbox) report(r layer.Report) {
	s.plan.Reports = slices.Clone(s.plan.Reports)
	s.plan.Reports[r.Layer] = r
}

// makeContainer builds the root and has libcontainer start clawsup-init in
// it, all on one thread that has a mount namespace of its own and ends with
// this function.
func (s *Sandbox) makeContainer(_ context.Context, spec *Spec) error {
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
	tree := s.tree(spec)
	s.rules = tree.Rules()
	for _, t := range tree.Tmpfs {
		s.measure = append(s.measure, t.Target)
	}
	err = onOwnThread(func() error { return s.start(tree, spec, control) })
	s.diagnosis.closeWriter()
	return err
}

// onOwnThread runs f on a thread that ends with it, so that f may change what
// belongs to a thread.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		goruntime.LockOSThread() // never unlocked, hence the thread ends
		done <- f()
	}()
	return <-done
}

func (s *Sandbox) start(tree *rootfs.Tree, spec *Spec, control *os.File) error {
	if err := rootfs.Isolate(); err != nil {
		return failed(StepMount, err)
	}
	if err := tree.Build(s.host.stageDir()); err != nil {
		return failed(StepMount, err)
	}
	var err error
	s.container, err = libcontainer.Create(s.slot.dir, "container", s.containerConfig(spec))
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

// tool is who the tool is on the host.
func (s *Sandbox) tool(spec *Spec) Identity {
	if spec.Tool != nil {
		return *spec.Tool
	}
	return Identity{s.host.hostID(s.slot, ToolUID), s.host.hostID(s.slot, ToolGID)}
}

// tree is the file system that the spec describes.
func (s *Sandbox) tree(spec *Spec) *rootfs.Tree {
	root, tool := s.host.hostID(s.slot, 0), s.tool(spec)
	return &rootfs.Tree{
		Rootfs: spec.Rootfs, Read: spec.Read, Binds: spec.Binds, Tmpfs: spec.Tmpfs,
		Init: s.host.config.Init, Hostname: Hostname, HostNetwork: spec.Network == NetworkHost,
		InitUID: root, InitGID: root, ToolUID: tool.UID, ToolGID: tool.GID,
	}
}

// greet waits for clawsup-init's first word.
func (s *Sandbox) greet(ctx context.Context, _ *Spec) error {
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
func (s *Sandbox) limitCPU(_ context.Context, spec *Spec) error {
	if !spec.Layers.Enforce.Has(layer.CgroupCPU) {
		return nil
	}
	return s.leaf.Limit(cgroup.Limits{CPU: spec.Group.CPU})
}

// Close ends what is left of the box and removes it, or gives up after ten
// seconds. It returns an *Error when something stays behind; then the slot's
// directory stays too, and the next Open tries again.
func (s *Sandbox) Close() error {
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
		// An init that has said its last word is ending by itself, and an
		// empty group is cheaper to kill than a dying one.
		if s.done {
			s.conn.AwaitEnd(100 * time.Millisecond)
		}
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

// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/cgroup"
	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/runtime/wire"
)

const (
	memoryLimit = "the box reached its memory limit"
	pidsLimit   = "the box reached its process limit"
)

// Stdio is a call's three streams. Each is a pipe, a pseudo-terminal or a
// regular file; CheckStdio refuses the rest. The tool itself gets pipes of
// the box, and clawsup-init moves the bytes.
type Stdio struct {
	In, Out, Err *os.File
	// Watch are the write ends of two pipes that get copies of what Out and Err
	// get, as far as they have room: what they have none for is missed, and
	// nothing waits for whoever reads them. They are made non-blocking, and end
	// with the stream once the caller has closed its copies. Both or none.
	Watch [2]*os.File
}

// Run gives the box its one call and returns when everything of the call is
// gone. Cancelling ctx stops the call. signals are passed on to the tool's
// process group; a nil channel passes none.
func (s *Sandbox) Run(ctx context.Context, call Call, stdio Stdio, signals <-chan unix.Signal) Result {
	r := Result{ExitCode: -1, Layers: s.plan.Reports, Usage: Usage{Preparation: s.took}}
	fail := func(step Step, err error) Result {
		r.Status, r.Step, r.Message = SandboxError, step, err.Error()
		return r
	}
	if s.used {
		return fail(StepCall, errors.New("this box has had its call"))
	}
	s.used = true
	if err := call.check(); err != nil {
		return fail(StepSpec, err)
	}
	if s.plan.Enforce.Has(layer.Seccomp) && len(call.Filter) == 0 {
		return fail(StepSpec, errors.New("the plan enforces seccomp and the call brings no filter"))
	}
	fds, err := stdio.descriptors()
	if err == nil {
		fds, err = call.appendSocket(fds)
	}
	if err != nil {
		return fail(StepCall, err)
	}
	message := s.message(call)
	message.Watch = stdio.watched()
	watch, cancel := context.WithCancel(context.Background())
	defer cancel()
	events, err := s.leaf.Watch(watch)
	if err != nil {
		return fail(StepCgroup, err)
	}
	before, err := s.leaf.CPUUsage()
	if err != nil {
		return fail(StepCgroup, err)
	}
	begin := time.Now()
	if err := s.conn.Send(message, fds...); err != nil {
		return fail(StepCall, err)
	}
	end := &ending{kill: s.leaf.Kill}
	var guards sync.WaitGroup
	guards.Go(func() { s.guard(watch, ctx, call, begin, before, events, end) })
	guards.Go(func() { s.forward(watch, signals) })

	started, failure, outcome, err := s.follow()
	r.Usage.Wall = time.Since(begin)
	s.done = err == nil
	cancel()
	guards.Wait()
	stats := account(s.leaf, &r, outcome, before)
	cause, detail := end.cause()
	switch {
	case cause != nil:
		r.Status, r.Message = *cause, detail
	// The counters decide where the tool was faster than the event.
	case stats.OOMKills > 0:
		r.Status, r.Message = OutOfMemory, memoryLimit
	case stats.PidsLimitHits > 0:
		r.Status, r.Message = PidsLimit, pidsLimit
	case failure != nil:
		return fail(failure.Step, errors.New(failure.Message))
	case err != nil:
		if said := s.diagnosis.said(); said != "" {
			err = fmt.Errorf("%w; %s", err, said)
		}
		if !started {
			return fail(StepCall, err)
		}
		return fail(StepReport, err)
	case outcome.TimedOut:
		r.Status, r.Message = TimedOut, wallTime(call)
	case outcome.OutputError != "":
		return fail(StepOutput, errors.New(outcome.OutputError))
	case outcome.OutputLimit:
		r.Status, r.Message = OutputLimit, "the tool wrote more than its output cap"
	default:
		r.judge(unix.WaitStatus(outcome.Status))
	}
	return r
}

// follow reads init's events up to the last one.
func (s *Sandbox) follow() (started bool, failure *wire.Failure, outcome *wire.Outcome, err error) {
	for {
		var e wire.Event
		if err := s.conn.Receive(&e); err != nil {
			return started, nil, nil, fmt.Errorf("clawsup-init fell silent: %w", err)
		}
		switch {
		case e.Kind == wire.Started && !started:
			started = true
		case e.Kind == wire.Failed && e.Failure != nil && !started:
			return started, e.Failure, nil, nil
		case e.Kind == wire.Done && e.Outcome != nil && started:
			return started, nil, e.Outcome, nil
		default:
			return started, nil, nil, fmt.Errorf("clawsup-init: %w: event %d", wire.ErrFrame, e.Kind)
		}
	}
}

// ending is the first reason for which a call was killed.
type ending struct {
	kill func(context.Context) error

	mu     sync.Mutex
	status *Status // mu
	detail string  // mu
}

// now ends the call, unless it was ended already.
func (e *ending) now(status Status, detail string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.set(status, detail) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), endLimit)
	defer cancel()
	if err := e.kill(ctx); err != nil {
		e.detail += "; " + err.Error()
	}
}

// mark is now without the killing.
func (e *ending) mark(status Status, detail string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.set(status, detail)
}

// set notes the first reason. The caller holds mu.
func (e *ending) set(status Status, detail string) bool {
	if e.status != nil {
		return false
	}
	e.status, e.detail = &status, detail
	return true
}

func (e *ending) cause() (*Status, string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.status, e.detail
}

// guard ends the call when one of its bounds is reached or caller is done.
func (s *Sandbox) guard(watch, caller context.Context, call Call, begin time.Time, before time.Duration, events <-chan cgroup.Event, end *ending) {
	wall := time.NewTimer(time.Until(begin.Add(call.WallTime)))
	defer wall.Stop()
	// The box can't use CPU time faster than its share, so the earliest
	// moment at which the rest could be gone is when to look again.
	cpu := time.NewTimer(s.earliest(call.CPUTime))
	defer cpu.Stop()
	for {
		select {
		case <-watch.Done():
			return
		case <-caller.Done():
			end.now(Stopped, "stopped")
			return
		case <-wall.C:
			end.now(TimedOut, wallTime(call))
			return
		case <-cpu.C:
			used, err := s.leaf.CPUUsage()
			if err != nil {
				end.now(SandboxError, err.Error())
				return
			}
			rest := call.CPUTime - (used - before)
			if rest <= 0 {
				end.now(TimedOut, fmt.Sprintf("cpu_time of %v is used up", call.CPUTime))
				return
			}
			cpu.Reset(s.earliest(rest))
		case e, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			switch e {
			case cgroup.OOM:
				end.now(OutOfMemory, memoryLimit)
				return
			case cgroup.PidsLimit:
				end.now(PidsLimit, pidsLimit)
				return
			}
		}
	}
}

func wallTime(c Call) string { return fmt.Sprintf("wall_time of %v is over", c.WallTime) }

// earliest is the least wall time in which the box can use rest of CPU time.
func (s *Sandbox) earliest(rest time.Duration) time.Duration {
	return max(time.Duration(float64(rest)/s.cores), time.Millisecond)
}

// forward passes signals on to the tool.
func (s *Sandbox) forward(watch context.Context, signals <-chan unix.Signal) {
	for {
		select {
		case <-watch.Done():
			return
		case sig, ok := <-signals:
			if !ok {
				return
			}
			if s.conn.Send(wire.Signal{Number: int(sig)}) != nil {
				return
			}
		}
	}
}

// account fills in what the call used. The group's counters are the truth:
// init's miss what is never waited for (a parent that ignores SIGCHLD). They
// split CPU time into its kinds, and stand in where a host does not count.
// before is the CPU time that the box took before its call.
func account(leaf *cgroup.Leaf, r *Result, o *wire.Outcome, before time.Duration) cgroup.Stats {
	stats, err := leaf.Stats()
	if err != nil {
		stats = cgroup.Stats{} // what could not be measured stays zero
	}
	u := &r.Usage
	u.MemoryPeak, u.PidsPeak, u.Written = int64(stats.MemoryPeak), int64(stats.PidsPeak), int64(stats.IOWritten)
	user, system := stats.User, stats.System
	if o != nil {
		user, system = o.User, o.System
		u.MemoryFiles, u.Stdout, u.Stderr = o.Memory, o.Stdout, o.Stderr
		u.Written = max(u.Written, o.Written)
	}
	total := max(stats.CPU-before, 0)
	if total == 0 {
		total = user + system
	}
	if user+system > 0 {
		u.System = time.Duration(float64(total) * float64(system) / float64(user+system))
	}
	u.User = total - u.System
	return stats
}

// judge reads a wait(2) status.
func (r *Result) judge(w unix.WaitStatus) {
	if w.Signaled() {
		r.Status, r.Signal = Signalled, unix.SignalName(w.Signal())
		return
	}
	r.Status, r.ExitCode = Exited, w.ExitStatus()
}

// message is the call in init's terms, with what the plan enforces.
func (s *Sandbox) message(c Call) wire.Call {
	m := wire.Call{
		Argv: wire.Texts(c.Argv), Env: wire.Texts(c.Env), Dir: wire.Text(c.Dir),
		Requires: wire.Texts(c.Requires), RequiresAny: wire.Texts(c.RequiresAny),
		StdoutMax: c.StdoutMax, StderrMax: c.StderrMax, WallTime: c.WallTime,
		Measure: s.measure,
		Rlimits: []wire.Rlimit{
			// 1, not 0: where core_pattern names a program, 0 does not keep the
			// kernel from starting it, as the host's root, on the tool's memory
			// (core(5)); a limit of 1 ends both kinds of dump.
			{Resource: unix.RLIMIT_CORE, Value: 1},
			{Resource: unix.RLIMIT_FSIZE, Value: uint64(c.FileSize)},
			{Resource: unix.RLIMIT_NOFILE, Value: uint64(c.OpenFiles)},
			{Resource: unix.RLIMIT_STACK, Value: uint64(c.Stack)},
			{Resource: unix.RLIMIT_NPROC, Value: uint64(s.pids)},
			{Resource: unix.RLIMIT_MEMLOCK, Value: 64 << 10},
			{Resource: unix.RLIMIT_MSGQUEUE, Value: 0},
			// Counted against the host's root as well, who made the user namespace.
			{Resource: unix.RLIMIT_SIGPENDING, Value: 128},
		},
		Socket: c.Socket != nil,
	}
	if c.CPUTime > 0 {
		// One process alone can't outlive the call's bound, whatever the watcher does.
		m.Rlimits = append(m.Rlimits, wire.Rlimit{Resource: unix.RLIMIT_CPU, Value: uint64(math.Ceil(c.CPUTime.Seconds())) + 1})
	}
	if s.plan.Enforce.Has(layer.Seccomp) {
		m.Seccomp = c.Filter
	}
	if s.plan.Enforce.Has(layer.Landlock) {
		m.Landlock = &wire.Landlock{
			ABI: s.plan.ABI, Rules: s.rules,
			// Where the profile gives the box its own loopback the plan does not
			// wish these: the empty network is the wall.
			TCP:   !s.plan.Enforce.Has(layer.LandlockTCP),
			UDP:   !s.plan.Enforce.Has(layer.LandlockUDP),
			Scope: s.plan.Enforce.Has(layer.LandlockScope),
		}
	}
	return m
}

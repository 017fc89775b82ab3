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
	if err != nil {
		return fail(StepCall, err)
	}
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
	if err := s.conn.Send(s.message(call), fds...); err != nil {
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
	stats := s.account(&r, outcome, before)
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
	if e.status != nil {
		return
	}
	e.status, e.detail = &status, detail
	ctx, cancel := context.WithTimeout(context.Background(), prepareLimit)
	defer cancel()
	if err := e.kill(ctx); err != nil {
		e.detail += "; " + err.Error()
	}
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
			end.now(TimedOut, fmt.Sprintf("wall_time of %v is over", call.WallTime))
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

// account fills in what the call used, from init's counts and the cgroup's;
// before is the CPU time that the box took before its call.
func (s *Sandbox) account(r *Result, o *wire.Outcome, before time.Duration) cgroup.Stats {
	if o != nil {
		r.Usage.User, r.Usage.System = o.User, o.System
		r.Usage.Written, r.Usage.MemoryFiles = o.Written, o.Memory
		r.Usage.Stdout, r.Usage.Stderr = o.Stdout, o.Stderr
	}
	stats, err := s.leaf.Stats()
	if err != nil {
		return stats // what could not be measured stays zero
	}
	r.Usage.MemoryPeak, r.Usage.PidsPeak = int64(stats.MemoryPeak), int64(stats.PidsPeak)
	if o == nil { // killed from outside: only the group knows
		total := max(stats.CPU-before, 0)
		r.Usage.System = min(stats.System, total)
		r.Usage.User = total - r.Usage.System
	}
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
		Argv: c.Argv, Env: c.Env, Dir: c.Dir,
		UID: ToolUID, GID: ToolGID,
		Requires: c.Requires, RequiresAny: c.RequiresAny,
		StdoutMax: c.StdoutMax, StderrMax: c.StderrMax,
		Measure: s.measure,
		Rlimits: []wire.Rlimit{
			{Resource: unix.RLIMIT_CORE, Value: 0},
			{Resource: unix.RLIMIT_FSIZE, Value: uint64(c.FileSize)},
			{Resource: unix.RLIMIT_NOFILE, Value: uint64(c.OpenFiles)},
			{Resource: unix.RLIMIT_STACK, Value: uint64(c.Stack)},
			{Resource: unix.RLIMIT_NPROC, Value: uint64(s.pids)},
			{Resource: unix.RLIMIT_MEMLOCK, Value: 64 << 10},
			{Resource: unix.RLIMIT_MSGQUEUE, Value: 0},
			{Resource: unix.RLIMIT_SIGPENDING, Value: 1024},
			// One process alone can't outlive the call's bound, whatever the watcher does.
			{Resource: unix.RLIMIT_CPU, Value: uint64(math.Ceil(c.CPUTime.Seconds())) + 1},
		},
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

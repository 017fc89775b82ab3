// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/cgroup"
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
	fds, err := stdio.descriptors()
	if err != nil {
		return fail(StepCall, err)
	}
	message, err := call.message(stdio.watched())
	if err != nil {
		return fail(StepSpec, err)
	}
	watch, cancel := s.watch, s.unwatch
	defer cancel()
	before, err := s.leaf.CPUUsage()
	if err != nil {
		return fail(StepCgroup, err)
	}
	if ctx.Err() != nil {
		r.Status, r.Message = Stopped, "stopped before it began"
		return r
	}
	begin := time.Now()
	end := &ending{kill: s.leaf.Kill}
	var guards sync.WaitGroup
	guards.Go(func() { s.guard(watch, ctx, call, begin, before, s.events, end) })
	if signals != nil {
		guards.Go(func() { s.forward(watch, signals) })
	}
	// The guards are there already: a box that was frozen takes no call, and only
	// they end the waiting.
	var said wire.BoxEvent
	sent := s.conn.send(message, fds...)
	if err = sent; err == nil {
		said, err = s.conn.receive(context.Background()) // its end is the box's
	}
	r.Usage.Wall = time.Since(begin)
	if s.done = err == nil && said.Outcome != nil; !s.done {
		_ = s.init.kill() // nothing of a call outlives its result
		s.init.awaitFor(exitPause)
	}
	cancel()
	guards.Wait()
	stats := account(s.leaf, &r, said.Outcome, before)
	cause, detail := end.cause()
	switch {
	case cause != nil:
		r.Status, r.Message = *cause, detail
	// The counters decide where the tool was faster than the event.
	case stats.OOMKills > 0:
		r.Status, r.Message = OutOfMemory, memoryLimit
	case stats.PidsLimitHits > 0:
		r.Status, r.Message = PidsLimit, pidsLimit
	case sent != nil:
		return fail(StepCall, sent)
	case err != nil:
		return fail(StepReport, fmt.Errorf("the box fell silent: %w", err))
	case said.Failure != nil:
		return fail(said.Failure.Step, s.explain(said.Failure, call.RequiresAny))
	case said.Outcome == nil:
		return fail(StepReport, wire.ErrFrame)
	case said.Outcome.TimedOut:
		r.Status, r.Message = TimedOut, wallTime(call)
	case said.Outcome.OutputError != "":
		return fail(StepOutput, errors.New(said.Outcome.OutputError))
	case said.Outcome.OutputLimit:
		r.Status, r.Message = OutputLimit, "the tool wrote more than its output cap"
	default:
		r.judge(unix.WaitStatus(said.Outcome.Status))
	}
	return r
}

// hostGrace is how much later than the host the box looks at the clock: it
// matters only when the host is stopped, or too busy.
const hostGrace = 200 * time.Millisecond

// message is the call in the box's terms.
func (c *Call) message(watch bool) (wire.Message, error) {
	m := wire.BoxCall{
		Watch: watch, WallTime: c.WallTime + c.Hold.longest() + hostGrace, StdoutMax: c.StdoutMax, StderrMax: c.StderrMax,
		Dir: c.Dir, Argv: c.Argv, Env: c.Env, Requires: c.Requires, RequiresAny: c.RequiresAny,
	}
	return m.Encode()
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
	clock := newClock(&call, begin)
	_, look := clock.rest(time.Now())
	wall := time.NewTimer(look)
	defer wall.Stop()
	// The box can't use CPU time faster than its share, so the earliest
	// moment at which the rest could be gone is when to look again.
	cpu := time.NewTimer(s.earliest(s.spec.CPUTime))
	defer cpu.Stop()
	for {
		select {
		case <-watch.Done():
			return
		case <-caller.Done():
			end.now(Stopped, "stopped")
			return
		case <-wall.C:
			rest, look := clock.rest(time.Now())
			if rest <= 0 {
				end.now(TimedOut, wallTime(call))
				return
			}
			wall.Reset(look)
		case <-call.Hold.changes():
			_, look := clock.rest(time.Now())
			wall.Reset(look)
		case <-cpu.C:
			used, err := s.leaf.CPUUsage()
			if err != nil {
				end.now(SandboxError, err.Error())
				return
			}
			rest := s.spec.CPUTime - (used - before)
			if rest <= 0 {
				end.now(TimedOut, fmt.Sprintf("cpu_time of %v is used up", s.spec.CPUTime))
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

func wallTime(c Call) string {
	if held, _ := c.Hold.at(time.Now()); held > 0 {
		return fmt.Sprintf("wall_time of %v is over, without the %v for which the call was held", c.WallTime, held.Round(time.Millisecond))
	}
	return fmt.Sprintf("wall_time of %v is over", c.WallTime)
}

// earliest is the least wall time in which the box can use rest of CPU time.
func (s *Sandbox) earliest(rest time.Duration) time.Duration {
	return max(time.Duration(float64(rest)/s.spec.cores()), time.Millisecond)
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
			var m wire.Message
			m.Number(uint64(sig))
			if s.conn.send(m) != nil {
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

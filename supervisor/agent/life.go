// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/audit"
)

// killLimit bounds how long a killed group may take to be gone.
const killLimit = 10 * time.Second

// refusal is a start that would fail again: it is for a person to change something.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// Start starts the agent, unless it runs. It returns when the program runs, or
// with the reason why it does not.
func (a *Agent) Start(ctx context.Context) error {
	op, err := a.begin(ctx)
	if err != nil {
		return err
	}
	defer a.end()
	a.mu.Lock()
	running := a.run != nil
	a.held, a.pauses = false, 0
	a.still()
	a.mu.Unlock()
	if running {
		return nil
	}
	return a.launch(op)
}

// still takes a coming start back. a.mu is held.
func (a *Agent) still() {
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
}

// launch starts the program. It has the turn.
func (a *Agent) launch(ctx context.Context) error {
	a.set(Starting)
	a.warn("frozen", nil)
	r, err := a.bring(ctx)
	if err == nil {
		return a.attend(r)
	}
	err = fmt.Errorf("start agent %s: %w", a.Name(), err)
	a.receipt("start", "failed", nil, detail(err.Error()))
	var no refusal
	held := ctx.Err() != nil
	a.mu.Lock()
	a.last = err.Error()
	t := next(&a.o.Config, ending{result: runtime.Result{Status: runtime.SandboxError}}, a.pauses)
	switch {
	case a.held || held:
		a.change(Stopped)
	case errors.As(err, &no):
		a.change(Failed)
	default:
		a.follow(t)
	}
	a.mu.Unlock()
	a.o.Changed(a.Status())
	return err
}

// bring makes the box and has the program run in it.
func (a *Agent) bring(ctx context.Context) (r *run, err error) {
	s := a.o.Supervisor
	home, err := openHome(&a.o.Config)
	if err != nil {
		return nil, refusal{err}
	}
	if err := a.copyBefore(ctx); err != nil {
		return nil, err
	}
	p, err := makePlan(&a.o, s.Host().Layers, s.Config.Lower, home, os.Environ())
	if err != nil {
		return nil, refusal{err}
	}
	if p.spec.Filter, err = s.Filter(p.groups); err != nil {
		return nil, err
	}
	if err := a.publish(); err != nil {
		return nil, err
	}
	log, err := a.openLogs(os.O_RDWR | os.O_CREATE)
	if err != nil {
		return nil, err
	}
	defer closeLogs(log)
	way, err := a.way(false)
	if err != nil {
		return nil, err
	}
	if way != nil {
		defer func() {
			if r == nil {
				err = errors.Join(err, way.Close())
			}
		}()
		p.spec.Binds = append(p.spec.Binds, way.Binds()...)
		env, err := way.Environment(p.call.Env)
		if err != nil {
			return nil, refusal{err}
		}
		p.call.Env = append(p.call.Env, env...)
	}
	box, err := s.Host().Berth(ctx, p.spec)
	if err != nil {
		return nil, err
	}
	at := place{in: box.InNetwork}
	if way != nil {
		if err := way.Open(at.run); err != nil {
			return nil, errors.Join(err, box.Close())
		}
	}
	service, err := at.serve(ctx, box, p.call, log)
	if err != nil {
		return nil, errors.Join(err, box.Close())
	}
	started := a.newRun(service)
	if err = a.loopback(started); err == nil {
		err = a.keep(service)
	}
	if err != nil {
		return nil, errors.Join(err, a.dissolve(started))
	}
	started.way = way
	a.mu.Lock()
	a.notes = p.notes
	a.mu.Unlock()
	a.receipt("start", "", nil, audit.Fact{Name: "command", Value: quoteAll(a.o.Config.Command)})
	return started, nil
}

// way makes its way out, where it has one.
func (a *Agent) way(adopt bool) (Way, error) {
	if a.o.Config.Network != supervisor.AgentNetworkEgress {
		return nil, nil
	}
	return a.o.Way(adopt)
}

func (a *Agent) newRun(service *runtime.Service) *run {
	r := &run{service: service, began: time.Now()}
	r.ended, r.ending = context.WithCancel(a.life)
	return r
}

// attend takes a run for the present one, and looks after it.
func (a *Agent) attend(r *run) error {
	probed := a.probed()
	a.mu.Lock()
	a.run = r
	a.change(Running)
	if !probed {
		r.ready = true
		a.change(Ready)
	}
	held := a.held // Kill came while there was nothing to kill
	a.mu.Unlock()
	a.watching.Go(func() { a.watch(r) })
	if held {
		r.service.Kill(a.life)
		return fmt.Errorf("agent %s was stopped while it started", a.Name())
	}
	if probed {
		a.watching.Go(func() { a.awaitReady(r) })
	}
	if a.o.Config.StateMax > 0 {
		a.watching.Go(func() { a.watchSize(r) })
	}
	a.o.Changed(a.Status())
	return nil
}

// watch waits for the end of a run that nobody asked for.
func (a *Agent) watch(r *run) {
	select {
	case <-r.service.Done():
	case <-a.life.Done():
		return
	}
	if _, err := a.begin(a.life); err != nil {
		return
	}
	defer a.end()
	a.mu.Lock()
	mine := a.run == r
	a.mu.Unlock()
	if mine {
		a.finish(r)
	}
}

// finish clears up after a run whose service is done, and decides what follows.
func (a *Agent) finish(r *run) {
	a.mu.Lock()
	e := ending{result: r.service.Ended(), unready: r.unready, ran: time.Since(r.began)}
	a.mu.Unlock()
	a.warn("clear up", a.dissolve(r))
	a.mu.Lock()
	a.run = nil
	a.last = e.describe()
	t := next(&a.o.Config, e, a.pauses)
	if a.held {
		t = turn{state: Stopped, why: "it was stopped"}
	}
	a.follow(t)
	a.mu.Unlock()
	var exit *int
	if e.result.Status == runtime.Exited {
		exit = &e.result.ExitCode
	}
	a.receipt("end", e.result.Status.String(), exit, detail(e.describe()), audit.Fact{Name: "then", Value: t.why})
	a.o.Changed(a.Status())
}

// follow does what was decided. a.mu is held.
func (a *Agent) follow(t turn) {
	a.still()
	a.change(t.state)
	if t.state != Waiting {
		return
	}
	a.pauses = t.pause
	a.nextAt = time.Now().Add(t.after)
	var mine *time.Timer
	mine = time.AfterFunc(t.after, func() {
		op, err := a.begin(a.life)
		if err != nil {
			return
		}
		defer a.end()
		a.mu.Lock()
		due := a.timer == mine && a.state == Waiting && !a.held
		if due {
			a.timer = nil
			a.restarts++
		}
		a.mu.Unlock()
		if due {
			if err := a.launch(op); err != nil {
				a.o.Report("start it again", err)
			}
		}
	})
	a.timer = mine
}

// dissolve ends what there is of a run.
func (a *Agent) dissolve(r *run) error {
	r.ending()
	var errs []error
	for _, l := range r.relays {
		errs = append(errs, l.Close())
	}
	errs = append(errs, r.service.Close(), a.forgetFrozen())
	if r.way != nil {
		errs = append(errs, r.way.Close())
	}
	if a.o.Forget != nil {
		errs = append(errs, a.o.Forget(StoreName(a.Name())))
	}
	return errors.Join(errs...)
}

// keep has somebody else keep the service too.
func (a *Agent) keep(service *runtime.Service) error {
	if a.o.Keep == nil {
		return nil
	}
	if err := a.o.Keep(StoreName(a.Name()), service.Files()); err != nil {
		return fmt.Errorf("keep its descriptors: %w", err)
	}
	return nil
}

// Stop asks the agent to end, waits for the stop timeout, and kills it. It
// returns when nothing of it is left. It stays stopped until Start. A start
// that is at work, which may be copying for minutes, is given up.
func (a *Agent) Stop(ctx context.Context) error {
	a.mu.Lock()
	if a.state == Starting && a.abort != nil {
		a.held = true
		a.abort()
	}
	a.mu.Unlock()
	op, err := a.begin(ctx)
	if err != nil {
		return err
	}
	defer a.end()
	return a.stop(op, "stop")
}

// Restart is Stop and Start.
func (a *Agent) Restart(ctx context.Context) error {
	op, err := a.begin(ctx)
	if err != nil {
		return err
	}
	defer a.end()
	if err := a.stop(op, "restart"); err != nil {
		return err
	}
	a.mu.Lock()
	a.held, a.pauses = false, 0
	a.mu.Unlock()
	return a.launch(op)
}

// stop has the turn.
func (a *Agent) stop(ctx context.Context, step string) error {
	a.mu.Lock()
	a.held = true
	a.still()
	r, frozen := a.run, a.state == Frozen
	if r == nil {
		a.change(Stopped)
	}
	a.mu.Unlock()
	if r == nil {
		a.o.Changed(a.Status())
		return nil
	}
	a.set(Stopping)
	a.receipt(step, "", nil)
	if !frozen && r.service.Signal(unix.SignalNum(a.o.Config.StopSignal)) == nil {
		patience := time.NewTimer(time.Duration(a.o.Config.StopTimeout))
		defer patience.Stop()
		select {
		case <-r.service.Done():
		case <-patience.C:
		case <-ctx.Done():
		}
	}
	if err := a.killed(r); err != nil {
		return err
	}
	a.finish(r)
	return nil
}

// killed makes sure that nothing of a run lives.
func (a *Agent) killed(r *run) error {
	ctx, cancel := context.WithTimeout(context.Background(), killLimit)
	defer cancel()
	select {
	case <-r.service.Done():
		return nil
	default:
	}
	err := r.service.Kill(ctx)
	if err == nil {
		select {
		case <-r.service.Done():
			return nil
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return fmt.Errorf("kill agent %s: %w", a.Name(), err)
}

// Kill ends the agent at once, whatever else is being done to it, and keeps it
// stopped until Start.
func (a *Agent) Kill(ctx context.Context, why string) error {
	a.mu.Lock()
	a.held = true
	a.still()
	r := a.run
	if a.abort != nil {
		a.abort()
	}
	a.mu.Unlock()
	a.receipt("kill", "", nil, detail(why))
	if r != nil {
		if err := r.service.Kill(ctx); err != nil {
			return fmt.Errorf("kill agent %s: %w", a.Name(), err)
		}
	}
	if _, err := a.begin(ctx); err != nil {
		return err
	}
	defer a.end()
	a.mu.Lock()
	r = a.run // what was started in the very moment counts too
	a.mu.Unlock()
	if r == nil {
		a.set(Stopped)
		return nil
	}
	if err := a.killed(r); err != nil {
		return err
	}
	a.finish(r)
	return nil
}

// errNotRunning is what an agent that does not run answers.
var errNotRunning = errors.New("it is not running")

// Freeze has everything of the agent stand still.
func (a *Agent) Freeze(ctx context.Context) error {
	return a.whileRunning(ctx, "freeze", func(op context.Context, r *run) error {
		limited, cancel := context.WithTimeout(op, killLimit)
		defer cancel()
		if err := r.service.Freeze(limited); err != nil {
			return err
		}
		a.mu.Lock()
		if a.state != Frozen {
			r.before = a.state
			a.change(Frozen)
		}
		a.mu.Unlock()
		// It stands still, remembered or not.
		a.warn("remember that it is frozen", os.WriteFile(a.frozenFile(), nil, 0o600))
		return nil
	})
}

// Thaw lets it go on.
func (a *Agent) Thaw(ctx context.Context) error {
	return a.whileRunning(ctx, "thaw", func(op context.Context, r *run) error {
		limited, cancel := context.WithTimeout(op, killLimit)
		defer cancel()
		if err := r.service.Thaw(limited); err != nil {
			return err
		}
		a.mu.Lock()
		if a.state == Frozen {
			a.change(r.before)
		}
		a.mu.Unlock()
		return a.forgetFrozen()
	})
}

// frozenFile is there while somebody wants the agent to stand still: another
// process that takes it over can't tell that from a copy that was being made.
func (a *Agent) frozenFile() string { return filepath.Join(a.o.Dir, "frozen") }

func (a *Agent) forgetFrozen() error {
	err := os.Remove(a.frozenFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// whileRunning does something to the present run, and records it.
func (a *Agent) whileRunning(ctx context.Context, step string, do func(context.Context, *run) error) error {
	op, err := a.begin(ctx)
	if err != nil {
		return err
	}
	defer a.end()
	a.mu.Lock()
	r := a.run
	a.mu.Unlock()
	if r == nil {
		return fmt.Errorf("%s agent %s: %w", step, a.Name(), errNotRunning)
	}
	if err := do(op, r); err != nil {
		a.receipt(step, "failed", nil, detail(err.Error()))
		return fmt.Errorf("%s agent %s: %w", step, a.Name(), err)
	}
	a.receipt(step, "", nil)
	a.o.Changed(a.Status())
	return nil
}

// Leave gives the agent up because this process ends. What somebody keeps goes
// on; what nobody does is stopped.
func (a *Agent) Leave(ctx context.Context) error {
	a.mu.Lock()
	a.still()
	if a.abort != nil {
		a.abort()
	}
	a.mu.Unlock()
	op, err := a.begin(ctx)
	if err != nil {
		return err
	}
	a.mu.Lock()
	r := a.run
	a.mu.Unlock()
	switch {
	case r == nil:
	case a.o.Keep == nil:
		until, cancel := context.WithCancel(op)
		stop := context.AfterFunc(ctx, cancel)
		err = a.stop(until, "leave")
		stop()
		cancel()
	default:
		r.ending()
		for _, l := range r.relays {
			err = errors.Join(err, l.Close())
		}
		if r.way != nil {
			err = errors.Join(err, r.way.Leave())
		}
		a.receipt("leave", "kept", nil)
	}
	for _, l := range a.published {
		err = errors.Join(err, l.Close())
	}
	a.die()
	a.end()
	a.watching.Wait()
	if r != nil && a.o.Keep != nil {
		err = errors.Join(err, r.service.Release())
	}
	return err
}

// adopt goes on with what the process before had started. Where that can't be
// had, closing the files ends it.
func (a *Agent) adopt() {
	service, err := a.o.Supervisor.Host().Adopt(a.o.Adopt...)
	if err == nil {
		r := a.newRun(service)
		if err = a.publish(); err == nil {
			err = a.loopback(r)
		}
		if way, failed := a.way(true); failed != nil {
			err = errors.Join(err, failed)
		} else if way != nil {
			r.way = way
			err = errors.Join(err, way.Open(service.InNetwork))
		}
		host := a.o.Supervisor
		if p, err := makePlan(&a.o, host.Host().Layers, host.Config.Lower, rootfs.Identity{}, nil); err == nil {
			a.notes = p.notes // of the configuration as it is now
		}
		// It runs; what it lacks is for a person to mend.
		a.warn("take it over", err)
		a.receipt("adopt", "", nil)
		_ = a.attend(r)
		a.adoptFrozen(r)
		return
	}
	errs := []error{err}
	for _, f := range a.o.Adopt {
		errs = append(errs, f.Close())
	}
	if a.o.Forget != nil {
		errs = append(errs, a.o.Forget(StoreName(a.Name())))
	}
	errs = append(errs, a.o.Supervisor.Host().Sweep(a.life))
	err = errors.Join(errs...)
	a.last = "could not be taken over: " + err.Error()
	a.receipt("adopt", "failed", nil, detail(err.Error()))
	a.o.Report("take over agent "+a.Name(), err)
}

// adoptFrozen keeps frozen what somebody wanted to be, and thaws what was only
// frozen for a copy.
func (a *Agent) adoptFrozen(r *run) {
	if _, err := os.Lstat(a.frozenFile()); err == nil {
		a.mu.Lock()
		if a.run == r {
			r.before = a.state
			a.change(Frozen)
		}
		a.mu.Unlock()
		return
	}
	ctx, cancel := context.WithTimeout(a.life, killLimit)
	defer cancel()
	a.warn("thaw it", r.service.Thaw(ctx))
}

// Restore puts a snapshot in the place of the state directory. The agent is
// stopped before and not started after.
func (a *Agent) Restore(ctx context.Context, name string) error {
	op, err := a.begin(ctx)
	if err != nil {
		return err
	}
	defer a.end()
	if err := a.stop(op, "stop"); err != nil {
		return err
	}
	present, err := a.shelf.Restore(op, name, a.o.Config.StateDir, time.Now())
	if err == nil {
		err = a.shelf.Prune(max(a.o.Config.Snapshots, 1), name, present.Name)
	}
	a.list()
	status := ""
	facts := []audit.Fact{{Name: "snapshot", Value: name[:min(len(name), 64)]}}
	if err != nil {
		status = "failed"
		facts = append(facts, detail(err.Error()))
	} else {
		facts = append(facts, audit.Fact{Name: "before", Value: present.Name})
	}
	a.receipt("restore", status, nil, facts...)
	a.o.Changed(a.Status())
	if err != nil {
		return fmt.Errorf("agent %s: %w", a.Name(), err)
	}
	return nil
}

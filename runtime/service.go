// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/cgroup"
	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/runtime/wire"
)

// ServiceLog is where stdout and stderr of a service go, in the order in which
// they were written: two regular files, opened for writing and not for
// appending, that hold up to Max bytes each. When one is full the other is
// emptied and writing goes on there; package ring reads them. A full disk
// drops bytes and doesn't hold the service up.
type ServiceLog struct {
	Files [2]*os.File
	Max   int64
}

// Service is a box whose tool goes on until it ends or is ended. It outlives
// this process when somebody keeps copies of its Files: systemd's descriptor
// store does. Its methods may be called from several goroutines. After Close
// or Release they have nothing to do, or answer an error.
//
// On cgroup v1 the kernel ends one process when memory runs out, and the rest
// is ended from here: while no process has adopted the service that waits.
type Service struct {
	host    *Host
	slot    *slot
	leaf    *cgroup.Leaf
	link    *link
	netns   *os.File // nil: lost
	record  record
	told    wire.State      // what an adopted service had said before
	reaped  <-chan struct{} // closed once clawsup-init is no zombie of this process; nil: it is none of its children
	end     ending
	done    chan struct{}
	result  Result // written before done is closed
	watch   context.Context
	unwatch context.CancelFunc
	running sync.WaitGroup // goroutines of this Service

	mu   sync.RWMutex // held for reading by whoever uses the files
	over bool         // mu; closed or released

	released atomic.Bool
}

// record is what the next process must know of a service. It lies in the
// slot's directory and goes with it.
type record struct {
	Protocol    int            `json:"protocol"`
	PID         int            `json:"pid"` // of clawsup-init
	Began       time.Time      `json:"began"`
	Before      time.Duration  `json:"cpu_before_ns"` // CPU time of the box before its tool
	Preparation time.Duration  `json:"preparation_ns"`
	Layers      []layer.Report `json:"layers"`
}

const recordFile = "service.json"

// errGone is what calls for a Service that was given up get.
var errGone = errors.New("this service was closed or released")

// Serve gives the box its program and returns when that runs, that is when
// execve(2) has succeeded. The service then owns the box, and closing the
// Berth does nothing. The error is an *Error whose step is what failed; then
// the Berth is to be closed. The log's files are the caller's to close.
func (s *Berth) Serve(ctx context.Context, call Call, log ServiceLog) (*Service, error) {
	if s.used {
		return nil, failed(StepCall, errors.New("this box has had its call"))
	}
	s.used = true
	if err := call.checkService(); err != nil {
		return nil, failed(StepSpec, err)
	}
	fds, err := log.descriptors()
	if err != nil {
		return nil, failed(StepOutput, err)
	}
	s.plan.Enforce = s.plan.Enforce.Without(layer.Time)
	s.report(layer.Report{Layer: layer.Time, State: layer.Unused, Detail: "a service has no end of its own"})
	s.note(layer.Output, "a log that is overwritten from its beginning")
	v := &Service{host: s.host, slot: s.slot, leaf: s.leaf, done: make(chan struct{})}
	if err := v.begin(ctx, s, call, log.Max, fds); err != nil {
		return nil, err
	}
	// What is left of the Berth is of this process alone, and isn't needed.
	_ = s.conn.Close()
	_ = s.diagnosis.close()
	reaped := make(chan struct{})
	go func() {
		_, _ = s.process.Wait()
		close(reaped)
	}()
	v.reaped = reaped
	s.closed = true
	v.attend()
	return v, nil
}

// begin hands the call over and waits for its start.
func (v *Service) begin(ctx context.Context, s *Berth, call Call, logMax int64, fds []int) (err error) {
	pid, err := s.process.Pid()
	if err != nil {
		return failed(StepCall, err)
	}
	// The child isn't waited for yet, so the number is still its own.
	if v.netns, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", pid)); err != nil {
		return failed(StepCall, err)
	}
	link, theirs, err := newLink()
	if err != nil {
		return errors.Join(failed(StepCall, err), v.netns.Close())
	}
	v.link = link
	defer func() {
		if err != nil {
			err = errors.Join(err, v.netns.Close(), link.close())
		}
	}()
	defer theirs.Close()
	if fds, err = appendFD(fds, theirs); err == nil {
		fds, err = call.appendSocket(fds)
	}
	if err != nil {
		return failed(StepCall, err)
	}
	before, err := s.leaf.CPUUsage()
	if err != nil {
		return failed(StepCgroup, err)
	}
	v.record = record{
		Protocol: wire.Control, PID: pid, Began: time.Now(), Before: before,
		Preparation: s.took, Layers: s.plan.Reports,
	}
	if err := v.write(); err != nil {
		return failed(StepSlot, err)
	}
	message := s.message(call)
	message.Service = &wire.Service{LogMax: logMax}
	if err := s.conn.Send(message, fds...); err != nil {
		return failed(StepCall, err)
	}
	_ = theirs.Close() // or the end of PID 1 would not be the end of the socket
	stop := context.AfterFunc(ctx, link.interrupt)
	state, err := link.receive()
	if !stop() {
		err = ctx.Err()
	}
	switch {
	case err != nil:
		if said := s.diagnosis.said(); said != "" {
			err = fmt.Errorf("%w; %s", err, said)
		}
		return failed(StepCall, fmt.Errorf("clawsup-init fell silent: %w", err))
	case state.Failure != nil:
		return failed(state.Failure.Step, errors.New(state.Failure.Message))
	}
	return nil
}

// write puts the record where the next process finds it.
func (v *Service) write() error {
	b, err := json.Marshal(v.record)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(v.slot.dir, recordFile), b, 0o600)
}

// descriptors checks the log's files and gives their numbers.
func (l ServiceLog) descriptors() (fds []int, err error) {
	if l.Max <= 0 {
		return nil, errors.New("the log's bound is not set")
	}
	for _, f := range l.Files {
		if f == nil {
			return nil, errors.New("the log has two files")
		}
		if fds, err = appendFD(fds, f); err != nil {
			return nil, err
		}
		fd := fds[len(fds)-1]
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return nil, err
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil {
			return nil, err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFREG || flags&unix.O_ACCMODE == unix.O_RDONLY || flags&(unix.O_APPEND|unix.O_PATH) != 0 {
			return nil, fmt.Errorf("%s is not a regular file that is opened for writing and not for appending", f.Name())
		}
	}
	return fds, nil
}

// attend starts to look after a service that runs, or may have ended.
func (v *Service) attend() {
	v.watch, v.unwatch = context.WithCancel(context.Background())
	v.end.kill = v.leaf.Kill
	guarding := make(chan struct{})
	v.running.Go(func() {
		defer close(guarding)
		v.guard()
	})
	v.running.Go(func() {
		outcome, failure, err := v.follow()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return // released
		}
		v.unwatch()
		<-guarding
		v.result = v.judge(outcome, failure, err)
		close(v.done)
	})
}

// guard ends a service that is out of memory: v1 kills one process only.
func (v *Service) guard() {
	events, err := v.leaf.Watch(v.watch, cgroup.OOM)
	if err != nil {
		v.end.now(SandboxError, err.Error())
		return
	}
	for e := range events {
		if e == cgroup.OOM {
			v.end.now(OutOfMemory, memoryLimit)
			v.unwatch()
		}
	}
}

// follow reads states up to the last.
func (v *Service) follow() (*wire.Outcome, *wire.Failure, error) {
	for state := v.told; ; {
		if state.Outcome != nil || state.Failure != nil {
			return state.Outcome, state.Failure, nil
		}
		var err error
		if state, err = v.link.receive(); err != nil {
			return nil, nil, err
		}
	}
}

// judge says how the service ended.
func (v *Service) judge(outcome *wire.Outcome, failure *wire.Failure, err error) Result {
	r := Result{ExitCode: -1, Layers: v.record.Layers, Usage: Usage{Wall: time.Since(v.record.Began), Preparation: v.record.Preparation}}
	stats := account(v.leaf, &r, outcome, v.record.Before)
	cause, detail := v.end.cause()
	switch {
	case cause != nil:
		r.Status, r.Message = *cause, detail
		if *cause == SandboxError {
			r.Step = StepCgroup
		}
	case stats.OOMKills > 0:
		r.Status, r.Message = OutOfMemory, memoryLimit
	case failure != nil:
		r.Status, r.Step, r.Message = SandboxError, failure.Step, failure.Message
	case err != nil:
		r.Status, r.Step, r.Message = SandboxError, StepReport, "clawsup-init fell silent: "+err.Error()
	default:
		r.judge(unix.WaitStatus(outcome.Status))
	}
	return r
}

// Done is closed when the tool and everything that it started is gone, however
// that came.
func (v *Service) Done() <-chan struct{} { return v.done }

// Ended waits for Done and tells how it ended. Usage.Stdout counts both
// streams. After a Release before the end it waits for ever.
func (v *Service) Ended() Result {
	<-v.done
	return v.result
}

// PID is clawsup-init's, PID 1 of the box, as the host numbers it. Nothing may
// be decided on it once the box could have ended.
func (v *Service) PID() int { return v.record.PID }

// Files are what a process needs to Adopt the service, and what keeps it alive
// while somebody has a copy of them: the slot's lock, the control socket and
// the network namespace. They can be told apart without names. They stay the
// service's to close.
//
// Whoever keeps the copies must keep all of them whatever happens to the other
// end (sd_pid_notify_with_fds(3): FDPOLL=0), or how the service ended is lost.
// Copies that are left when Close has returned do no harm.
func (v *Service) Files() []*os.File {
	files := []*os.File{v.slot.lock}
	if v.link.file != nil {
		files = append(files, v.link.file)
	}
	if v.netns != nil {
		files = append(files, v.netns)
	}
	return files
}

// use keeps Close and Release out while f uses the files.
func (v *Service) use(f func() error) error {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.over {
		return errGone
	}
	return f()
}

// Signal sends a signal to the tool's process group. A tool that has ended
// gets none, and that is no error; a frozen one gets it when it is thawed, or
// the error is os.ErrDeadlineExceeded after a second if too many wait for that.
func (v *Service) Signal(sig unix.Signal) error {
	return v.use(func() error {
		err := v.link.send(wire.Order{Kind: wire.Send, Signal: int(sig)})
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
			return nil
		}
		return err
	})
}

// Freeze has every process of the box stand still, PID 1 included. It returns
// when they do.
func (v *Service) Freeze(ctx context.Context) error {
	if v.released.Load() {
		return failed(StepCgroup, errGone)
	}
	return freeze(ctx, v.leaf)
}

// Thaw lets them go on.
func (v *Service) Thaw(ctx context.Context) error {
	if err := v.leaf.Thaw(ctx); err != nil {
		return failed(StepCgroup, err)
	}
	return nil
}

// Kill ends every process of the box, whatever they do against it. It returns
// when they are gone, or with an error that names who is left when ctx ends.
// The status is then stopped, unless it had ended before.
func (v *Service) Kill(ctx context.Context) error {
	if v.released.Load() {
		return failed(StepCleanup, errGone)
	}
	v.end.mark(Stopped, "killed")
	if err := v.leaf.Kill(ctx); err != nil {
		return failed(StepCleanup, err)
	}
	return nil
}

// Stats is what the box has used.
func (v *Service) Stats() (cgroup.Stats, error) {
	stats, err := v.leaf.Stats()
	if err != nil {
		return stats, failed(StepCgroup, err)
	}
	return stats, nil
}

// InNetwork runs f on a thread that is in the box's network namespace, and
// that ends afterwards. Sockets that f makes belong there for as long as they
// live, in whichever process. f makes them itself, with package unix or by
// address: what it leaves to other goroutines happens outside.
func (v *Service) InNetwork(f func() error) error {
	return v.use(func() error {
		if v.netns == nil {
			return errors.New("the descriptor of the box's network was lost")
		}
		return inNetwork(v.netns, f)
	})
}

// Release gives the service up without ending it: for a process that ends
// while somebody else keeps copies of the Files. If nobody does, the service
// ends.
func (v *Service) Release() error {
	v.link.interrupt()
	v.unwatch()
	v.running.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.over {
		return nil
	}
	v.over = true
	v.released.Store(true)
	v.leaf.Release()
	return errors.Join(v.link.close(), v.closeNetwork(), v.slot.release())
}

func (v *Service) closeNetwork() error {
	if v.netns == nil {
		return nil
	}
	return v.netns.Close()
}

// Close ends what is left of the service and removes it, or gives up after
// ten seconds, as Sandbox.Close does. How it ended is known afterwards.
func (v *Service) Close() error {
	v.mu.RLock()
	over := v.over
	v.mu.RUnlock()
	if over {
		return nil
	}
	v.end.mark(Stopped, "closed")
	ctx, cancel := context.WithTimeout(context.Background(), endLimit)
	defer cancel()
	var errs []error
	left := v.leaf.Kill(ctx) // why the group is still there
	v.link.shutdown()        // copies of our end elsewhere don't keep PID 1 waiting, nor our reader
	v.running.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.over {
		return nil
	}
	v.over = true
	if v.reaped != nil {
		select {
		case <-v.reaped:
		case <-ctx.Done():
			errs = append(errs, fmt.Errorf("clawsup-init does not end: %w", ctx.Err()))
		}
	}
	if left == nil {
		left = v.leaf.Delete()
	}
	errs = append(errs, left, v.link.close(), v.closeNetwork())
	if left == nil {
		errs = append(errs, os.RemoveAll(v.slot.dir))
	}
	errs = append(errs, v.slot.unlock())
	if err := errors.Join(errs...); err != nil {
		return failed(StepCleanup, err)
	}
	return nil
}

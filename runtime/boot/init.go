// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/wire"
)

// Init is PID 1 of a sandbox, from preparation to the end of its one call.
// It returns the exit status of clawsup-init.
func Init() int {
	unix.CloseOnExec(wire.ControlFD)
	// Nobody in the box may look into this process, whatever its uid.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fail(wire.StepInit, err)
	}
	catchAll() // PID 1 ends when the host says so
	stage, err := startStage()
	if err != nil {
		return fail(wire.StepInit, err)
	}
	if err := keepCapKill(); err != nil {
		return fail(wire.StepIdentity, err)
	}
	host := wire.NewConn(wire.ControlFD)
	if err := host.Send(wire.Hello{Protocol: wire.Protocol}); err != nil {
		return fail(wire.StepInit, err)
	}
	var call wire.Call
	body, fds, err := host.ReceiveCall(&call)
	if errors.Is(err, io.EOF) {
		return 0 // the host dropped a box that it did not need
	}
	if err != nil {
		return fail(wire.StepCall, err)
	}
	b := &box{host: host, stage: stage, call: &call}
	if call.Socket {
		b.socket = fds[len(fds)-1:]
	}
	if call.Service != nil {
		return b.serve(body, fds)
	}
	return b.run(body, fds)
}

// catchAll takes every signal and drops it. Caught signals are reset to their
// defaults in the stage, where ignored ones would stay ignored and reach the
// tool that way, also those that whoever started clawsup ignored.
func catchAll() { signal.Notify(make(chan os.Signal, 1)) }

// stage is the waiting process that becomes the tool.
type stage struct {
	pid   int
	conn  *wire.Conn
	pipes [3]int // this side's ends of its standard streams
}

func startStage() (stage, error) {
	ours, theirs, err := wire.Pair()
	if err != nil {
		return stage{}, err
	}
	defer unix.Close(theirs)
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return stage{}, fmt.Errorf("open /dev/null: %w", err)
	}
	defer unix.Close(null)
	pid, err := syscall.ForkExec("/proc/self/exe", []string{"clawsup-init", "stage"}, &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{"GOMAXPROCS=1", "GOGC=off"},
		Files: []uintptr{uintptr(null), uintptr(null), 2, uintptr(theirs)},
		// A session of its own, so that a signal to the tool's group meets the tool alone.
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return stage{}, fmt.Errorf("start the stage: %w", err)
	}
	s := stage{pid: pid, conn: wire.NewConn(ours)}
	body, fds, err := s.conn.ReceiveRaw(3)
	if err != nil {
		return stage{}, fmt.Errorf("the stage did not report: %w", err)
	}
	var e wire.Event
	if err := json.Unmarshal(body, &e); err != nil || e.Kind != wire.Pipes {
		return stage{}, fmt.Errorf("the stage said %q: %w", body, wire.ErrFrame)
	}
	s.pipes = [3]int(fds)
	return s, nil
}

// box is a call in progress.
type box struct {
	host  *wire.Conn
	stage stage
	call  *wire.Call

	socket []int // that the call brings for the tool, or none

	timedOut atomic.Bool

	mu    sync.Mutex
	ended bool // the tool was reaped; its pid may belong to somebody else. mu.

	sendMu sync.Mutex // one frame to the host at a time
}

// launch hands the call on to the stage and says what kept it from running.
func (b *box) launch(body []byte) *wire.Failure {
	if err := b.stage.conn.SendRaw(body, b.socket...); err != nil {
		return &wire.Failure{Step: wire.StepCall, Message: err.Error()}
	}
	for _, fd := range b.socket {
		_ = unix.Close(fd) // the tool's alone
	}
	return b.started()
}

// run carries the call out and reports. fds are the caller's stdin, stdout
// and stderr, and what else the call brings.
func (b *box) run(body []byte, fds []int) int {
	streams := newStreams(fds, b.stage.pipes, b.call)
	if failure := b.launch(body); failure != nil {
		b.send(wire.Event{Kind: wire.Failed, Failure: failure})
		killAll()
		return 0
	}
	b.send(wire.Event{Kind: wire.Started})
	go b.listen()
	clock := time.AfterFunc(b.call.WallTime+hostGrace, func() {
		b.timedOut.Store(true)
		killAll()
	})
	streams.start(killAll)
	outcome := b.reap()
	streams.drain(&outcome)
	clock.Stop()
	outcome.TimedOut = b.timedOut.Load()
	for _, dir := range b.call.Measure {
		outcome.Memory += used(dir)
	}
	b.send(wire.Event{Kind: wire.Done, Outcome: &outcome})
	return 0
}

// hostGrace is how much later than the host this side looks at the clock: it
// matters only when the host is stopped, or too busy.
const hostGrace = 200 * time.Millisecond

// started follows the stage up to its exec. The stage announces the exec and
// then falls silent, because its socket closes on exec.
func (b *box) started() *wire.Failure {
	announced := false
	for {
		var e wire.Event
		err := b.stage.conn.Receive(&e)
		switch {
		case err == nil && e.Kind == wire.Started:
			announced = true
		case err == nil && e.Kind == wire.Failed && e.Failure != nil:
			return e.Failure
		case err != nil && announced:
			return nil
		default:
			return &wire.Failure{Step: wire.StepExec, Message: "the stage ended without a word; out of memory?"}
		}
	}
}

// listen forwards signals until the host hangs up, and then ends the box.
func (b *box) listen() {
	for {
		var s wire.Signal
		if err := b.host.Receive(&s); err != nil {
			killAll()
			unix.Exit(0)
		}
		b.signal(unix.Signal(s.Number))
	}
}

// signal passes a signal on to the tool's process group, while it is the
// tool's.
func (b *box) signal(sig unix.Signal) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		_ = unix.Kill(-b.stage.pid, sig)
	}
}

// reap waits for every process of the box. When the tool itself ends, the
// rest is killed: the call is over and nothing outlives it.
func (b *box) reap() wire.Outcome {
	var o wire.Outcome
	for {
		var status unix.WaitStatus
		var usage unix.Rusage
		// WNOWAIT first: while the tool is a zombie its pid can't be reused,
		// so a signal forwarded meanwhile can't meet a stranger.
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil { // ECHILD: nobody is left
			return o
		}
		b.mu.Lock()
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, &usage)
		// A process that had itself traced by its parent, and whose parent is
		// gone or is us, stops with us as its tracer, and that is reported
		// unasked. It is no end, and such a process must not live.
		stopped := err == nil && status.Stopped()
		if err == nil && pid == b.stage.pid && !stopped {
			b.ended = true
			o.Status = uint32(status)
		}
		ended := b.ended
		b.mu.Unlock()
		if stopped {
			_ = unix.Kill(pid, unix.SIGKILL)
			continue
		}
		if err != nil || pid <= 0 {
			continue
		}
		o.User += time.Duration(usage.Utime.Nano())
		o.System += time.Duration(usage.Stime.Nano())
		o.Written += usage.Oublock * 512 // getrusage(2): in units of 512 bytes
		if ended {
			killAll()
		}
	}
}

func (b *box) send(e wire.Event) {
	b.sendMu.Lock()
	defer b.sendMu.Unlock()
	// An error means that the host is gone; listen ends the box then.
	_ = b.host.Send(e)
}

// killAll ends every process of the pid namespace but this one. The kernel
// delivers to all under one lock, and a fork in flight sees the signal and
// fails, so nothing slips through (kill(2), pid_namespaces(7)).
func killAll() { _ = unix.Kill(-1, unix.SIGKILL) }

// used is what a tmpfs holds, in bytes.
func used(dir string) int64 {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0
	}
	return int64(st.Blocks-st.Bfree) * st.Bsize
}

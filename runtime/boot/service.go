// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"errors"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/ring"
	"github.com/clawsup/clawsup/runtime/wire"
)

// service is a box whose tool runs until it ends or is ended, whoever looks on.
type service struct {
	*box
	control int

	mu    sync.Mutex
	state *wire.State // mu; nil: the tool is being started
}

// serve carries a service out. It does not end when the tool does: how that
// ended is kept for whoever asks, until the host's last end of the control
// socket is closed. fds are the log's files and the control socket, and what
// else the call brings.
func (b *box) serve(body []byte, fds []int) int {
	_ = b.host.Close()
	s := &service{box: b, control: fds[2]}
	log, err := ring.NewWriter([2]*os.File{os.NewFile(uintptr(fds[0]), "log"), os.NewFile(uintptr(fds[1]), "log")}, b.call.Service.LogMax)
	if err != nil {
		_ = s.tell(&wire.State{Failure: &wire.Failure{Step: wire.StepOutput, Message: err.Error()}})
		killAll()
		return 0
	}
	_ = unix.Close(b.stage.pipes[0]) // the tool's stdin is none of ours
	_ = unix.Close(b.stage.pipes[2]) // and its stderr is its stdout
	if failure := b.launch(body); failure != nil {
		failure.Message = failure.Message[:min(len(failure.Message), maxReason)]
		_ = s.tell(&wire.State{Failure: failure})
		killAll()
		return 0
	}
	_ = s.tell(&wire.State{})
	go s.run(log)
	s.obey()
	killAll()
	return 0
}

// maxReason bounds why a service didn't start, so that it fits a packet also
// when every byte of it is escaped.
const maxReason = wire.MaxPacket / 8

// run fills the log and waits for the end of everything.
func (s *service) run(log *ring.Writer) {
	drained := make(chan int64)
	go func() { drained <- drain(s.stage.pipes[1], log) }()
	outcome := s.reap()
	outcome.Stdout = <-drained
	for _, dir := range s.call.Measure {
		outcome.Memory += used(dir)
	}
	for errors.Is(s.tell(&wire.State{Outcome: &outcome}), unix.EAGAIN) {
		// Nobody asks who waits to be told.
		if poll(unix.PollFd{Fd: int32(s.control), Events: unix.POLLOUT}) != nil {
			return
		}
	}
}

// drain moves what the tool says into the log, until it has nothing more to
// say. The log takes everything: the tool waits for a disk at most.
func drain(src int, log *ring.Writer) (passed int64) {
	buf := make([]byte, chunk)
	for {
		n, err := unix.Read(src, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			_ = unix.Close(src)
			return passed
		}
		_, _ = log.Write(buf[:n])
		passed += int64(n)
	}
}

// tell remembers a state and says it, if there is room.
func (s *service) tell(state *wire.State) error {
	state.Protocol = wire.Control
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
	return wire.SendPacket(s.control, state)
}

// obey carries out orders until the host's last end is closed. What isn't
// known here is from a newer host, and is passed over.
func (s *service) obey() {
	for {
		var o wire.Order
		err := wire.ReceivePacket(s.control, &o, 0)
		switch {
		case errors.Is(err, wire.ErrFrame):
		case errors.Is(err, io.EOF), err != nil:
			return
		case o.Kind == wire.Tell:
			s.mu.Lock()
			_ = wire.SendPacket(s.control, s.state)
			s.mu.Unlock()
		case o.Kind == wire.Send:
			s.signal(unix.Signal(o.Signal))
		}
	}
}

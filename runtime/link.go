// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/wire"
)

// link is the host's end of a service's control socket. Copies of it may be
// held elsewhere, so a reader is woken by a deadline, which is this process's
// alone, and not by a shutdown, which would end the service.
type link struct {
	file *os.File // nil: it was lost, and the box has ended
}

// newLink makes both ends.
func newLink() (ours *link, theirs *os.File, err error) {
	a, b, err := wire.ControlPair()
	if err != nil {
		return nil, nil, err
	}
	theirs = os.NewFile(uintptr(b), "control")
	ours, err = openLink(a)
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}

// openLink takes fd over.
func openLink(fd int) (*link, error) {
	if err := unix.SetNonblock(fd, true); err != nil { // or Go's poller would not take it
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), unix.Close(fd))
	}
	return &link{os.NewFile(uintptr(fd), "control")}, nil
}

// receive waits for a state. What it can't read is passed over. It returns
// io.EOF when PID 1 has ended and os.ErrDeadlineExceeded after interrupt.
func (l *link) receive() (wire.State, error) {
	if l.file == nil {
		return wire.State{}, io.EOF
	}
	raw, err := l.file.SyscallConn()
	if err != nil {
		return wire.State{}, err
	}
	for {
		var state wire.State
		var got error
		err := raw.Read(func(fd uintptr) bool {
			got = wire.ReceivePacket(int(fd), &state, unix.MSG_DONTWAIT)
			return !errors.Is(got, unix.EAGAIN)
		})
		switch {
		case err != nil:
			return wire.State{}, err
		case errors.Is(got, wire.ErrFrame):
			continue
		case got != nil:
			return wire.State{}, got
		}
		return state, nil
	}
}

// ask takes what nobody has read, which may have kept later states from being
// sent, and asks for the present one, which receive then gets: when a frozen
// box is thawed, and from one that is gone never. It returns the last state
// that it took.
func (l *link) ask() (last wire.State, err error) {
	for {
		var state wire.State
		err := control(l.file, func(fd int) error { return wire.ReceivePacket(fd, &state, unix.MSG_DONTWAIT) })
		switch {
		case errors.Is(err, unix.EAGAIN):
			err = control(l.file, func(fd int) error { return wire.SendPacket(fd, wire.Order{Kind: wire.Tell}) })
			// With EAGAIN others' questions wait to be answered, which is as good.
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
				err = nil
			}
			return last, err
		case errors.Is(err, io.EOF):
			return last, nil // which receive finds out
		case errors.Is(err, wire.ErrFrame):
		case err != nil:
			return last, err
		case state.Outcome != nil || state.Failure != nil:
			return state, nil
		default:
			last = state
		}
	}
}

// roomWait bounds how long an order waits for those before it to be taken. A
// box that doesn't take any is frozen, or has no share of the processor.
const roomWait = time.Second

// send gives an order, and waits for room a moment: os.ErrDeadlineExceeded.
func (l *link) send(o wire.Order) error {
	if l.file == nil {
		return unix.EPIPE
	}
	if err := l.file.SetWriteDeadline(time.Now().Add(roomWait)); err != nil {
		return err
	}
	raw, err := l.file.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		sent = wire.SendPacket(int(fd), o)
		return !errors.Is(sent, unix.EAGAIN)
	})
	if err != nil {
		return err
	}
	return sent
}

// interrupt ends receive in this process, now and later.
func (l *link) interrupt() {
	if l.file != nil {
		_ = l.file.SetReadDeadline(time.Unix(1, 0))
	}
}

// shutdown ends the connection for whoever holds an end.
func (l *link) shutdown() {
	if l.file != nil {
		_ = control(l.file, func(fd int) error { return unix.Shutdown(fd, unix.SHUT_RDWR) })
	}
}

func (l *link) close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/wire"
)

// conn is the host's end of a box's socket: frames of four bytes of length, big
// endian, and a message of package wire. Waiting for one takes no thread.
type conn struct{ file *os.File }

func newConn() (*conn, *os.File, error) {
	a, b, err := wire.Pair()
	if err != nil {
		return nil, nil, err
	}
	theirs := os.NewFile(uintptr(b), "box")
	if err := unix.SetNonblock(a, true); err != nil {
		return nil, nil, errors.Join(err, unix.Close(a), theirs.Close())
	}
	return &conn{os.NewFile(uintptr(a), "box")}, theirs, nil
}

// send writes a frame, with descriptors riding on its first byte.
func (c *conn) send(m wire.Message, fds ...int) error {
	frame := make([]byte, 4, 4+len(m))
	binary.BigEndian.PutUint32(frame, uint32(len(m)))
	frame = append(frame, m...)
	raw, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	for len(frame) > 0 {
		var n int
		var did error
		err := raw.Write(func(fd uintptr) bool {
			n, did = unix.SendmsgN(int(fd), frame, rights, nil, unix.MSG_NOSIGNAL)
			return !errors.Is(did, unix.EAGAIN) && !errors.Is(did, unix.EINTR)
		})
		if err := errors.Join(err, did); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		frame, rights = frame[n:], nil
	}
	return nil
}

// maxEvent bounds what a box says at once.
const maxEvent = 1 << 10

// receive waits for what the box says next; io.EOF: it has ended.
func (c *conn) receive(ctx context.Context) (wire.BoxEvent, error) {
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = c.file.SetReadDeadline(time.Unix(1, 0))
		close(woken)
	})
	defer func() {
		if !stop() { // or the next one would find the time over
			<-woken
			_ = c.file.SetReadDeadline(time.Time{})
		}
	}()
	var buf [4 + maxEvent]byte
	n, err := c.file.Read(buf[:]) // nearly always all of it
	for err == nil && (n < 4 || n < 4+int(binary.BigEndian.Uint32(buf[:]))) {
		if n >= 4 && binary.BigEndian.Uint32(buf[:]) > maxEvent {
			return wire.BoxEvent{}, wire.ErrFrame
		}
		var more int
		more, err = c.file.Read(buf[n:])
		n += more
	}
	if ctx.Err() != nil && err != nil {
		err = ctx.Err()
	}
	if errors.Is(err, unix.ECONNRESET) {
		err = io.EOF
	}
	if err != nil {
		return wire.BoxEvent{}, err
	}
	return wire.DecodeBoxEvent(buf[4:n])
}

// Close ends the connection, and with it the box.
func (c *conn) Close() error { return c.file.Close() }

// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// MaxPacket bounds a State or an Order on the control socket, in bytes.
const MaxPacket = 16 << 10

// ControlPair makes a connected control socket of a service, close-on-exec.
func ControlPair() (a, b int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("socketpair: %w", err)
	}
	return fds[0], fds[1], nil
}

// SendPacket sends v as one packet, or fails with EAGAIN where the other side
// reads none at the moment.
func SendPacket(fd int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > MaxPacket {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrFrame, len(body), MaxPacket)
	}
	for {
		_, err := unix.SendmsgN(fd, body, nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
		return nil
	}
}

// ReceivePacket takes one packet into v, which is the zero value before. It
// returns io.EOF at the end, and ErrFrame for a packet that breaks the rules,
// after which the next can be taken. flags are those of recvmsg(2).
func ReceivePacket(fd int, v any, flags int) error {
	buf := make([]byte, MaxPacket+1)
	for {
		// Without room for descriptors none arrives: the kernel drops them.
		n, _, got, _, err := unix.Recvmsg(fd, buf, nil, flags|unix.MSG_CMSG_CLOEXEC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECONNRESET): // told once, when the other side leaves with something unread; what it sent comes after
			continue
		case err != nil:
			return fmt.Errorf("receive: %w", err)
		case n == 0:
			return io.EOF
		case n > MaxPacket || got&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
			return fmt.Errorf("%w: a packet of more than %d bytes, or with descriptors", ErrFrame, MaxPacket)
		}
		if err := json.Unmarshal(buf[:n], v); err != nil {
			return fmt.Errorf("%w: %w", ErrFrame, err)
		}
		return nil
	}
}

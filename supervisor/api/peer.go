// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Peer is who is at the other end, as the kernel says. UID and GID are facts.
// PID is for people to read; nothing may be decided on it, since a number is
// given to another process once its own is gone.
type Peer struct {
	UID, GID uint32
	PID      int32
	Cgroup   string // text of /proc/PID/cgroup, read while the process was sure to live; empty: it could not be told
}

// maxCgroup bounds what is read of /proc/PID/cgroup: sixteen hierarchies, each
// with a path as long as paths get.
const maxCgroup = 16 * unix.PathMax

// peerOf gives who made a connection (SO_PEERCRED), with a descriptor of the
// process, or -1 if it is gone. Where the kernel has SO_PEERPIDFD (Linux 6.5)
// that is the very process which connected; before, the one that has its
// number now.
func peerOf(fd int) (Peer, int, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Peer{}, -1, fmt.Errorf("who connected: %w", err)
	}
	pidfd, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	if errors.Is(err, unix.ENOPROTOOPT) {
		pidfd, err = unix.PidfdOpen(int(cred.Pid), 0)
	}
	if err != nil {
		pidfd = -1 // it is gone, or no descriptor is left: then the cgroup is not told
	}
	p := Peer{UID: cred.Uid, GID: cred.Gid, PID: cred.Pid}
	p.Cgroup = cgroupOf(p.PID, pidfd)
	return p, pidfd, nil
}

// cgroupOf gives the text of /proc/PID/cgroup if the process of pidfd, which
// has or had this number, has not ended after it was read; then the number
// was that process's all the time.
func cgroupOf(pid int32, pidfd int) string {
	fd := openCgroup(pid, pidfd)
	if fd < 0 {
		return ""
	}
	defer unix.Close(fd)
	return readCgroup(fd, pidfd, "")
}

// openCgroup opens /proc/PID/cgroup, or gives -1. The descriptor is of the
// process that has the number now, whoever has it later (proc(5)).
func openCgroup(pid int32, pidfd int) int {
	if pidfd < 0 || pid <= 0 {
		return -1
	}
	fd, err := unix.Open("/proc/"+strconv.Itoa(int(pid))+"/cgroup", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return fd
}

// readCgroup reads what openCgroup opened as it is now. before is what it was
// the last time.
func readCgroup(fd, pidfd int, before string) string {
	text := make([]byte, 0, 2048)
	for {
		if len(text) == cap(text) {
			text = slices.Grow(text, len(text))
		}
		n, err := unix.Pread(fd, text[len(text):cap(text)], int64(len(text)))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil || len(text)+n > maxCgroup:
			return ""
		}
		if text = text[:len(text)+n]; n == 0 {
			break
		}
	}
	switch {
	case !alive(pidfd):
		return ""
	case string(text) == before:
		return before
	}
	return string(text)
}

// alive says whether the process of a pidfd has not ended: it becomes readable
// when it has (pidfd_open(2)).
func alive(pidfd int) bool {
	p := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p, 0)
		if !errors.Is(err, unix.EINTR) {
			return err == nil && n == 0
		}
	}
}

// authenticate has the kernel say with all that is received who sent it. It is
// set on a listener before it listens, since a connection takes it from there
// (since Linux 6.16 when it is made, before when it is accepted): what is sent
// before it is set comes without. It is set on a connection too, for a listener
// that systemd made.
func authenticate(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		return fmt.Errorf("SO_PASSCRED: %w", err)
	}
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSPIDFD, 1)
	if err != nil && !errors.Is(err, unix.ENOPROTOOPT) { // before Linux 6.5
		return fmt.Errorf("SO_PASSPIDFD: %w", err)
	}
	return nil
}

// control is what came beside bytes.
type control struct {
	from  sender
	known bool // whether there is a sender
	pidfd int  // of the sender, or -1
	files []int
}

// controlSize has room for the sender, its pidfd and three descriptors. Where
// the kernel puts descriptors before the pidfd, ten find room, and not more
// than that are ever taken.
var controlSize = unix.CmsgSpace(unix.SizeofUcred) + unix.CmsgSpace(4) + unix.CmsgSpace(4*streams)

// parseControl reads control messages. All descriptors in them are the
// caller's to close, also with an error.
func parseControl(oob []byte) (c control, err error) {
	c.pidfd = -1
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return c, err
	}
	for _, m := range messages {
		switch {
		case m.Header.Level != unix.SOL_SOCKET:
		case m.Header.Type == unix.SCM_CREDENTIALS:
			cred, err := unix.ParseUnixCredentials(&m)
			if err != nil {
				return c, err
			}
			// without credentials the kernel gives pid 0
			c.from, c.known = *cred, cred.Pid > 0
		case m.Header.Type == unix.SCM_RIGHTS:
			fds, err := unix.ParseUnixRights(&m)
			if err != nil {
				return c, err
			}
			c.files = append(c.files, fds...)
		case m.Header.Type == unix.SCM_PIDFD && len(m.Data) >= 4:
			// an error number, which is negative, if the sender is gone
			c.pidfd = max(-1, int(int32(binary.NativeEndian.Uint32(m.Data))))
		}
	}
	return c, nil
}

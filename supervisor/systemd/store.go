// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// maxFiles is what one message carries: SCM_MAX_FD (unix(7)).
const maxFiles = 253

// sendSeconds is how long systemd may leave its socket full.
const sendSeconds = 5

// Store gives files to systemd, which keeps them while the service restarts
// and hands them over with this name. Files stored under one name come back in
// the order in which they were stored. A name has letters, digits, "-", "_" and
// ".", at most 255. The files stay the caller's too.
func Store(name string, files ...*os.File) (told bool, err error) {
	if err := checkName(name); err != nil {
		return false, err
	}
	if len(files) == 0 || len(files) > maxFiles {
		return false, fmt.Errorf("store %s: %d files; 1 to %d go at one time", name, len(files), maxFiles)
	}
	// FDPOLL=0: systemd shall not look into them and drop what was hung up
	told, err = send("FDSTORE=1\nFDPOLL=0\nFDNAME="+name, files...)
	if err != nil {
		return false, fmt.Errorf("store %s: %w", name, err)
	}
	return told, nil
}

// Remove has systemd close all files of this name.
func Remove(name string) (told bool, err error) {
	if err := checkName(name); err != nil {
		return false, err
	}
	return notify("FDSTOREREMOVE=1", "FDNAME="+name)
}

// Synchronise returns when systemd has read all that was told before: it closes
// the pipe that this sends (sd_notify_barrier(3), systemd 246). With an error
// it has not, in this time.
func Synchronise(limit time.Duration) (told bool, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return false, err
	}
	defer r.Close()
	told, err = send("BARRIER=1", w)
	w.Close()
	if err != nil || !told {
		return false, err
	}
	if err := r.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return false, err
	}
	_, err = r.Read(make([]byte, 1))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return false, fmt.Errorf("systemd has not read what it was told for %v", limit)
	}
	return true, nil
}

// send is notify with files.
func send(state string, files ...*os.File) (bool, error) {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return false, nil
	}
	var fds []int
	for _, f := range files {
		raw, err := f.SyscallConn() // Fd would change the file's mode
		if err != nil {
			return false, err
		}
		if err := raw.Control(func(fd uintptr) { fds = append(fds, int(fd)) }); err != nil {
			return false, err
		}
	}
	// Package net takes no control message for a connected datagram socket.
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(socket)
	if err := unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: sendSeconds}); err != nil {
		return false, err
	}
	for {
		err = unix.Sendmsg(socket, []byte(state), unix.UnixRights(fds...), &unix.SockaddrUnix{Name: name}, unix.MSG_NOSIGNAL)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	runtime.KeepAlive(files)
	return err == nil, err
}

// checkName holds a name to what systemd takes and an environment variable
// carries: it would silently call anything else "stored".
func checkName(name string) error {
	ok := name != "" && len(name) <= 255
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
	}
	if !ok {
		return fmt.Errorf("%q can't be the name of a stored file; use letters, digits, '-', '_' and '.'", name)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// firstFile is the number of the first descriptor: SD_LISTEN_FDS_START.
const firstFile = 3

// maxTaken bounds what a broken environment can make of this; systemd's own
// bound of a descriptor store is a number in the unit.
const maxTaken = 4096

// Take gives the files that systemd opened or kept for this process, by their
// names (FileDescriptorName=, by default the name of the socket unit; FDNAME of
// what was stored), each close-on-exec. It works once: it removes the
// variables, which are meant for no other process. Without systemd there is
// none. All are the caller's, also with an error.
func Take() (map[string][]*os.File, error) {
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, v := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"} {
		os.Unsetenv(v)
	}
	if pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > maxTaken {
		return nil, fmt.Errorf("LISTEN_FDS is %q, no number of descriptors", count)
	}
	named := strings.Split(names, ":")
	files := make(map[string][]*os.File)
	var missing error
	for i := range n {
		name := "unknown" // as sd_listen_fds_with_names(3) calls it
		if i < len(named) && named[i] != "" {
			name = named[i]
		}
		fd := firstFile + i
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			missing = fmt.Errorf("systemd says that descriptor %d (%q) is there: %w", fd, name, err)
			continue
		}
		files[name] = append(files[name], os.NewFile(uintptr(fd), name))
	}
	return files, missing
}

// Listener makes a listener of the one file of a name, and closes the file.
// Without a file it is nil and no error: there is none, and one may be made.
// The socket stays in the file system when the listener is closed.
func Listener(files []*os.File) (*net.UnixListener, error) {
	if len(files) == 0 {
		return nil, nil
	}
	for _, f := range files {
		defer f.Close()
	}
	if len(files) > 1 {
		return nil, fmt.Errorf("systemd has %d descriptors named %s, and one is wanted", len(files), files[0].Name())
	}
	f := files[0]
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var listening int
	var inner error
	err = raw.Control(func(fd uintptr) {
		listening, inner = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	})
	if err := errors.Join(err, inner); err != nil {
		return nil, fmt.Errorf("descriptor %s: %w", f.Name(), err)
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("descriptor %s: %w", f.Name(), err)
	}
	unixListener, ok := l.(*net.UnixListener)
	if !ok || listening == 0 {
		l.Close()
		return nil, fmt.Errorf("descriptor %s is no listening Unix stream socket", f.Name())
	}
	return unixListener, nil
}

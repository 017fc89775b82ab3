// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxPath is how long a socket's path may be: sun_path and its final NUL (unix(7)).
const maxPath = 107

// Listen makes a socket with this mode and owner (-1: as it is made) and
// listens. Nobody can connect before it has both: connect(2) fails until
// listen(2), and until then the mode is 0600 whatever the umask, which is not
// touched since all threads share it.
//
// The directory must be root's, and nobody else's to write. A socket that is
// there already is removed if it is ours and nobody listens on it; anything
// else that is there is an error. Closing the listener leaves the socket.
func Listen(path string, mode os.FileMode, uid, gid int) (*net.UnixListener, error) {
	l, err := listen(path, uint32(mode.Perm()), uid, gid)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return l, nil
}

func listen(path string, mode uint32, uid, gid int) (*net.UnixListener, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("the path has %d bytes, a socket's has at most %d; choose a shorter run_dir", len(path), maxPath)
	}
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("its directory: %w", err)
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return nil, fmt.Errorf("its directory: %w", err)
	}
	if st.Uid != 0 || st.Mode&0o022 != 0 {
		return nil, fmt.Errorf("its directory is not root's alone to write; chown root and chmod go-w %s", filepath.Dir(path))
	}
	name := filepath.Base(path)
	if err := removeDead(dir, name); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close() // net has a copy
	// bind takes the mode of the socket's own inode, less the umask
	if err := unix.Fchmod(fd, 0o600); err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return nil, err
	}
	if err := publish(dir, name, fd, mode, uid, gid); err != nil {
		_ = unix.Unlinkat(dir, name, 0)
		return nil, err
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	return l.(*net.UnixListener), nil
}

// publish gives the bound socket its owner and mode, and then listens.
func publish(dir int, name string, fd int, mode uint32, uid, gid int) error {
	if err := unix.Fchownat(dir, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	// the name is a socket that was just made, in a directory that is root's
	if err := unix.Fchmodat(dir, name, mode, 0); err != nil {
		return err
	}
	if err := authenticate(fd); err != nil {
		return err
	}
	return unix.Listen(fd, unix.SOMAXCONN)
}

// removeDead removes a socket of ours on which nobody listens.
func removeDead(dir int, name string) error {
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return errors.New("there is something else than a socket")
	}
	if int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("there is a socket of user %d", st.Uid)
	}
	client, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(client)
	// by its descriptor: this very socket, whatever the name leads to
	err = unix.Connect(client, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d", fd)})
	if !errors.Is(err, unix.ECONNREFUSED) {
		return errors.New("somebody listens there already; is another clawsupd running?")
	}
	return unix.Unlinkat(dir, name, 0)
}

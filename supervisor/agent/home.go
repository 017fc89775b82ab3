// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/supervisor"
)

// openHome says which directory the state directory is, and makes it where it
// is missing. It never changes one that is there: that may be somebody else's.
func openHome(c *supervisor.AgentConfig) (rootfs.Identity, error) {
	fail := func(format string, args ...any) (rootfs.Identity, error) {
		return rootfs.Identity{}, fmt.Errorf("state_dir %s %s", c.StateDir, fmt.Sprintf(format, args...))
	}
	parent, err := openPlain(unix.AT_FDCWD, filepath.Dir(c.StateDir), unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return fail("can't be used: the directory above it: %v", err)
	}
	defer unix.Close(parent)
	var above unix.Stat_t
	if err := unix.Fstat(parent, &above); err != nil {
		return fail("can't be used: %v", err)
	}
	if above.Uid != 0 || above.Mode&0o022 != 0 {
		return fail("lies in a directory that others than root can write, who could put another in its place; use one below /var/lib")
	}
	base := filepath.Base(c.StateDir)
	fd, err := openPlain(parent, base, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
	if errors.Is(err, unix.ENOENT) {
		if fd, err = makeHome(parent, base, c); err != nil {
			return fail("can't be made: %v", err)
		}
	}
	switch {
	case errors.Is(err, unix.ELOOP):
		return fail("is a symbolic link; name the directory that it leads to")
	case errors.Is(err, unix.ENOTDIR):
		return fail("is not a directory")
	case err != nil:
		return fail("can't be used: %v", err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fail("can't be used: %v", err)
	}
	switch {
	case st.Uid != c.UID:
		return fail("belongs to uid %d and not to the agent's user %s (uid %d); chown it, with all that is in it", st.Uid, c.User, c.UID)
	case st.Mode&0o002 != 0:
		return fail("can be written by everybody; chmod o-w")
	}
	return rootfs.Identity{Dev: st.Dev, Ino: st.Ino}, nil
}

// makeHome makes the directory in one of root's own, where no name can change
// between two steps.
func makeHome(parent int, base string, c *supervisor.AgentConfig) (int, error) {
	if err := unix.Mkdirat(parent, base, 0o700); err != nil {
		return -1, &os.PathError{Op: "mkdir", Path: base, Err: err}
	}
	fd, err := unix.Openat2(parent, base, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err == nil {
		err = errors.Join(unix.Fchmod(fd, 0o700), unix.Fchown(fd, int(c.UID), int(c.GID)))
	}
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: base, Err: err}
	}
	return fd, nil
}

func openPlain(at int, name string, resolve uint64) (int, error) {
	return unix.Openat2(at, name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: resolve | unix.RESOLVE_NO_MAGICLINKS,
	})
}

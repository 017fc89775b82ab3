// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// openWorkspace opens the directory of a path, if it is the one that it was.
// No symbolic link is followed (openat2(2)): whoever owns a directory above can
// still put another there, but not one elsewhere.
func openWorkspace(path string, id rootfs.Identity) (*os.File, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		return nil, fmt.Errorf("workspace %s: %w (%w)", visible.Text(path), ErrReplaced, err)
	}
	if err != nil {
		return nil, fmt.Errorf("workspace %s: %w", visible.Text(path), err)
	}
	root := os.NewFile(uintptr(fd), path)
	if now, err := identity(fd); err != nil || now != id {
		return nil, errors.Join(fmt.Errorf("workspace %s: %w", visible.Text(path), errors.Join(ErrReplaced, err)), root.Close())
	}
	return root, nil
}

func identity(fd int) (rootfs.Identity, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return rootfs.Identity{}, os.NewSyscallError("fstat", err)
	}
	return rootfs.Identity{Dev: st.Dev, Ino: st.Ino}, nil
}

// maxDepth bounds a walk towards the root.
const maxDepth = 4096

// lineage gives the identities of a directory and of all above it.
func lineage(dir *os.File) ([]rootfs.Identity, error) {
	at := int(dir.Fd())
	defer func() {
		if at != int(dir.Fd()) {
			_ = unix.Close(at)
		}
	}()
	var line []rootfs.Identity
	for range maxDepth {
		id, err := identity(at)
		if err != nil {
			return nil, err
		}
		if n := len(line); n > 0 && line[n-1] == id { // the root is its own parent
			return line, nil
		}
		line = append(line, id)
		up, err := unix.Openat(at, "..", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, os.NewSyscallError("openat", err)
		}
		if at != int(dir.Fd()) {
			_ = unix.Close(at)
		}
		at = up
	}
	return nil, errors.New("the workspace is too deep")
}

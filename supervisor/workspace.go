// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Workspace is a directory of the host that a call works on, as it was when
// the call was planned.
type Workspace struct {
	Path     string // absolute, without symbolic links
	Identity rootfs.Identity
	Owner    rootfs.Owner
}

// closedTrees are directories of the system: neither they nor anything in
// them can be a workspace.
var closedTrees = []string{"/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run",
	"/sbin", "/sys", "/usr", "/var/cache", "/var/lib/dpkg", "/var/lib/rpm", "/var/log", "/var/spool"}

// closedDirs can't be a workspace themselves, since they hold what belongs to
// several or to nobody in particular; directories in them can.
var closedDirs = []string{"/", "/home", "/lost+found", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp", "/var", "/var/lib", "/var/tmp"}

// openWorkspace resolves name and says whether it may be a workspace. own are
// clawsup's directories: none of them, nothing in them and nothing that
// contains one of them may be. files are its files elsewhere: nothing that
// contains one may be. Directories are compared by device and inode, so that
// another mount of one is the same to it.
func openWorkspace(name string, own, files []string) (Workspace, error) {
	refuse := func(format string, args ...any) (Workspace, error) {
		return Workspace{}, fmt.Errorf("workspace %s %s", visible.Text(name), fmt.Sprintf(format, args...))
	}
	if name == "" {
		return refuse("is empty; name a directory")
	}
	path, err := filepath.Abs(name)
	if err != nil {
		return refuse("has no absolute path: %v", err)
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return refuse("can't be used: %v", bare(err))
	}
	if path != "/" {
		path = filepath.Join(parent, filepath.Base(path))
	}
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch {
	case errors.Is(err, unix.ELOOP):
		return refuse("is a symbolic link; name the directory that it leads to")
	case errors.Is(err, unix.ENOENT):
		return refuse("does not exist; make the directory first")
	case err != nil:
		return refuse("can't be used: %v", err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return refuse("can't be used: %v", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return refuse("is not a directory")
	}
	w := Workspace{Path: path, Identity: identityOf(&st), Owner: rootfs.Owner{UID: int(st.Uid), GID: int(st.Gid)}}
	above, err := ancestry(fd)
	if err != nil {
		return refuse("can't be used: %v", err)
	}
	for _, dir := range closedDirs {
		if id, ok := identityAt(dir); ok && id == w.Identity {
			return refuse("is %s, which is more than one project; name a directory in it", dir)
		}
	}
	for _, dir := range closedTrees {
		if id, ok := identityAt(dir); ok && above[id] {
			return refuse("belongs to the system (%s); name a directory of your own", dir)
		}
	}
	passed := map[rootfs.Identity]bool{}
	for _, dir := range own {
		if id, ok := identityAt(dir); ok && above[id] {
			return refuse("belongs to clawsup itself (%s)", visible.Text(dir))
		}
		within, err := contains(w.Identity, dir, passed)
		if err != nil {
			return refuse("can't be used: %v", err)
		}
		if within {
			return refuse("contains %s, which belongs to clawsup itself", visible.Text(dir))
		}
	}
	for _, file := range files {
		within, err := contains(w.Identity, filepath.Dir(file), passed)
		if err != nil {
			return refuse("can't be used: %v", err)
		}
		if within {
			return refuse("contains %s, which belongs to clawsup itself", visible.Text(file))
		}
	}
	return w, nil
}

// same says whether the directory still is the one that was planned.
func (w Workspace) same() error {
	if id, ok := identityAt(w.Path); !ok || id != w.Identity {
		return fmt.Errorf("workspace %s is another directory now than when the call was planned", visible.Text(w.Path))
	}
	return nil
}

func (w Workspace) ownerName() string {
	if u, err := user.LookupId(strconv.Itoa(w.Owner.UID)); err == nil {
		return fmt.Sprintf("%s (uid %d)", visible.Text(u.Username), w.Owner.UID)
	}
	return fmt.Sprintf("uid %d", w.Owner.UID)
}

func identityOf(st *unix.Stat_t) rootfs.Identity { return rootfs.Identity{Dev: st.Dev, Ino: st.Ino} }

// identityAt is that of the file itself, not of what it may link to.
func identityAt(path string) (rootfs.Identity, bool) {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return rootfs.Identity{}, false
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK && unix.Stat(path, &st) != nil { // /bin to usr/bin
		return rootfs.Identity{}, false
	}
	return identityOf(&st), true
}

// maxDepth bounds a walk towards the root.
const maxDepth = 4096

// ancestry gives the identities of the directory fd and of all above it.
func ancestry(fd int) (map[rootfs.Identity]bool, error) {
	all := map[rootfs.Identity]bool{}
	return all, climb(fd, func(id rootfs.Identity) bool {
		if all[id] { // the root is its own parent
			return false
		}
		all[id] = true
		return true
	})
}

// climb goes from the directory fd towards the root for as long as more says so
// of the identity of each.
func climb(fd int, more func(rootfs.Identity) bool) error {
	at := fd
	defer func() {
		if at != fd {
			_ = unix.Close(at)
		}
	}()
	for range maxDepth {
		var st unix.Stat_t
		if err := unix.Fstat(at, &st); err != nil {
			return err
		}
		if !more(identityOf(&st)) {
			return nil
		}
		up, err := unix.Openat(at, "..", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if at != fd {
			_ = unix.Close(at)
		}
		at = up
	}
	return errors.New("it is too deep")
}

// contains reports whether the directory with identity id is dir or above it.
// What of dir does not exist yet is as if it were there. passed are directories
// of which that is known already: neither they nor what is above them is it.
func contains(id rootfs.Identity, dir string, passed map[rootfs.Identity]bool) (bool, error) {
	for {
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC|unix.O_DIRECTORY, 0)
		if err == nil {
			defer unix.Close(fd)
			found := false
			err := climb(fd, func(at rootfs.Identity) bool {
				found = at == id
				if found || passed[at] {
					return false
				}
				passed[at] = true
				return true
			})
			return found, err
		}
		if !errors.Is(err, unix.ENOENT) || dir == "/" {
			return false, fmt.Errorf("%s: %w", visible.Text(dir), err)
		}
		dir = filepath.Dir(dir)
	}
}

// bare drops the path that package os puts into its errors.
func bare(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

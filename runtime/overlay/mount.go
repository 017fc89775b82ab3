// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/rootfs"
)

// Names on the stage, which no other thread sees.
const (
	stageLower = "lower"
	stageLayer = "layer"
)

// workName is the overlay's work directory. Each mount has a new one: a volatile
// mount refuses one that another such has had.
const workName = "work"

// overlayOptions are those of every mount. Directories of the workspace can be
// renamed, by trusted.overlay.redirect. A file's attributes alone are never
// copied up, so that what is in the layer is whole. Index and xino would tie the
// layer to the workspace's file handles, for hard links and inode numbers that
// stay. An upper layer that nobody waits for needs no fsync.
var overlayOptions = []option{
	{"redirect_dir", "on"}, {"metacopy", "off"}, {"index", "off"}, {"xino", "off"}, {"volatile", ""},
}

// Mount gives an overlay of the layer over the directory lower, attached
// nowhere, writable, nosuid and nodev. In it files of owner are tool's, and the
// other way around; in the layer, tool's files are owner's. Only one may be in
// use at a time: when it was used, whoever had it must be dead. The directory
// must be of a mount in the caller's namespace. With the first mount, the root
// of the overlay gets owner, mode, ACL and user attributes of lower.
func (l *Layer) Mount(lower int, owner, tool rootfs.Owner) (tree int, err error) {
	defer func() { err = wrap("mount", l.image, err) }()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.root == nil {
		return -1, os.ErrClosed
	}
	if err := refuse(lower, owner != tool); err != nil {
		return -1, err
	}
	space, err := l.maker.swap(owner, tool)
	if err != nil {
		return -1, err
	}
	if space != nil {
		defer space.Close()
	}
	if err := l.renewWork(lower); err != nil {
		return -1, err
	}
	l.dirty = true
	err = rootfs.OnOwnThread(func() (err error) {
		tree, err = l.mount(lower, space)
		return err
	})
	return tree, err
}

// renewWork replaces the work directory. When there was none that an overlay
// made use of, by a directory of its own in it, what is written begins here: the
// root of it becomes as lower is.
func (l *Layer) renewWork(lower int) error {
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", l.root.Fd()))
	if err != nil {
		return err
	}
	defer root.Close()
	_, err = root.Lstat(workName + "/work")
	if errors.Is(err, os.ErrNotExist) {
		err = l.resemble(lower)
	}
	if err == nil {
		err = root.RemoveAll(workName)
	}
	if err != nil {
		return fmt.Errorf("renew the work directory: %w", err)
	}
	return root.Mkdir(workName, 0o700)
}

// resemble gives the root of what is written the attributes of the directory
// that it will cover.
func (l *Layer) resemble(lower int) error {
	var st unix.Stat_t
	if err := unix.Fstat(lower, &st); err != nil {
		return fmt.Errorf("workspace: %w", err)
	}
	from := fmt.Sprintf("/proc/self/fd/%d", lower)
	upper := fmt.Sprintf("/proc/self/fd/%d/%s", l.root.Fd(), upperName)
	for _, step := range []func() error{
		func() error { return os.Chown(upper, int(st.Uid), int(st.Gid)) },
		func() error { return unix.Chmod(upper, st.Mode&0o7777) },
		func() error { return copyXattrs(upper, from) },
		func() error { return unix.UtimesNanoAt(unix.AT_FDCWD, upper, []unix.Timespec{st.Atim, st.Mtim}, 0) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("give the layer its root's attributes: %w", err)
		}
	}
	return nil
}

// copyXattrs copies those that decide on access, and the users' own.
func copyXattrs(to, from string) error {
	names := make([]byte, 64<<10) // XATTR_LIST_MAX
	n, err := unix.Listxattr(from, names)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		return err
	}
	value := make([]byte, 64<<10) // XATTR_SIZE_MAX
	for name := range strings.SplitSeq(string(names[:n]), "\x00") {
		if !strings.HasPrefix(name, "system.posix_acl_") && !strings.HasPrefix(name, "user.") {
			continue
		}
		n, err := unix.Getxattr(from, name, value)
		if err == nil {
			err = unix.Setxattr(to, name, value[:n], 0)
		}
		if err != nil && !errors.Is(err, unix.ENODATA) {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// mount makes the overlay, on a thread that ends with it. Both layers are mapped
// and not the overlay, which can't be. They have to be attached somewhere for
// that, on a stage that no other thread sees.
func (l *Layer) mount(lower int, space *userns) (tree int, err error) {
	// A mount of another namespace can't be cloned: before the thread has its own.
	below, err := unix.OpenTree(lower, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return -1, fmt.Errorf("open_tree: %w", err)
	}
	defer unix.Close(below)
	if err := attribute(below, unix.MOUNT_ATTR_RDONLY, space); err != nil {
		return -1, explainMapping(lower, err)
	}
	layer, err := mountExt4(l.device)
	if err != nil {
		return -1, err
	}
	defer unix.Close(layer)
	if err := attribute(layer, 0, space); err != nil {
		return -1, fmt.Errorf("map the layer: %w", err)
	}
	if err := rootfs.Isolate(); err != nil {
		return -1, err
	}
	if err := l.maker.raise(below, layer); err != nil {
		return -1, fmt.Errorf("stage %s: %w", l.maker.Stage, err)
	}
	c, err := newFscontext("overlay")
	if err != nil {
		return -1, err
	}
	defer c.close()
	// Relative, since tools can read them in /proc/self/mountinfo.
	for _, o := range append([]option{
		{"lowerdir", stageLower}, {"upperdir", stageLayer + "/" + upperName}, {"workdir", stageLayer + "/" + workName},
	}, overlayOptions...) {
		if err := c.set(o); err != nil {
			return -1, explainOverlay(err)
		}
	}
	tree, err = c.mount(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return -1, explainOverlay(err)
	}
	return tree, nil
}

// attribute sets a detached mount's attributes, and maps it.
func attribute(tree int, set uint64, space *userns) error {
	attr := unix.MountAttr{Attr_set: set | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE}
	if space != nil {
		attr.Attr_set |= unix.MOUNT_ATTR_IDMAP
		attr.Userns_fd = uint64(space.Fd())
	}
	return unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr)
}

// raise attaches both trees on the stage, in the thread's own namespace, and has
// the thread stand there.
func (m *Maker) raise(lower, layer int) error {
	if err := unix.Mount("tmpfs", m.Stage, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "size=4k,nr_inodes=3,mode=0700"); err != nil {
		return err
	}
	if err := unix.Chdir(m.Stage); err != nil {
		return err
	}
	for name, tree := range map[string]int{stageLower: lower, stageLayer: layer} {
		if err := unix.Mkdir(name, 0o700); err != nil {
			return err
		}
		if err := unix.MoveMount(tree, "", unix.AT_FDCWD, name, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("move_mount: %w", err)
		}
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Refusal is a layer that can't be, with what to do about it.
type Refusal struct {
	Err error
	Do  string
}

func (r *Refusal) Error() string { return r.Err.Error() + ": " + r.Do }
func (r *Refusal) Unwrap() error { return r.Err }

// What to do about a workspace that can't be below a layer.
const doMove = "move the workspace to ext4, xfs or btrfs, or give it mode read-only or scratch"

// lowers are file systems by their magic number (statfs(2)), and why a workspace
// on them can't be below a layer, or not on every kernel.
var lowers = []struct {
	magic uint32
	name  string
	since version // of id-mapped mounts of it; zero: it has none
}{
	{unix.EXT4_SUPER_MAGIC, "ext4", version{5, 12}},
	{unix.XFS_SUPER_MAGIC, "xfs", version{5, 12}},
	{unix.MSDOS_SUPER_MAGIC, "vfat", version{5, 12}},
	{unix.BTRFS_SUPER_MAGIC, "btrfs", version{5, 15}},
	{unix.F2FS_SUPER_MAGIC, "f2fs", version{5, 18}},
	{unix.EROFS_SUPER_MAGIC_V1, "erofs", version{5, 19}},
	{unix.SQUASHFS_MAGIC, "squashfs", version{6, 2}},
	{unix.TMPFS_MAGIC, "tmpfs", version{6, 3}},
	{unix.CEPH_SUPER_MAGIC, "ceph", version{6, 7}},
	{unix.FUSE_SUPER_MAGIC, "fuse", version{6, 12}}, // where its server agrees
	{unix.OVERLAYFS_SUPER_MAGIC, "overlay", version{}},
	{unix.NFS_SUPER_MAGIC, "nfs", version{}},
	{unix.SMB_SUPER_MAGIC, "smb", version{}},
	{unix.SMB2_SUPER_MAGIC, "smb2", version{}},
	{unix.CIFS_SUPER_MAGIC, "cifs", version{}},
	{unix.AFS_SUPER_MAGIC, "afs", version{}},
	{unix.V9FS_MAGIC, "9p", version{}},
	{unix.ECRYPTFS_SUPER_MAGIC, "ecryptfs", version{}},
	{unix.PROC_SUPER_MAGIC, "proc", version{}},
	{unix.SYSFS_MAGIC, "sysfs", version{}},
	{unix.CGROUP_SUPER_MAGIC, "cgroup", version{}},
	{unix.CGROUP2_SUPER_MAGIC, "cgroup2", version{}},
}

// version is a kernel's.
type version struct{ major, minor int }

func (v version) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

// running is the running kernel's version.
func running() version {
	var u unix.Utsname
	var v version
	if unix.Uname(&u) == nil {
		_, _ = fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &v.major, &v.minor)
	}
	return v
}

func (v version) before(w version) bool {
	return v.major < w.major || v.major == w.major && v.minor < w.minor
}

// refusal looks a file system up. What isn't in the table is tried.
func refusal(magic uint32, kernel version) error {
	for _, l := range lowers {
		switch {
		case l.magic != magic:
		case l.since == version{}:
			return &Refusal{Err: fmt.Errorf("the workspace is on %s, which has no id-mapped mounts", l.name), Do: doMove}
		case kernel.before(l.since):
			return &Refusal{Err: fmt.Errorf("the workspace is on %s, which has no id-mapped mounts before Linux %s; this is %s", l.name, l.since, kernel), Do: doMove}
		}
	}
	return nil
}

// refuse refuses what can't be the lower directory.
func refuse(lower int, mapped bool) error {
	var st unix.Stat_t
	if err := unix.Fstat(lower, &st); err != nil {
		return fmt.Errorf("workspace: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return errors.New("the workspace is no directory")
	}
	if st.Nlink == 0 {
		return errors.New("the workspace was deleted")
	}
	if !mapped {
		return nil
	}
	magic, err := magicOf(lower)
	if err != nil {
		return err
	}
	return refusal(magic, running())
}

func magicOf(fd int) (uint32, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return 0, fmt.Errorf("workspace: statfs: %w", err)
	}
	return uint32(st.Type), nil
}

// explainMapping says why the workspace can't be mapped.
func explainMapping(lower int, err error) error {
	if !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("map the workspace: %w", err)
	}
	what := "a file system"
	if magic, err := magicOf(lower); err == nil {
		what = fmt.Sprintf("a file system (type %#x)", magic)
	}
	return &Refusal{Err: fmt.Errorf("the workspace is on %s that has no id-mapped mounts: %w", what, err), Do: doMove}
}

// explainOverlay says what a refused overlay means.
func explainOverlay(err error) error {
	switch {
	case errors.Is(err, unix.EINVAL) && running().before(version{5, 19}):
		return &Refusal{Err: err, Do: "overlays of id-mapped layers need Linux 5.19; this is " + running().String()}
	case errors.Is(err, unix.EINVAL):
		return &Refusal{Err: err, Do: "the kernel's log may say more; where it is the workspace's file system (one without case, or overlays on overlays), " + doMove}
	}
	return err
}

// explainKind says what to do for a file system that the kernel hasn't.
func explainKind(kind string, err error) error {
	err = fmt.Errorf("fsopen %s: %w", kind, err)
	switch {
	case errors.Is(err, unix.ENODEV):
		return &Refusal{Err: err, Do: "the kernel has no " + kind + ": load the module of that name, or build it in"}
	case errors.Is(err, unix.EPERM):
		return &Refusal{Err: err, Do: "it takes CAP_SYS_ADMIN"}
	}
	return err
}

// explainLoop says what to do for a missing loop device.
func explainLoop(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		return &Refusal{Err: err, Do: "load the module loop (modprobe loop), in a container share /dev/loop-control and devtmpfs"}
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return &Refusal{Err: err, Do: "allow the service /dev/loop-control and the loop block devices (DeviceAllow=)"}
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.ENOMEM):
		return &Refusal{Err: err, Do: "there are too many loop devices: see losetup --list"}
	}
	return err
}

// minRoom is the least, in bytes, that a disk has to have free for a new layer:
// what is written to one is not on the disk yet when the call that wrote it has
// its answer.
const minRoom = 16 << 20

// checkRoom refuses a directory whose file system has less room than that.
func checkRoom(dir string, least int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	if st.Flags&unix.ST_RDONLY != 0 {
		return explainRoom(dir, unix.EROFS)
	}
	// Some file systems can't tell, and say that they have no blocks.
	if room := int64(st.Bavail) * st.Bsize; st.Blocks > 0 && room < least {
		return explainRoom(dir, fmt.Errorf("%d bytes are free, of at least %d: %w", room, least, unix.ENOSPC))
	}
	return nil
}

// explainRoom says what to do about a directory where no image can be.
func explainRoom(dir string, err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return &Refusal{Err: err, Do: "make room on the file system of " + dir}
	case errors.Is(err, unix.EROFS):
		return &Refusal{Err: err, Do: "the file system of " + dir + " is read-only: have the state elsewhere, or make it writable"}
	case errors.Is(err, unix.EFBIG):
		return &Refusal{Err: err, Do: "the file system of " + dir + " has no files as large as a layer: lower limits.layer"}
	}
	return err
}

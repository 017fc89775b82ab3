// SPDX-License-Identifier: Apache-2.0

// Package rootfs builds the file system that a box sees.
//
// It is built by root, from the host's side, in a mount namespace that only
// one thread has (Isolate), before the box's own namespaces exist. That has
// three uses. Sources that strangers can move are opened once, by openat2(2)
// without symbolic links, and mounted by descriptor. Nothing of it is ever
// visible on the host, and it is gone with the thread, however that ends.
// And the box, whose mount namespace is a copy that belongs to a lesser user
// namespace, can neither remount nor unmount any of it (mount_namespaces(7):
// mounts of a more privileged namespace are locked).
//
// The root itself is a small tmpfs holding mount points, a handful of
// generated files, and links; it ends read-only. Rules gives the same tree in
// Landlock's terms, so that both walls are made from one list.
//
// Limits: submounts of a workspace are not followed, they show as the empty
// directories they cover. A file system that a host path lies on must support
// id-mapped mounts for a workspace (mount_setattr(2)).
package rootfs

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Fixed places in a box.
const (
	WorkspaceDir = "/workspace"
	SkillDir     = "/skill"
	TmpDir       = "/tmp"
	ShmDir       = "/dev/shm"
	privateDir   = "/.clawsup"
	EmptyDir     = privateDir // of a tree without Init
	InitPath     = privateDir + "/init"
)

// Tree describes a box's file system.
type Tree struct {
	// Rootfs is a directory whose entries become the root's; empty: the
	// host's own system directories and the files of etcFiles.
	Rootfs string
	// Read are host paths that appear at the same place, read-only, with
	// what is mounted beneath them.
	Read []string
	// Binds are trees of somebody else's: skill, workspace, an agent's state.
	// One may lie in another, or in a place of Tmpfs: what lies deeper is
	// mounted later. The place of one that lies in another must exist there.
	Binds []Bind
	// Tmpfs are the writable places.
	Tmpfs []Tmpfs
	// Init is the host path of the clawsup-init program; empty: it isn't shown.
	Init string
	// Hostname is written to /etc/hostname and /etc/hosts.
	Hostname string
	// HostNetwork shows the host's resolver, for a box that stays in the
	// host's network.
	HostNetwork bool
	// Resolver answers DNS; zero: nobody does, or who HostNetwork shows. A given
	// Rootfs has a resolv.conf of its own: whatever server that names, its port
	// 53 is what a led network captures (package netns), if it isn't loopback's.
	Resolver netip.Addr
	// InitUID and InitGID are, on the host, uid and gid 0 of the box;
	// ToolUID and ToolGID those that the tool runs with.
	InitUID, InitGID, ToolUID, ToolGID int

	points []string // directories to make where boxes mount what is their own: see Split
}

// Bind is a tree of the host shown in the box.
type Bind struct {
	Source   string // absolute, without symbolic links
	Target   string // absolute
	Writable bool
	Sockets  bool     // Unix sockets in it may be connected to and, where it is writable, made, and FIFOs too
	Recurse  bool     // with what is mounted beneath it
	Apart    bool     // it is one box's own, though nobody writes to it: see Split
	Identity Identity // what Source must be; zero: anything
	Owner    *Owner   // mapped to the tool's ids; nil: not id-mapped
	Upper    Upper    // takes what is written, with Owner and Writable; nil: Source does
}

// Upper makes an overlay over a directory.
type Upper interface {
	// Mount gives a mount that is attached nowhere, of the directory with an
	// upper layer over it, in which files of owner are tool's.
	Mount(lower int, owner, tool Owner) (tree int, err error)
}

// Identity is a file's device and inode.
type Identity struct {
	Dev uint64 `json:"dev"`
	Ino uint64 `json:"ino"`
}

// Owner is the pair of host ids that become the tool's in a bind.
type Owner struct {
	UID int `json:"uid"`
	GID int `json:"gid"`
}

// Tmpfs is a writable place in memory that is gone with the box.
type Tmpfs struct {
	Target string
	Size   int64 // bytes
	Files  int64 // inodes
	Exec   bool
}

// Error tells which mount failed.
type Error struct {
	Target string
	Err    error
}

func (e *Error) Error() string { return fmt.Sprintf("mount %s: %v", e.Target, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// SystemDirs are the host's top-level directories that make programs run.
var SystemDirs = []string{"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"}

// Isolate gives the calling thread, which must be locked, a mount namespace
// of its own from which nothing propagates. The thread must not be unlocked
// afterwards, so that the Go runtime ends it.
func Isolate() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	return nil
}

// Build makes the tree at stage, an existing empty directory, in the mount
// namespace that Isolate made.
func (t *Tree) Build(stage string) error {
	if err := unix.Mount("tmpfs", stage, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "size=1m,nr_inodes=512,mode=0755"); err != nil {
		return &Error{"/", err}
	}
	var st unix.Stat_t
	if err := unix.Stat(stage, &st); err != nil {
		return &Error{"/", err}
	}
	root := &builder{stage: stage, tree: t, own: map[uint64]bool{st.Dev: true}}
	for _, step := range []func() error{root.system, root.etc, root.dev, root.places, root.private} {
		if err := step(); err != nil {
			return err
		}
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if err := unix.MountSetattr(unix.AT_FDCWD, stage, 0, &attr); err != nil {
		return &Error{"/", fmt.Errorf("read-only: %w", err)}
	}
	return nil
}

// builder works beneath stage. Path strings are safe there: the tmpfs is new
// and no other thread or process sees it.
type builder struct {
	stage string
	tree  *Tree
	own   map[uint64]bool // device numbers of file systems made here, in which mount points can be made
	loose []string        // mounted so far, with contents that the tool may have made
}

// owns notes that the file system at target was made here.
func (b *builder) owns(target string) error {
	fd, err := b.mountPoint(target, true)
	if err != nil {
		return &Error{target, err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &Error{target, err}
	}
	b.own[st.Dev] = true
	return nil
}

// system shows the programs: every entry of a given rootfs, or the host's
// system directories.
func (b *builder) system() error {
	if b.tree.Rootfs == "" {
		for _, name := range SystemDirs {
			if err := b.show("/", name); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		return nil
	}
	entries, err := os.ReadDir(b.tree.Rootfs)
	if err != nil {
		return &Error{"/", err}
	}
	for _, e := range entries {
		if ownPlaces[e.Name()] {
			continue
		}
		if err := b.show(b.tree.Rootfs, e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// ownPlaces are the top-level names that are never taken from a rootfs.
var ownPlaces = map[string]bool{
	"proc": true, "sys": true, "dev": true, "run": true, "tmp": true,
	path.Base(WorkspaceDir): true, path.Base(SkillDir): true, path.Base(privateDir): true,
}

// show puts one entry of a directory into the root: links as links, the rest
// as read-only binds with what is mounted beneath.
func (b *builder) show(dir, name string) error {
	source := filepath.Join(dir, name)
	info, err := os.Lstat(source)
	if err != nil {
		return &Error{"/" + name, err}
	}
	if info.Mode()&os.ModeSymlink != 0 {
		return b.copyLink(source, "/"+name)
	}
	return b.bind(Bind{Source: source, Target: "/" + name, Recurse: true})
}

func (b *builder) copyLink(source, target string) error {
	to, err := os.Readlink(source)
	if err == nil {
		err = os.Symlink(to, b.at(target))
	}
	if err != nil {
		return &Error{target, err}
	}
	return nil
}

// dev makes the few devices that programs need, on a file system of their
// own since the root has none.
func (b *builder) dev() error {
	if err := b.mkdir("/dev"); err != nil {
		return err
	}
	at := b.at("/dev")
	if err := unix.Mount("tmpfs", at, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "size=64k,nr_inodes=32,mode=0755"); err != nil {
		return &Error{"/dev", err}
	}
	for _, d := range devices {
		file := filepath.Join(at, d.name)
		if err := unix.Mknod(file, unix.S_IFCHR|0o666, int(unix.Mkdev(1, d.minor))); err != nil {
			return &Error{"/dev/" + d.name, err}
		}
		if err := os.Chmod(file, 0o666); err != nil { // past the umask
			return &Error{"/dev/" + d.name, err}
		}
	}
	for name, to := range deviceLinks {
		if err := os.Symlink(to, filepath.Join(at, name)); err != nil {
			return &Error{"/dev/" + name, err}
		}
	}
	if err := os.Mkdir(filepath.Join(at, "shm"), 0o755); err != nil {
		return &Error{ShmDir, err}
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(unix.AT_FDCWD, at, 0, &attr); err != nil {
		return &Error{"/dev", err}
	}
	return nil
}

// devices are character devices of major 1 (Documentation/admin-guide/devices.txt).
var devices = []struct {
	name  string
	minor uint32
}{{"null", 3}, {"zero", 5}, {"full", 7}, {"random", 8}, {"urandom", 9}}

var deviceLinks = map[string]string{
	"fd":     "/proc/self/fd",
	"stdin":  "/proc/self/fd/0",
	"stdout": "/proc/self/fd/1",
	"stderr": "/proc/self/fd/2",
}

// places puts in what the profile and the call bring, from the root outwards.
func (b *builder) places() error {
	for _, dir := range []string{"/proc", TmpDir} {
		if err := b.mkdir(dir); err != nil {
			return err
		}
	}
	type place struct {
		target string
		mount  func() error
	}
	var all []place
	for _, source := range b.tree.Read {
		all = append(all, place{source, func() error { return b.bind(Bind{Source: source, Target: source, Recurse: true}) }})
	}
	for _, bind := range b.tree.Binds {
		all = append(all, place{bind.Target, func() error { return b.bind(bind) }})
	}
	for _, t := range b.tree.Tmpfs {
		all = append(all, place{t.Target, func() error { return b.tmpfs(t) }})
	}
	for _, target := range b.tree.points {
		all = append(all, place{target, func() error { return b.point(target) }})
	}
	depth := func(target string) int { return strings.Count(path.Clean(target), "/") }
	slices.SortStableFunc(all, func(x, y place) int { return cmp.Compare(depth(x.target), depth(y.target)) })
	for _, p := range all {
		if err := checkTarget(p.target); err != nil {
			return &Error{p.target, err}
		}
		if err := p.mount(); err != nil {
			return err
		}
	}
	return nil
}

// checkTarget refuses a place that isn't one's own: the root, and what every
// box has of its own.
func checkTarget(target string) error {
	if !path.IsAbs(target) || path.Clean(target) != target || target == "/" {
		return errors.New("the place must be absolute, plain, and not the root itself")
	}
	if target == ShmDir {
		return nil
	}
	for _, taken := range []string{"/proc", "/sys", "/dev", privateDir} {
		if target == taken || strings.HasPrefix(target, taken+"/") {
			return fmt.Errorf("%s is every box's own", taken)
		}
	}
	return nil
}

// point makes sure that there is a directory to mount on.
func (b *builder) point(target string) error {
	at, err := b.mountPoint(target, true)
	if err != nil {
		return &Error{target, err}
	}
	return unix.Close(at)
}

// tmpfs mounts a place in memory.
func (b *builder) tmpfs(t Tmpfs) error {
	at, err := b.mountPoint(t.Target, true)
	if err != nil {
		return &Error{t.Target, err}
	}
	defer unix.Close(at)
	flags, options := t.Mount(b.tree.ToolUID, b.tree.ToolGID)
	// mount(2) takes no descriptor; this name leads to the one that is held.
	if err := unix.Mount("tmpfs", fmt.Sprintf("/proc/self/fd/%d", at), "tmpfs", flags, options); err != nil {
		return &Error{t.Target, err}
	}
	return b.owns(t.Target)
}

// private shows clawsup-init to uid 0 of the box and to nobody else. Without
// one it is the directory that hides others.
func (b *builder) private() error {
	dir := b.at(privateDir)
	if b.tree.Init == "" {
		if err := os.Mkdir(dir, 0o555); err != nil {
			return &Error{privateDir, err}
		}
		return nil
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return &Error{privateDir, err}
	}
	if err := os.Chown(dir, b.tree.InitUID, b.tree.InitGID); err != nil {
		return &Error{privateDir, err}
	}
	return b.bind(Bind{Source: b.tree.Init, Target: InitPath})
}

func (b *builder) at(target string) string { return b.stage + target }

func (b *builder) mkdir(target string) error {
	if err := os.MkdirAll(b.at(target), 0o755); err != nil {
		return &Error{target, err}
	}
	return nil
}

// bind mounts one tree. The source is opened once, and what was opened is
// what is mounted.
func (b *builder) bind(m Bind) error {
	fd, err := m.open()
	if err != nil {
		return m.fail(err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return m.fail(err)
	}
	at, err := b.mountPoint(m.Target, st.Mode&unix.S_IFMT == unix.S_IFDIR)
	if err != nil {
		return m.fail(err)
	}
	defer unix.Close(at)
	tree, err := m.clone(fd)
	if err != nil {
		return m.fail(err)
	}
	defer unix.Close(tree)
	if m.Owner != nil {
		userns, err := mapping(*m.Owner, Owner{b.tree.ToolUID, b.tree.ToolGID}, b.tree.Init)
		if err != nil {
			return m.fail(err)
		}
		defer userns.Close()
		err = m.set(tree, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userns.Fd())})
		if err != nil {
			return m.fail(ExplainMapping(err))
		}
	}
	if err := unix.MoveMount(tree, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return m.fail(fmt.Errorf("move_mount: %w", err))
	}
	if m.Writable {
		b.loose = append(b.loose, m.Target)
	}
	return nil
}

// mountPoint opens the place of a mount, and makes what is missing of it
// where the file system is one of the box's own: nothing is ever made in a
// tree of somebody else's. Links are followed within the box, as its programs
// would, but for those that a tool may have planted in an earlier box.
func (b *builder) mountPoint(target string, dir bool) (fd int, err error) {
	fd, err = unix.Open(b.stage, unix.O_PATH|unix.O_CLOEXEC|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, err
	}
	names := strings.Split(strings.TrimPrefix(target, "/"), "/")
	root := fd
	defer unix.Close(root)
	for i := range names {
		so := "/" + strings.Join(names[:i+1], "/")
		next, err := b.open(root, so)
		if errors.Is(err, unix.ENOENT) {
			if err = b.make(fd, names[i], dir || i < len(names)-1); err == nil {
				next, err = b.open(root, so)
			}
		}
		if fd != root {
			_ = unix.Close(fd)
		}
		if err != nil {
			return -1, err
		}
		fd = next
	}
	return fd, nil
}

// open opens a place of the box that exists.
func (b *builder) open(root int, target string) (int, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	if slices.ContainsFunc(b.loose, func(dir string) bool { return strings.HasPrefix(target, dir+"/") }) {
		how.Resolve |= unix.RESOLVE_NO_SYMLINKS
	}
	fd, err := unix.Openat2(root, target, &how)
	if errors.Is(err, unix.ELOOP) {
		err = fmt.Errorf("%s: a symbolic link is on the way to where it is to be shown", target)
	}
	return fd, err
}

// make makes one name of a mount point in the directory above.
func (b *builder) make(above int, name string, dir bool) error {
	var st unix.Stat_t
	if err := unix.Fstat(above, &st); err != nil {
		return err
	}
	if !b.own[st.Dev] {
		return fmt.Errorf("%q: there is no such place in what is shown there, and none is made: make it on the host", name)
	}
	if dir {
		if err := unix.Mkdirat(above, name, 0o755); err != nil {
			return fmt.Errorf("mkdir %q: %w", name, err)
		}
		return unix.Fchmodat(above, name, 0o755, 0) // past the umask
	}
	fd, err := unix.Openat(above, name, unix.O_CREAT|unix.O_EXCL|unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return fmt.Errorf("create %q: %w", name, err)
	}
	return unix.Close(fd)
}

// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Split takes a tree apart: into what many boxes can share, since none of them
// can write to it and it is mapped to nobody, and the places that each box has
// of its own, in the order in which they are mounted. The shared tree has empty
// directories where those go.
func (t *Tree) Split() (shared *Tree, own []Own, err error) {
	shared = &Tree{}
	*shared = *t
	shared.Read, shared.Binds, shared.Tmpfs = nil, nil, nil
	for i := range t.Tmpfs {
		own = append(own, Own{Target: t.Tmpfs[i].Target, Tmpfs: &t.Tmpfs[i]})
	}
	for i := range t.Binds {
		if b := &t.Binds[i]; b.apart() {
			own = append(own, Own{Target: b.Target, Bind: b})
		}
	}
	within := func(target string) *Own {
		var nearest *Own
		for i := range own {
			if o := &own[i]; strings.HasPrefix(target, o.Target+"/") && (nearest == nil || len(o.Target) > len(nearest.Target)) {
				nearest = o
			}
		}
		return nearest
	}
	var more []Own
	for i := range t.Binds {
		b := &t.Binds[i]
		switch {
		case b.apart():
		case within(b.Target) != nil:
			more = append(more, Own{Target: b.Target, Bind: b})
		default:
			shared.Binds = append(shared.Binds, *b)
		}
	}
	for _, source := range t.Read {
		if within(source) != nil {
			more = append(more, Own{Target: source, Bind: &Bind{Source: source, Target: source, Recurse: true}})
			continue
		}
		shared.Read = append(shared.Read, source)
	}
	own = append(own, more...)
	depth := func(o Own) int { return strings.Count(path.Clean(o.Target), "/") }
	slices.SortStableFunc(own, func(x, y Own) int { return cmp.Compare(depth(x), depth(y)) })
	for i := range own {
		o := &own[i]
		if err := checkTarget(o.Target); err != nil {
			return nil, nil, &Error{o.Target, err}
		}
		above := within(o.Target)
		if above == nil {
			shared.points = append(shared.points, o.Target)
			continue
		}
		o.Loose = slices.ContainsFunc(own, func(x Own) bool {
			return x.Bind != nil && x.Bind.Writable && strings.HasPrefix(o.Target, x.Target+"/")
		})
		if above.Tmpfs != nil {
			for at := above.Target; at != o.Target; {
				next, _, _ := strings.Cut(strings.TrimPrefix(o.Target, at+"/"), "/")
				at += "/" + next
				o.Make = append(o.Make, at)
			}
		}
	}
	return shared, own, nil
}

// apart says whether no other box has it.
func (m *Bind) apart() bool { return m.Owner != nil || m.Writable || m.Apart }

// Own is a place that one box has of its own: a tree or a tmpfs.
type Own struct {
	Target string
	Bind   *Bind
	Tmpfs  *Tmpfs
	Make   []string // directories to make for it, in a tmpfs of the same box
	Loose  bool     // it lies in a tree that tools can write
}

// Mount gives flags and options of mount(2) for a tmpfs.
func (t *Tmpfs) Mount(toolUID, toolGID int) (flags uintptr, options string) {
	flags = unix.MS_NOSUID | unix.MS_NODEV
	if !t.Exec {
		flags |= unix.MS_NOEXEC
	}
	mode := "mode=1777"
	if t.Target != TmpDir && t.Target != ShmDir {
		mode = fmt.Sprintf("mode=0755,uid=%d,gid=%d", toolUID, toolGID)
	}
	return flags, fmt.Sprintf("size=%d,nr_inodes=%d,%s", t.Size, t.Files, mode)
}

// Detach opens a bind's source, once and without following links, and gives a
// mount of it that is attached nowhere, with its flags set but for the mapping
// to its owner, which only an overlay has: its tool's are the ids given. The
// caller closes it. The error is an *Error.
func (m *Bind) Detach(tool Owner) (tree int, err error) {
	fd, err := m.open()
	if err != nil {
		return -1, m.fail(err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, m.fail(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return -1, m.fail(errors.New("only a directory can be shown there"))
	}
	if m.Upper != nil {
		tree, err = m.Upper.Mount(fd, *m.Owner, tool)
	} else {
		tree, err = m.clone(fd)
	}
	if err != nil {
		return -1, m.fail(err)
	}
	return tree, nil
}

func (m *Bind) fail(err error) error {
	return &Error{m.Target, fmt.Errorf("%s: %w", m.Source, err)}
}

// open opens the source.
func (m *Bind) open() (int, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, m.Source, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, unix.ELOOP) {
		err = errors.New("a symbolic link is on the way; name the real path")
	}
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && m.Identity != (Identity{}) && m.Identity != (Identity{st.Dev, st.Ino}) {
		err = errors.New("another file is there now than when the call was planned")
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// clone gives a detached mount of what was opened. Nothing that is mounted in
// it on either side shows on the other.
func (m *Bind) clone(fd int) (int, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_EMPTY_PATH)
	if m.Recurse {
		flags |= unix.AT_RECURSIVE
	}
	tree, err := unix.OpenTree(fd, "", flags)
	if err != nil {
		return -1, fmt.Errorf("open_tree: %w", err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE}
	if !m.Writable {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if err := m.set(tree, &attr); err != nil {
		return -1, errors.Join(err, unix.Close(tree))
	}
	return tree, nil
}

func (m *Bind) set(tree int, attr *unix.MountAttr) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if m.Recurse {
		flags |= unix.AT_RECURSIVE
	}
	return unix.MountSetattr(tree, "", flags, attr)
}

// ExplainMapping says what a refused id mapping of a mount means.
func ExplainMapping(err error) error {
	if errors.Is(err, unix.EINVAL) {
		return errors.New("its file system does not support id-mapped mounts; use another one, a scratch workspace, or lower root.idmap")
	}
	return err
}

// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/rootfs"
)

// Requirement is something that layers need of the host.
type Requirement struct {
	Name string
	Err  error  // why it isn't there; nil: it is
	Do   string // what to do then; empty where that isn't known
}

// Check tells whether layers of a size can be made in a directory, and mounted
// over each of the workspaces. It tries: for a moment there is a layer in dir,
// and nothing is written to the workspaces. What needs something that is missing
// isn't tried.
func (m *Maker) Check(dir string, size Size, workspaces ...string) []Requirement {
	var all []Requirement
	whole := true
	add := func(name string, err error) {
		r := Requirement{Name: name, Err: err}
		var refusal *Refusal
		if errors.As(err, &refusal) {
			r.Err, r.Do = refusal.Err, refusal.Do
		}
		all = append(all, r)
		whole = whole && err == nil
	}
	for _, kind := range []string{"ext4", "overlay"} {
		c, err := newFscontext(kind)
		if err == nil {
			c.close()
		}
		add("the file system "+kind, err)
	}
	control, err := unix.Open(loopControl, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Close(control)
	} else {
		err = explainLoop(&os.PathError{Op: "open", Path: loopControl, Err: err})
	}
	add("loop devices", err)
	_, err = findMke2fs()
	add("mke2fs", err)
	add("room for a layer in "+dir, checkRoom(dir, size.Bytes))
	if whole {
		m.try(dir, size, workspaces, add)
	}
	return all
}

// try makes a layer and mounts it.
func (m *Maker) try(dir string, size Size, workspaces []string, add func(string, error)) {
	const made = "a layer over an empty directory"
	dir, err := os.MkdirTemp(dir, "check-*")
	if err != nil {
		add(made, err)
		return
	}
	below := filepath.Join(dir, "below")
	err = os.Mkdir(below, 0o700)
	var l *Layer
	if err == nil {
		l, err = m.Make(filepath.Join(dir, "layer.img"), size, rootfs.Owner{})
	}
	if err == nil {
		err = l.try(below)
	}
	add(made, err)
	if l != nil {
		for _, w := range workspaces {
			add("a layer over "+w, l.try(w))
		}
		err = l.Discard()
	}
	if err := errors.Join(err, os.RemoveAll(dir)); l != nil && err != nil {
		add("the end of a layer", err)
	}
}

// try mounts the layer over a directory, whose owner is some other tool in it.
func (l *Layer) try(lower string) error {
	fd, err := unix.Openat2(unix.AT_FDCWD, lower, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return &os.PathError{Op: "open", Path: lower, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	owner := rootfs.Owner{UID: int(st.Uid), GID: int(st.Gid)}
	tree, err := l.Mount(fd, owner, rootfs.Owner{UID: owner.UID ^ 1, GID: owner.GID ^ 1})
	if err != nil {
		return err
	}
	return unix.Close(tree)
}

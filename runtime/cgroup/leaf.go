// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Leaf is the control group of one sandbox. Its methods may be called from several goroutines, except that nothing
// but Delete and Kill may be called once Delete has returned nil.
type Leaf struct {
	host  Host
	name  string
	path  string   // from the root of every hierarchy
	dirs  []string // absolute, one in each hierarchy of the host, in its order
	usage *os.File // of cpuacct.usage or cpu.stat; nil if CPU time is not accounted
}

// leaf describes the leaf of that name, whether it exists or not.
func (p *Parent) leaf(name string) *Leaf {
	l := &Leaf{host: p.host, name: name, path: filepath.Join(p.path, name)}
	for _, t := range p.host.Hierarchies {
		l.dirs = append(l.dirs, filepath.Join(t.Mount, l.path))
	}
	return l
}

// Create makes an empty leaf with limits. The name is 1 to 128 letters, digits, dots, dashes and underscores, begins
// with a letter or digit, and is not in use: then the error is [os.ErrExist] and nothing was touched. On any other
// error what was made is removed again. A limit that could not be had is a [*LimitError].
func (p *Parent) Create(name string, limits Limits) (*Leaf, error) {
	if !leafName.MatchString(name) || name == supervisorGroup {
		return nil, fmt.Errorf("create control group: %q is not a name for one", name)
	}
	l := p.leaf(name)
	for i, dir := range l.dirs {
		if err := os.Mkdir(dir, 0o755); err != nil {
			l.dirs = l.dirs[:i]
			return nil, errors.Join(fmt.Errorf("create control group: %w", err), l.Delete())
		}
	}
	err := l.Limit(limits)
	if err == nil {
		err = l.openUsage()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create control group %s: %w", name, err), l.Delete())
	}
	return l, nil
}

// Name returns what [Parent.Create] was given.
func (l *Leaf) Name() string { return l.name }

// dir returns the leaf's directory in the hierarchy of c, and whether there is one.
func (l *Leaf) dir(c Controller) (string, bool) {
	root, ok := l.host.mount(c)
	return filepath.Join(root, l.path), ok && l.host.usable[c]
}

// deleteWait bounds how long Delete waits for dying processes to leave.
const deleteWait = 2 * time.Second

// Delete removes the leaf and all groups below it from every hierarchy, and closes what the Leaf holds open. Whatever is
// gone already is no error. It kills nobody: with living processes inside, the error says who, and Delete may be called
// again. Processes that were killed a moment ago are waited for, up to two seconds.
func (l *Leaf) Delete() error {
	ctx, cancel := context.WithTimeout(context.Background(), deleteWait)
	defer cancel()
	return l.delete(ctx)
}

// delete is Delete that waits no longer than ctx.
func (l *Leaf) delete(ctx context.Context) error {
	var errs []error
	for _, dir := range l.dirs {
		errs = append(errs, removeGroup(ctx, dir))
	}
	if err := errors.Join(errs...); err != nil {
		if pids, _ := processes(l.dirs); len(pids) > 0 {
			err = fmt.Errorf("%w; still inside: %s", err, describe(pids))
		}
		return fmt.Errorf("delete control group %s: %w", l.name, err)
	}
	if l.usage != nil {
		l.usage.Close()
		l.usage = nil
	}
	return nil
}

// remove kills and deletes the leaf, if any of its directories exists.
func (l *Leaf) remove(ctx context.Context) error {
	if !slices.ContainsFunc(l.dirs, func(dir string) bool {
		_, err := os.Lstat(dir)
		return !errors.Is(err, fs.ErrNotExist)
	}) {
		return nil
	}
	if err := l.Kill(ctx); err != nil {
		return err
	}
	return l.delete(ctx)
}

// removeGroup removes the group dir with all below it, and tries again while the kernel calls it busy. A group stays busy for
// a moment after its last process has died; v1 has no event for the end of that moment, so it is polled for.
func removeGroup(ctx context.Context, dir string) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := unix.Rmdir(dir) // nearly always all there is to do
		if errors.Is(err, unix.EBUSY) {
			err = removeTree(dir)
		}
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return &os.PathError{Op: "rmdir", Path: dir, Err: err}
		}
		select {
		case <-ctx.Done():
			return &os.PathError{Op: "rmdir", Path: dir, Err: err}
		case <-time.After(pause):
		}
	}
}

// removeTree tries once to remove dir with all groups below it, children first.
func removeTree(dir string) error {
	tree, err := groups(dir)
	if err != nil {
		return err
	}
	for _, g := range tree {
		if err := unix.Rmdir(g); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}

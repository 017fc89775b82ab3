// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrDeleted is what a Leaf answers once Delete has returned nil, or after Release: the group's name may be somebody
// else's by then.
var ErrDeleted = errors.New("the control group was deleted or given up")

// ErrKilled is what Freeze answers while the leaf is being killed.
var ErrKilled = errors.New("the control group is being killed")

// Leaf is the control group of one sandbox. Its methods may be called from several goroutines. Once Delete has returned
// nil, Delete and Kill have nothing to do and the others answer [ErrDeleted].
type Leaf struct {
	parent *Parent
	host   Host // as this leaf sees it
	name   string
	path   string   // from the root of every hierarchy
	dirs   []string // absolute, one in each hierarchy of the host, in its order
	box    bool     // made by CreateBox

	mu      sync.RWMutex // held by Delete, and for reading by whoever relies on the group being this leaf's
	deleted bool         // mu
	usage   *os.File     // mu; of cpuacct.usage or cpu.stat; nil if CPU time is not accounted
	oom     *os.File     // mu; v1: of memory.oom_control; nil if memory is not accounted

	steady     sync.Mutex     // held by Freeze and Thaw, each to its end
	freezing   sync.Mutex     // held for one writing of the frozen state
	kills      int            // freezing; how many Kill are at work
	freezes    map[int]func() // freezing; what ends each Freeze that is at work
	lastFreeze int            // freezing
}

// enter keeps Delete out until leave.
func (l *Leaf) enter() error {
	l.mu.RLock()
	if l.deleted {
		l.mu.RUnlock()
		return fmt.Errorf("%s: %w", l.name, ErrDeleted)
	}
	return nil
}

func (l *Leaf) leave() { l.mu.RUnlock() }

// leaf describes the leaf of that name, whether it exists or not, in every hierarchy that it may live in.
func (p *Parent) leaf(name string) *Leaf { return p.leafOn(p.host, name) }

// leafOn is leaf on the host as that leaf sees it.
func (p *Parent) leafOn(h Host, name string) *Leaf {
	l := &Leaf{parent: p, host: h, name: name, path: p.path + "/" + name, dirs: make([]string, len(h.Hierarchies))}
	for i, t := range h.Hierarchies {
		l.dirs[i] = t.Mount + l.path
	}
	return l
}

// Find returns the existing leaf of that name, in this parent or in one that a predecessor left: whoever holds the name
// takes the leaf over. If there is none the error is [os.ErrNotExist].
func (p *Parent) Find(name string) (*Leaf, error) {
	if !plainName(name) || name == supervisorGroup {
		return nil, fmt.Errorf("find control group: %q is not a name for one", name)
	}
	for _, one := range p.family() {
		l := one.leaf(name)
		switch {
		case !l.exists():
			continue
		case !l.whole(): // maybe it need not live everywhere
			if box := one.leafOn(one.boxes, name); box.whole() {
				l = box
				l.box = true
			}
		}
		if err := l.openUsage(); err != nil {
			return nil, fmt.Errorf("find control group %s: %w", name, err)
		}
		return l, nil
	}
	return nil, fmt.Errorf("find control group %s: %w", name, os.ErrNotExist)
}

// whole reports whether every directory of the leaf exists.
func (l *Leaf) whole() bool {
	return !slices.ContainsFunc(l.dirs, func(dir string) bool {
		var st unix.Stat_t
		return unix.Stat(dir, &st) != nil
	})
}

// exists reports whether any directory of the leaf does.
func (l *Leaf) exists() bool {
	return slices.ContainsFunc(l.dirs, func(dir string) bool {
		_, err := os.Lstat(dir)
		return !errors.Is(err, fs.ErrNotExist)
	})
}

// Create makes an empty leaf with limits. The name is 1 to 128 letters, digits, dots, dashes and underscores, begins
// with a letter or digit, and is not in use: then the error is [os.ErrExist] and nothing was touched. On any other
// error what was made is removed again. A limit that could not be had is a [*LimitError].
func (p *Parent) Create(name string, limits Limits) (*Leaf, error) {
	return p.create(p.leaf(name), limits)
}

// CreateBox is Create at a third of the price, for a leaf that processes enter by [Leaf.Entrance] and that libcontainer never
// hears of. It lives only in the hierarchies that its limits, statistics, freezing and killing need, and its processes are
// bound by the device rules of [Leaf.RestrictDevices] from the moment they enter. On v1 these rules are those of one group that
// all such leaves of a parent have in common, as they have one in the hierarchy of systemd where that runs.
func (p *Parent) CreateBox(name string, limits Limits) (*Leaf, error) {
	l := p.leafOn(p.boxes, name)
	l.box = true
	return p.create(l, limits)
}

// create makes the leaf.
func (p *Parent) create(l *Leaf, limits Limits) (*Leaf, error) {
	if !plainName(l.name) || l.name == supervisorGroup {
		return nil, fmt.Errorf("create control group: %q is not a name for one", l.name)
	}
	for i, dir := range l.dirs {
		if err := unix.Mkdir(dir, 0o755); err != nil {
			l.dirs = l.dirs[:i]
			return nil, errors.Join(fmt.Errorf("create control group: %w", &os.PathError{Op: "mkdir", Path: dir, Err: err}), l.Delete())
		}
	}
	err := l.limit(limits)
	if err == nil && l.box && !p.sharesDevices() {
		err = l.restrictDevices()
	}
	if err == nil {
		err = l.openUsage()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create control group %s: %w", l.name, err), l.Delete())
	}
	return l, nil
}

// Name returns what [Parent.Create] was given.
func (l *Leaf) Name() string { return l.name }

// dir returns the leaf's directory in the hierarchy of c, and whether there is one.
func (l *Leaf) dir(c Controller) (string, bool) {
	root, ok := l.host.mount(c)
	return root + l.path, ok && l.host.usable[c]
}

// deleteWait bounds how long Delete waits for dying processes to leave.
const deleteWait = 2 * time.Second

// Delete removes the leaf and all groups below it from every hierarchy, and closes what the Leaf holds open. Whatever is
// gone already is no error. It kills nobody: with living processes inside, the error says who, and Delete may be called
// again. Processes that were killed a moment ago are waited for, up to two seconds, and so is a Freeze that is under way.
func (l *Leaf) Delete() error {
	ctx, cancel := context.WithTimeout(context.Background(), deleteWait)
	defer cancel()
	return l.delete(ctx)
}

// delete is Delete that waits no longer than ctx.
func (l *Leaf) delete(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deleted {
		return nil
	}
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
	l.close()
	return nil
}

// close gives up what the Leaf holds open. The caller holds mu.
func (l *Leaf) close() {
	for _, f := range []**os.File{&l.usage, &l.oom} {
		if *f != nil {
			(*f).Close()
			*f = nil
		}
	}
	l.deleted = true
}

// Release closes what the Leaf holds open and leaves the group as it is, for whoever finds it next. Afterwards it is to the
// Leaf as if Delete had removed it.
func (l *Leaf) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.close()
}

// Remove is [Leaf.Kill] and [Leaf.Delete], and when nobody is inside only the latter: the kernel removes no group that has
// a process, in whichever hierarchy, so trying is how to ask.
func (l *Leaf) Remove(ctx context.Context) error {
	if l.removeEmpty() {
		return nil
	}
	if err := l.Kill(ctx); err != nil {
		return err
	}
	return l.delete(ctx)
}

// removeEmpty removes directories up to the first that can't be, and reports whether that were all.
func (l *Leaf) removeEmpty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deleted {
		return true
	}
	for _, dir := range l.dirs {
		if err := unix.Rmdir(dir); err != nil && err != unix.ENOENT {
			return false
		}
	}
	l.close()
	return true
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

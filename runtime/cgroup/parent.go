// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// plainName reports whether a leaf, or one part of a parent's path, may be called that: 1 to 128 letters, digits, dots,
// dashes and underscores, of which the first is a letter or digit.
func plainName(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case i > 0 && (c == '.' || c == '-' || c == '_'):
		default:
			return false
		}
	}
	return 1 <= len(name) && len(name) <= 128
}

// plainPath reports whether a parent may be at path: "/" and a plainName, any number of times.
func plainPath(path string) bool {
	parts := strings.Split(path, "/")
	return len(parts) > 1 && parts[0] == "" && !slices.ContainsFunc(parts[1:], func(part string) bool { return !plainName(part) })
}

// Parent is the group in which leaves live. Its methods may be called from several goroutines.
type Parent struct {
	host Host
	path string // from the root of every hierarchy
	unit bool   // path is a unit of systemd
	held bool   // and it outlives this process

	boxes  Host      // as leaves of CreateBox see it
	shared []sharing // the groups that those have in common
	bells  *bells    // the parents of one family have the same

	mu    sync.Mutex
	made  []string         // mu; absolute directories that this Parent made, parents first
	stuck map[string]error // mu; leaves that could not be removed
}

// OpenParent makes ready the group at path ("/clawsup.slice", from the root of every hierarchy) and returns it. On v1 that
// is a directory in each hierarchy. On v2 controllers must also be handed down from the root, which the kernel refuses
// for a group that has both processes and controllers for its children: then the error says which group and who is in it.
// Where systemd owns a v2 tree, the parent is a delegated scope below path and holds this process from then on.
func OpenParent(h Host, path string) (*Parent, error) {
	if !plainPath(path) {
		return nil, fmt.Errorf("open control group %q: the path must begin with / and have plain names", path)
	}
	if h.Version == V2 && h.Systemd {
		return openScope(h, path)
	}
	p := &Parent{host: h, path: path, bells: &bells{}}
	err := p.checkNames()
	for _, t := range h.Hierarchies {
		if err == nil {
			err = p.open(t)
		}
	}
	if err == nil {
		err = p.openBoxes()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open control group %s: %w", path, err), p.Close())
	}
	return p, nil
}

// checkNames makes sure that v1 controllers are found by their names beside each other, as the library expects it. A
// hierarchy of several controllers has links of their names there ("cpu" to "cpu,cpuacct").
func (p *Parent) checkNames() error {
	for _, t := range p.host.Hierarchies {
		for _, c := range t.Controllers {
			if strings.HasPrefix(c, "name=") {
				continue
			}
			var mount, link unix.Stat_t
			alias := filepath.Join(filepath.Dir(t.Mount), c)
			if err := unix.Stat(t.Mount, &mount); err != nil {
				return &os.PathError{Op: "stat", Path: t.Mount, Err: err}
			}
			if err := unix.Stat(alias, &link); err != nil || link.Dev != mount.Dev {
				return fmt.Errorf("controller %s is mounted at %s and %s does not lead there: make a symbolic link", c, t.Mount, alias)
			}
		}
	}
	return nil
}

// open makes the parent's directories in one hierarchy, from the root downwards.
func (p *Parent) open(t Hierarchy) error {
	dir := t.Mount
	for name := range strings.SplitSeq(p.path[1:], "/") {
		if t.Unified && p.host.Version == V2 {
			if err := p.handDown(dir); err != nil {
				return err
			}
		}
		above := dir
		dir = filepath.Join(dir, name)
		switch err := os.Mkdir(dir, 0o755); {
		case err == nil:
			p.made = append(p.made, dir)
		case !errors.Is(err, os.ErrExist):
			return err
		}
		if slices.Contains(t.Controllers, "cpuset") {
			if err := inheritCpuset(above, dir); err != nil {
				return err
			}
		}
	}
	if t.Unified && p.host.Version == V2 {
		return p.handDown(dir)
	}
	return nil
}

// inheritCpuset gives a v1 cpuset group the processors and memory nodes of the one above it, and has the kernel do so for
// the groups that will be made in it. Without any, no process can enter (cpuset(7)).
func inheritCpuset(above, dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		have, err := read(dir, name)
		if err != nil {
			return err
		}
		if have != "" {
			continue
		}
		give, err := read(above, name)
		if err != nil {
			return err
		}
		if err := write(dir, name, give); err != nil {
			return err
		}
	}
	return write(dir, "cgroup.clone_children", "1")
}

// handDown enables the host's controllers for the children of the v2 group dir.
func (p *Parent) handDown(dir string) error {
	offered, err := read(dir, "cgroup.controllers")
	if err != nil {
		return err
	}
	have, err := read(dir, "cgroup.subtree_control")
	if err != nil {
		return err
	}
	for _, c := range []Controller{Memory, Pids, CPU, IO} {
		name := c.String()
		if !p.host.usable[c] || slices.Contains(strings.Fields(have), name) {
			continue
		}
		if !slices.Contains(strings.Fields(offered), name) {
			return fmt.Errorf("%s is not offered %s: it must be in cgroup.subtree_control of the group above", dir, name)
		}
		err := write(dir, "cgroup.subtree_control", "+"+name)
		if errors.Is(err, unix.EBUSY) {
			pids, _ := members(dir)
			return fmt.Errorf("%s can't hand %s down, since processes may not live beside groups that have controllers: move away %s: %w",
				dir, name, describe(pids), err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Sweep kills and deletes every leaf that keep does not want, in whichever hierarchies it exists, so that also half of one
// goes away. On a v2 host with systemd it also looks through the scopes of predecessors that no longer run. Leaves are
// tried side by side, each for as long as wait; one that is still there then is no error of Sweep, and [Parent.Stuck]
// says why. Sweep must not run beside a Create whose name keep does not know yet.
func (p *Parent) Sweep(ctx context.Context, wait time.Duration, keep func(name string) bool) error {
	parents := p.family()
	names := map[string]bool{}
	for name := range p.Stuck() { // it may be gone by now
		names[name] = true
	}
	for _, t := range p.host.Hierarchies {
		for _, one := range parents {
			entries, err := os.ReadDir(filepath.Join(t.Mount, one.path))
			if err != nil && !gone(err) {
				return fmt.Errorf("sweep control groups: %w", err)
			}
			for _, e := range entries {
				if e.IsDir() && e.Name() != supervisorGroup && plainName(e.Name()) {
					names[e.Name()] = true
				}
			}
		}
	}
	var all sync.WaitGroup
	turns := make(chan struct{}, sweepers)
	for name := range names {
		if keep(name) {
			p.note(name, nil)
			continue
		}
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			ctx, cancel := context.WithTimeout(ctx, wait)
			defer cancel()
			_ = p.remove(ctx, parents, name) // Stuck has it
		})
	}
	all.Wait()
	return nil
}

// sweepers is how many leaves are swept at once: a stuck one must not hold up the rest, and each may need killBatch
// descriptors.
const sweepers = 16

// Remove kills and deletes the leaf of that name as Sweep does, if there is one or a part of one. If that is not done
// when the context ends, the error says why, and so does [Parent.Stuck] until a later Remove or Sweep gets it done.
// Nobody else may be using that name.
func (p *Parent) Remove(ctx context.Context, name string) error {
	if !plainName(name) || name == supervisorGroup {
		return fmt.Errorf("remove control group: %q is not a name for one", name)
	}
	return p.remove(ctx, p.family(), name)
}

// remove is Remove from each of parents.
func (p *Parent) remove(ctx context.Context, parents []*Parent, name string) error {
	var errs []error
	for _, one := range parents {
		errs = append(errs, one.leaf(name).Remove(ctx))
	}
	err := errors.Join(errs...)
	p.note(name, err)
	return err
}

// note remembers why a leaf is stuck, or with nil that it is not, or not this process's concern any more.
func (p *Parent) note(name string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		delete(p.stuck, name)
		return
	}
	if p.stuck == nil {
		p.stuck = map[string]error{}
	}
	p.stuck[name] = err
}

// Stuck tells which leaves Sweep and Remove could not remove, and why: most often a process that waits for a disk or a
// network file system and can't be killed until that answers. It returns a copy.
func (p *Parent) Stuck() map[string]error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.stuck)
}

// family is this parent and those that predecessors have left.
func (p *Parent) family() []*Parent {
	all := []*Parent{p}
	if p.unit {
		all = append(all, p.predecessors()...)
	}
	return all
}

// Holds reports whether one line of /proc/PID/cgroup, its path, lies in a leaf of this parent, or of one in the same slice
// where the parent is a scope, whose name is accepted by leaf.
func (p *Parent) Holds(path string, leaf func(name string) bool) bool {
	path = strings.TrimSuffix(path, " (deleted)") // v2's, of a group that was removed (cgroup-v2.rst)
	above := p.path
	if p.unit {
		above = filepath.Dir(p.path)
	}
	rest, ok := strings.CutPrefix(path, above+"/")
	if !ok {
		return false
	}
	if p.unit {
		var unit string
		unit, rest, _ = strings.Cut(rest, "/")
		if !p.sibling(unit) {
			return false
		}
	}
	name, _, _ := strings.Cut(rest, "/")
	return leaf(name)
}

// Close removes the parent where OpenParent made it and nothing is left in it. A scope is systemd's to remove, which it
// does once the last process has left it; one that is held is left by its holder when it has no leaf any more.
func (p *Parent) Close() error {
	p.bells.close()
	if p.held {
		return p.release()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	dirs := slices.Clone(p.made)
	for _, s := range p.shared { // also of one that a killed predecessor made
		dirs = append(dirs, s.dir)
	}
	for _, dir := range slices.Backward(dirs) {
		err := unix.Rmdir(dir)
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EBUSY) {
			errs = append(errs, &os.PathError{Op: "rmdir", Path: dir, Err: err})
		}
	}
	return errors.Join(errs...)
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/changes"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// changeProfile is the profile of calls that change a workspace. But for the
// mode all have the same; nobody is asked, and no limit is reached.
const changeProfile = `extends = "build"
[workspace]
mode = %q
[limits]
file_size = "4G"
disk_read = "1T"
disk_write = "1T"
[effects]
fs_create = "allow"
fs_modify = "allow"
fs_delete = "allow"
fs_many = 1000000
`

// changeModes are the modes of a workspace that are compared.
var changeModes = map[string]string{
	"ro":      "all layers; the workspace is only read",
	"rw":      "all layers; written through at once, nothing taken back",
	"overlay": "all layers; a change set, committed to the disk when it returns",
}

// change is work in a workspace: on the host, and as calls in several modes.
type change struct {
	name    string
	needs   string // a program
	quick   bool   // also with -quick
	modes   []string
	make    func(dir string) error // what several calls share: its result is in dir
	shared  string                 // of dir, the workspace of all calls; empty: each has one of its own
	fill    func(from, dir string) error
	command string // of a shell that is in the workspace; $1 is its cache
	writes  bool   // so that it can be compared with the same on the disk
	bulky   bool   // many bytes
	rounds  int
}

var gitChange = change{needs: "/usr/bin/git", modes: []string{"ro", "rw", "overlay"}, make: makeOwnedRepository, shared: "repository", rounds: 15}

// someChanges are those that are measured. The package tree is npm's where there
// is an npm.
func someChanges() []change {
	writing := []string{"rw", "overlay"}
	status, minimal := gitChange, gitChange
	status.name, status.command = "git status, 20,000 files, by mode", "git -c safe.directory='*' --no-optional-locks status --short"
	minimal.name, minimal.command = "git status, 20,000 files, core.checkStat=minimal, by mode", "git -c safe.directory='*' -c core.checkStat=minimal --no-optional-locks status --short"
	tree := change{
		name: fmt.Sprintf("npm install, offline, %d packages of %d files", treePackages, treeFiles), needs: "/usr/bin/npm",
		command: `npm install --offline --ignore-scripts --no-audit --no-fund --no-update-notifier --logs-max=0 --loglevel=error --cache="$1"`,
	}
	if _, err := os.Stat(tree.needs); err != nil {
		tree.name, tree.needs = fmt.Sprintf("unpacking %d packages of %d files", treePackages, treeFiles), "/usr/bin/tar"
		tree.command = `for p in tarballs/*; do d=node_modules/${p##*/}; mkdir -p "$d"; tar -xzf "$p" -C "$d" --strip-components=1; done`
	}
	tree.modes, tree.make, tree.writes, tree.rounds = writing, makeTarballs, true, 5
	tree.fill = func(from, dir string) error { return os.CopyFS(dir, os.DirFS(from)) }
	return []change{
		{name: manyFiles, needs: "/usr/bin/split", quick: true, modes: writing, command: newFiles(10_000), writes: true, rounds: 6},
		{name: "a file of 256 MB", needs: "/usr/bin/head", modes: writing, command: newBytes(256 << 20), writes: true, bulky: true, rounds: 6},
		tree, status, minimal,
	}
}

// Names of races that promises are about.
const (
	manyFiles  = "10,000 new files of 400 bytes"
	threeFiles = "a call that creates, modifies and deletes a file"
)

func newFiles(n int) string {
	return fmt.Sprintf("head -c %d /dev/zero | split -b 400 -a 6 -d - file", 400*n)
}

func newBytes(n int) string { return fmt.Sprintf("head -c %d /dev/zero >file", n) }

// inWorkspace asks for a shell command in a workspace.
func inWorkspace(profile, dir, command string) api.Submit {
	return api.Submit{Args: raw.Of([]string{"/bin/sh", "-ec", command, "sh", "/tmp/cache"}), Profile: profile, Workspace: raw.String(dir)}
}

// onHost is the same command without anything around it.
func onHost(dir, command string) []string {
	return []string{"/bin/sh", "-ec", "cd '" + dir + "'; " + command, "sh", dir + "/../cache"}
}

// changes is what change sets cost.
func (b *bench) changes(ctx context.Context) (err error) {
	s, err := newSite(b.dir, b.programs, "")
	if err != nil {
		return err
	}
	for mode := range changeModes {
		if err := s.profile(mode, fmt.Sprintf(changeProfile, mode)); err != nil {
			return err
		}
	}
	if err := s.up(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.down()) }()
	dir := filepath.Join(b.dir, "changes")
	for i, c := range someChanges() {
		if b.options.quick && !c.quick {
			continue
		}
		if err := b.change(ctx, s, c, filepath.Join(dir, strconv.Itoa(i))); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	if err := errors.Join(b.wide(ctx, s, dir), b.large(ctx, s, dir)); err != nil || b.options.quick {
		return err
	}
	return b.deletion(ctx, s, dir)
}

// change does one of them.
func (b *bench) change(ctx context.Context, s *site, c change, dir string) error {
	if _, err := os.Stat(c.needs); err != nil {
		b.report.Absent = append(b.report.Absent, fmt.Sprintf("%s: %s is not installed", c.name, c.needs))
		return nil
	}
	made := filepath.Join(dir, "made")
	if err := os.MkdirAll(made, 0o755); err != nil {
		return err
	}
	if c.make != nil {
		if err := c.make(made); err != nil {
			return err
		}
	}
	add := func(list []contestant, name, gives, command string) []contestant {
		k := contestant{name: name, gives: gives}
		own := fresh{dir: filepath.Join(dir, strconv.Itoa(len(list))), heap: !c.bulky}
		at, spawned := own.path, own.spawned()
		if c.shared != "" {
			spawned = filepath.Join(made, c.shared)
			at = func(int) string { return spawned }
		} else {
			if c.fill != nil {
				own.fill = func(dir string) error { return c.fill(made, dir) }
			}
			k.before = own.before
		}
		if _, call := changeModes[name]; call {
			submit := func(n int) api.Submit { return inWorkspace(name, at(n), command) }
			k.dial, k.server = func() (asker, error) { return s.follower(submit) }, s.meter()
		} else {
			k.argv = onHost(spawned, command)
		}
		return append(list, k)
	}
	list := add(nil, unit, "nothing; written to memory", c.command)
	if c.writes && !b.options.quick {
		list = add(list, "synced", "nothing; the disk has it when it returns", c.command+"; sync -f .")
	} else {
		list[0].gives = "nothing"
	}
	for _, mode := range c.modes {
		list = add(list, mode, changeModes[mode], c.command)
	}
	return b.race(ctx, c.name, list, length{rounds: c.rounds, block: 1, rest: 20 * time.Millisecond, most: 2 * time.Minute})
}

// leastRounds are measured even with -quick, if there is time.
const leastRounds = 3

// share is how often something is done in this run that is done so often in a
// whole one.
func (b *bench) share(times int) int { return max(1, times*b.size.rounds/whole.rounds) }

// race has contestants take turns, and reports them with their stages.
func (b *bench) race(ctx context.Context, name string, list []contestant, size length) error {
	for i := range list {
		if err := list[i].try(b.spawner); err != nil {
			return err
		}
		defer list[i].close()
	}
	unix.Sync() // what was made for them is no commit's to wait for
	size.rounds = max(leastRounds, b.share(size.rounds))
	if b.options.quick {
		size.most = min(size.most, 6*time.Second)
	}
	rounds, noisy, err := measure(ctx, b.spawner, list, size)
	if err != nil {
		return err
	}
	b.report.Races = append(b.report.Races, newRace(name, list, rounds, noisy, size))
	b.report.Stages = append(b.report.Stages, stagesOf(name, list, rounds)...)
	b.report.raced[name] = rounds
	return nil
}

// touchThree creates, modifies and deletes a file: the one that the call before
// it created.
const touchThree = "cd at; rm new-*; echo line >>kept; echo new >new-" + callNumber

// An overlay workspace with few files, and one with many.
const (
	fewFiles, fewFilesName   = 1_000, "overlay, 1,000 files"
	wideFiles, wideFilesName = 200_000, "overlay, 200,000 files"
)

// wide is the same small change in a small workspace and in a large one.
func (b *bench) wide(ctx context.Context, s *site, dir string) error {
	dir = filepath.Join(dir, "wide")
	place := func(name string, files int) (string, error) {
		at := filepath.Join(dir, name)
		return at, makeWide(at, files)
	}
	var list []contestant
	host, err := place(unit, fewFiles)
	if err != nil {
		return err
	}
	list = append(list, contestant{name: unit, gives: "nothing", argv: onHost(host, touchThree)})
	add := func(name, mode string, files int) error {
		at, err := place(strconv.Itoa(len(list)), files)
		submit := func(n int) api.Submit {
			return inWorkspace(mode, at, strings.ReplaceAll(touchThree, callNumber, strconv.Itoa(n)))
		}
		list = append(list, contestant{name: name, gives: changeModes[mode], server: s.meter(),
			dial: func() (asker, error) { return s.follower(submit) }})
		return err
	}
	err = errors.Join(add("rw", "rw", fewFiles), add(fewFilesName, "overlay", fewFiles), add(wideFilesName, "overlay", wideFiles))
	if err != nil {
		return err
	}
	return b.race(ctx, threeFiles, list, length{rounds: 40, block: 3, rest: 20 * time.Millisecond, most: time.Minute})
}

// growing is a change of some size.
type growing struct {
	who     string
	command string
	entries int
	times   int  // that are measured in a whole run
	quick   bool // also with -quick
}

// largeChanges are what a change set's time is measured against.
var largeChanges = []growing{
	{"1 file", newFiles(1), 1, 40, true},
	{"100 files", newFiles(100), 100, 20, true},
	{"10,000 files", newFiles(10_000), 10_000, 5, false}, // a race of its own
	{"100,000 files", newFiles(100_000), 100_000, 2, false},
	{"a file of 256 MB", newBytes(256 << 20), 1, 5, true},
	{"a file of 1 GB", newBytes(1 << 30), 1, 3, false},
}

// large is changes of all sizes.
func (b *bench) large(ctx context.Context, s *site, dir string) error {
	for i, g := range largeChanges {
		if b.options.quick && !g.quick {
			continue
		}
		own := fresh{dir: filepath.Join(dir, "large", strconv.Itoa(i)), heap: g.entries > 1}
		f, err := s.follower(func(n int) api.Submit { return inWorkspace("overlay", own.path(n), g.command) })
		if err != nil {
			return err
		}
		var all []stages
		err = f.repeat(ctx, b.share(g.times), own.before, func() error {
			all = append(all, f.last)
			return nil
		})
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("%s: %w", g.who, err)
		}
		figures := newStages("what is created grows", g.who, all)
		if g.entries >= 100 {
			each := func(m middle) string { return short(float64(m.Median) / 1e3 / float64(g.entries)) }
			figures.Note = fmt.Sprintf("µs a file: %s to write, %s to list, %s to commit", each(figures.Tool), each(figures.List), each(figures.Commit))
		}
		b.report.Stages = append(b.report.Stages, figures)
	}
	return nil
}

// repeat asks for calls: one that doesn't count, and then so many of which each
// is told.
func (f *follower) repeat(ctx context.Context, times int, before func(n int) error, each func() error) error {
	for n := range times + 1 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := before(n); err != nil {
			return err
		}
		if err := f.call(n); err != nil {
			return err
		}
		if n == 0 {
			continue
		}
		if err := each(); err != nil {
			return err
		}
	}
	return nil
}

// deletion is a directory that goes to the trash, and comes back.
func (b *bench) deletion(ctx context.Context, s *site, dir string) error {
	const name, files = "a directory of 10,000 files is deleted, and that undone", 10_000
	dir = filepath.Join(dir, "deletion")
	if err := makeFlat(filepath.Join(dir, "folder"), files); err != nil {
		return err
	}
	if err := owned(dir); err != nil {
		return err
	}
	f, err := s.follower(func(int) api.Submit { return inWorkspace("overlay", dir, "rm -r folder") })
	if err != nil {
		return err
	}
	var deleted, undone []stages
	undo := func(count bool) error {
		began := time.Now()
		var c changes.Change
		if err := f.admin.Call(ctx, api.ChangesUndo, api.ChangesChoice{Changes: f.done.ID}, &c); err != nil {
			return err
		}
		took := time.Since(began)
		if count {
			undone = append(undone, stages{commit: took})
		}
		return committed(&c)
	}
	first := func(n int) error {
		if n == 1 { // what the call that doesn't count deleted
			return undo(false)
		}
		return nil
	}
	err = f.repeat(ctx, b.share(8), first, func() error {
		deleted = append(deleted, f.last)
		return undo(true)
	})
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if all, err := os.ReadDir(filepath.Join(dir, "folder")); err != nil || len(all) != files {
		return fmt.Errorf("%s: %d files are back: %w", name, len(all), err)
	}
	b.report.Stages = append(b.report.Stages, newStages(name, "deleted", deleted), newStages(name, "undone", undone))
	return nil
}

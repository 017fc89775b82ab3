// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/tree"
)

// Why says what a snapshot was made for.
type Why string

// The occasions.
const (
	Start   Why = "start"   // before a start
	Daily   Why = "daily"   // while it runs
	Restore Why = "restore" // what was there before another was put back
)

// Snapshot is a copy that is kept.
type Snapshot struct {
	Name  string    `json:"name"` // its time and why
	Time  time.Time `json:"time"`
	Why   Why       `json:"why"`
	Count Count     `json:"count"`
}

var nameForm = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}\.[0-9]{3}Z-(start|daily|restore)$`)

func nameOf(t time.Time, why Why) string {
	return t.UTC().Format("20060102T150405.000Z") + "-" + string(why)
}

// A snapshot is a directory with these two in it.
const (
	treeName  = "tree"
	aboutName = "about.json"
)

// Shelf is the directory of one agent's snapshots. One process uses it, and
// one goroutine at a time.
type Shelf struct {
	dir string
}

// OpenShelf makes the directory, for root alone, and removes what a crash left half.
func OpenShelf(dir string) (*Shelf, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &Shelf{dir}
	fd, err := openOwn(dir)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return s, tree.Each(fd, func(name string) error {
		if !strings.HasPrefix(name, ".") {
			return nil
		}
		return tree.Remove(context.Background(), fd, name)
	})
}

// openOwn opens a directory that is root's and that nobody else can write.
func openOwn(dir string) (int, error) {
	fd, err := openDir(dir, unix.O_RDONLY)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, errors.Join(&os.PathError{Op: "fstat", Path: dir, Err: err}, unix.Close(fd))
	}
	if st.Uid != 0 || st.Mode&0o022 != 0 {
		return -1, errors.Join(fmt.Errorf("%s must belong to root and be writable by nobody else", dir), unix.Close(fd))
	}
	return fd, nil
}

// openDir opens a directory by a path without symbolic links.
func openDir(dir string, flags int) (int, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, dir, &unix.OpenHow{
		Flags:   uint64(flags) | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return fd, nil
}

// List gives the snapshots, the newest first.
func (s *Shelf) List() ([]Snapshot, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var list []Snapshot
	for _, e := range slices.Backward(entries) { // sorted, and names begin with the time
		if !nameForm.MatchString(e.Name()) {
			continue
		}
		snap, err := s.about(e.Name())
		if err != nil {
			return nil, err
		}
		list = append(list, snap)
	}
	return list, nil
}

func (s *Shelf) about(name string) (Snapshot, error) {
	var snap Snapshot
	text, err := os.ReadFile(filepath.Join(s.dir, name, aboutName))
	if err == nil {
		err = json.Unmarshal(text, &snap)
	}
	if err != nil {
		return snap, fmt.Errorf("snapshot %s: %w", name, err)
	}
	snap.Name = name
	return snap, nil
}

// Draft is a copy that is not kept yet.
type Draft struct {
	shelf *Shelf
	name  string
	Count Count
}

// Copy copies the state directory. What runs in it is best stopped or frozen
// until Copy returns. Keep or Discard the draft.
func (s *Shelf) Copy(ctx context.Context, state string, bounds Bounds) (*Draft, error) {
	name, err := os.MkdirTemp(s.dir, ".draft-") // 0700
	if err != nil {
		return nil, err
	}
	d := &Draft{shelf: s, name: filepath.Base(name)}
	d.Count, err = copyInto(ctx, state, name, bounds)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("copy %s: %w", state, err), d.Discard())
	}
	return d, nil
}

// copyInto copies the tree at the path from to the new directory tree in the
// path to, a directory of root's that nobody else can get into.
func copyInto(ctx context.Context, from, to string, bounds Bounds) (Count, error) {
	source, err := openDir(from, unix.O_PATH)
	if err != nil {
		return Count{}, err
	}
	defer unix.Close(source)
	root := filepath.Join(to, treeName)
	if err := os.Mkdir(root, 0o700); err != nil {
		return Count{}, err
	}
	target, err := openDir(root, unix.O_RDONLY)
	if err != nil {
		return Count{}, err
	}
	defer unix.Close(target)
	return copyTree(ctx, source, target, bounds)
}

// Discard removes the draft.
func (d *Draft) Discard() error {
	return d.shelf.bury(d.name)
}

func (s *Shelf) bury(name string) error {
	fd, err := openOwn(s.dir)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return tree.Remove(context.Background(), fd, name)
}

// Keep syncs the draft and makes it a snapshot. On an error the draft is removed.
func (d *Draft) Keep(why Why, now time.Time) (Snapshot, error) {
	snap := Snapshot{Time: now.UTC().Truncate(time.Millisecond), Why: why, Count: d.Count}
	err := d.keep(&snap)
	if err != nil {
		err = errors.Join(fmt.Errorf("keep a snapshot: %w", err), d.Discard())
	}
	return snap, err
}

func (d *Draft) keep(snap *Snapshot) error {
	text, err := json.Marshal(snap)
	if err != nil {
		return err
	}
	dir := filepath.Join(d.shelf.dir, d.name)
	if err := os.WriteFile(filepath.Join(dir, aboutName), text, 0o600); err != nil {
		return err
	}
	fd, err := openOwn(d.shelf.dir)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Syncfs(fd); err != nil {
		return fmt.Errorf("syncfs: %w", err)
	}
	for {
		snap.Name = nameOf(snap.Time, snap.Why)
		err := unix.Renameat2(fd, d.name, fd, snap.Name, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EEXIST) {
			snap.Time = snap.Time.Add(time.Millisecond) // two in one
			continue
		}
		if err != nil {
			return fmt.Errorf("rename: %w", err)
		}
		return unix.Fsync(fd)
	}
}

// Prune removes the oldest snapshots beyond keep, but none of those named.
func (s *Shelf) Prune(keep int, spare ...string) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range entries {
		if nameForm.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	var errs []error
	for i, name := range names {
		if len(names)-i <= keep {
			break
		}
		if !slices.Contains(spare, name) {
			errs = append(errs, s.remove(name))
		}
	}
	return errors.Join(errs...)
}

// remove takes the name away first: there is no half snapshot.
func (s *Shelf) remove(name string) error {
	if err := os.Rename(filepath.Join(s.dir, name), filepath.Join(s.dir, ".old-"+name)); err != nil {
		return err
	}
	return s.bury(".old-" + name)
}

// unbounded is for what a person asked for.
var unbounded = Bounds{Entries: math.MaxInt}

// stagePrefix begins the name of the directory, beside a state directory, in
// which its successor is made.
const stagePrefix = ".clawsup-"

// Restore puts a snapshot in the place of the state directory, in which
// nothing runs, and gives the snapshot that it made of what was there.
func (s *Shelf) Restore(ctx context.Context, name, state string, now time.Time) (Snapshot, error) {
	fail := func(err error) (Snapshot, error) {
		return Snapshot{}, fmt.Errorf("restore %s: %w", state, err)
	}
	if !nameForm.MatchString(name) {
		return fail(fmt.Errorf("%q is no snapshot's name", name))
	}
	if _, err := s.about(name); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("there is no snapshot %s", name)
		}
		return fail(err)
	}
	parent, err := openOwn(filepath.Dir(state))
	if err != nil {
		return fail(err)
	}
	defer unix.Close(parent)
	draft, err := s.Copy(ctx, state, unbounded)
	if err != nil {
		return fail(err)
	}
	present, err := draft.Keep(Restore, now)
	if err != nil {
		return fail(err)
	}
	if err := s.exchange(ctx, parent, name, state); err != nil {
		return fail(err)
	}
	return present, nil
}

// exchange makes the successor beside the state directory and gives it its name.
func (s *Shelf) exchange(ctx context.Context, parent int, name, state string) (err error) {
	base := filepath.Base(state)
	stage := stagePrefix + base
	if err := Sweep(state); err != nil {
		return err
	}
	if err := unix.Mkdirat(parent, stage, 0o700); err != nil {
		return &os.PathError{Op: "mkdir", Path: stage, Err: err}
	}
	defer func() { err = errors.Join(err, tree.Remove(context.WithoutCancel(ctx), parent, stage)) }()
	if _, err := copyInto(ctx, filepath.Join(s.dir, name, treeName), filepath.Join(filepath.Dir(state), stage), unbounded); err != nil {
		return err
	}
	fd, err := unix.Openat2(parent, stage, tree.Beneath(unix.O_RDONLY|unix.O_DIRECTORY))
	if err != nil {
		return &os.PathError{Op: "open", Path: stage, Err: err}
	}
	defer unix.Close(fd)
	if err := unix.Syncfs(fd); err != nil {
		return fmt.Errorf("syncfs: %w", err)
	}
	err = unix.Renameat2(fd, treeName, parent, base, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.EBUSY) {
		return errors.New("something is mounted there, so that it can't be renamed; mount the directory above it instead")
	}
	if err != nil {
		return fmt.Errorf("exchange: %w", err)
	}
	return errors.Join(unix.Fsync(parent), unix.Fsync(fd))
}

// Sweep removes what a crash during Restore left beside a state directory.
func Sweep(state string) error {
	parent, err := openOwn(filepath.Dir(state))
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	err = tree.Remove(context.Background(), parent, stagePrefix+filepath.Base(state))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/overlay"
	"github.com/clawsup/clawsup/supervisor/record"
	"github.com/clawsup/clawsup/supervisor/tree"
)

// piece is a change set that this process has the lock of. One goroutine has
// it at a time, or the store, where nobody is at work on it but the layer is
// open or people are asked.
type piece struct {
	entry
	store *Store
	dir   string
	lock  *lock
	layer *overlay.Layer // nil: it is not open
	gone  bool           // it was removed
}

func (s *Store) path(id string) string { return filepath.Join(s.o.Dir, id) }

// create makes the directory of a change set, locked. Another process that
// opens the store may take what isn't locked yet for a dead one's: then it is
// made again.
func (s *Store) create(id string) (p *piece, err error) {
	for range 3 {
		if p, err = s.tryCreate(id); !errors.Is(err, os.ErrNotExist) && !errors.Is(err, errTaken) {
			break
		}
	}
	return p, err
}

func (s *Store) tryCreate(id string) (*piece, error) {
	p := &piece{store: s, dir: s.path(id)}
	// Under another name until it is locked: nobody else finds it half-made.
	half := filepath.Join(s.o.Dir, making+id)
	if err := os.Mkdir(half, 0o700); err != nil {
		return nil, err
	}
	d, err := unix.Open(half, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(d)
		if err = makeFIFO(d, lockName); err == nil {
			p.lock, err = try(d, lockName, alone)
		}
	}
	if err == nil {
		err = unix.Renameat2(unix.AT_FDCWD, half, unix.AT_FDCWD, p.dir, unix.RENAME_NOREPLACE)
	}
	if err != nil {
		if p.lock != nil {
			p.lock.release()
		}
		return nil, errors.Join(fmt.Errorf("change set %s: %w", id, err), os.RemoveAll(half))
	}
	return p, nil
}

// claim gives a change set to the caller, if nobody has it.
func (s *Store) claim(id string) (*piece, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	s.mu.Lock()
	p := s.parked[id]
	delete(s.parked, id)
	s.mu.Unlock()
	if p != nil {
		return p, nil
	}
	p = &piece{store: s, dir: s.path(id)}
	d, err := unix.Open(p.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, unknown(id, err)
	}
	defer unix.Close(d)
	if p.lock, err = try(d, lockName, alone); err != nil {
		return nil, unknown(id, err)
	}
	e, err := readEntry(p.dir)
	if err == nil && !p.still(d) { // it was removed, and another made
		err = os.ErrNotExist
	}
	if err != nil {
		p.lock.release()
		return nil, unknown(id, err)
	}
	p.entry = *e
	return p, nil
}

func unknown(id string, err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s: %w", id, ErrUnknown)
	}
	if errors.Is(err, errTaken) {
		return err
	}
	return fmt.Errorf("change set %s: %w", id, err)
}

// still says whether the piece's directory is the open one.
func (p *piece) still(dir int) bool {
	was, err := identity(dir)
	var st unix.Stat_t
	return err == nil && unix.Lstat(p.dir, &st) == nil && st.Ino == was.Ino && st.Dev == was.Dev
}

// take waits until nobody has a change set.
func (s *Store) take(ctx context.Context, id string) (*piece, error) {
	for {
		s.mu.Lock()
		parked := s.news
		s.mu.Unlock()
		p, err := s.claim(id)
		if !errors.Is(err, errTaken) {
			return p, err
		}
		if err := s.wait(ctx, id, parked); err != nil {
			return nil, err
		}
	}
}

// wait is for the end of whoever has a change set, or for this process to park one.
func (s *Store) wait(ctx context.Context, id string, parked <-chan struct{}) error {
	some, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-parked:
			cancel()
		case <-some.Done():
		}
	}()
	d, err := unix.Open(s.path(id), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return unknown(id, err)
	}
	defer unix.Close(d)
	err = free(some, d, lockName)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w: %w", id, ErrBusy, context.Cause(ctx))
	case errors.Is(err, context.Canceled):
		return nil
	}
	return err
}

// park leaves the piece to the store, locked and as it is.
func (p *piece) park() {
	s := p.store
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parked[p.ID] = p
	close(s.news)
	s.news = make(chan struct{})
}

// leave gives the piece up: to everybody where nothing of it is open.
func (p *piece) leave() error {
	if p.gone {
		return nil
	}
	if p.layer != nil || p.State == Asking {
		p.park()
		return nil
	}
	p.lock.release()
	return nil
}

// open opens the layer, if it isn't.
func (p *piece) open() error {
	if p.layer != nil {
		return nil
	}
	layer, err := p.store.o.Maker.Open(filepath.Join(p.dir, imageName))
	if err != nil {
		return fmt.Errorf("change set %s: its layer: %w", p.ID, err)
	}
	p.layer = layer
	return nil
}

// settle makes durable what is on the disk of an undecided change set.
func (p *piece) settle() error {
	var err error
	if p.layer != nil {
		err = p.layer.Close()
		p.layer = nil
	}
	if p.State == Held || p.State == Asking {
		err = errors.Join(err, syncFile(filepath.Join(p.dir, setName)))
	}
	return errors.Join(err, p.keep(p.dir))
}

func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// shut closes the layer, which nobody wrote to.
func (p *piece) shut() error {
	if p.layer == nil || p.gone {
		return nil
	}
	err := p.layer.Close()
	p.layer = nil
	return err
}

// drop throws the layer away.
func (p *piece) drop() error {
	if p.layer != nil {
		err := p.layer.Discard()
		p.layer = nil
		return err
	}
	if err := os.Remove(filepath.Join(p.dir, imageName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// remove removes the change set, as if it had never been.
func (p *piece) remove() error {
	err := p.drop()
	if p.Keep {
		err = errors.Join(err, p.store.unkeep(p))
	}
	if e := os.Rename(p.dir, p.store.path(going+p.ID)); e != nil {
		err = errors.Join(err, e)
	} else {
		err = errors.Join(err, p.store.clear(going+p.ID))
	}
	p.lock.release()
	p.gone = true
	return err
}

// clearLimit bounds how long one directory is being removed: in a trash, who
// had a directory open before may still make files. The next Open goes on.
const clearLimit = time.Minute

// clear removes a directory that nobody finds any more. In its trash are
// anybody's trees.
func (s *Store) clear(name string) error {
	d, err := os.Open(s.o.Dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), clearLimit)
	defer cancel()
	return errors.Join(tree.Remove(ctx, int(d.Fd()), name), d.Close())
}

// entries gives what is on the disk, the newest first. What begins, has just
// gone or can't be read is left out.
func (s *Store) entries() ([]*entry, error) {
	names, err := os.ReadDir(s.o.Dir)
	if err != nil {
		return nil, err
	}
	var list []*entry
	for _, n := range names {
		if !idForm.MatchString(n.Name()) || !n.IsDir() {
			continue
		}
		if e, err := readEntry(s.path(n.Name())); err == nil {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b *entry) int { return b.Created.Compare(a.Created) })
	return list, nil
}

// sweep removes what a killed process left half-written.
func (p *piece) sweep() error { return record.Sweep(p.dir) }

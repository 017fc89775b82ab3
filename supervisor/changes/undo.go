// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/clawsup/clawsup/supervisor/commit"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// ErrNoTrash says that a change set can't be undone.
var ErrNoTrash = errors.New("there is nothing that could be undone: it was not committed, or its trash was emptied")

// Undo makes the change set that takes back what was committed, held. The
// caller commits it, or discards it when it was only to be seen.
func (s *Store) Undo(ctx context.Context, id string, paths []raw.String, by string) (Change, error) {
	wait, cancel := s.bounded(ctx)
	defer cancel()
	p, err := s.take(wait, id)
	if err != nil {
		return Change{}, err
	}
	c, err := p.undo(ctx, paths, by)
	return c, errors.Join(err, p.leave())
}

// only makes a list of paths a function.
func only(paths []raw.String) func(path string) bool {
	if len(paths) == 0 {
		return nil
	}
	wanted := named(paths)
	return func(path string) bool { return covers(wanted, path) }
}

func (p *piece) undo(ctx context.Context, paths []raw.String, by string) (_ Change, err error) {
	s := p.store
	leave, err := p.heavily(ctx)
	if err != nil {
		return Change{}, err
	}
	defer leave()
	if p.State != Committed || !p.Trash {
		return Change{}, fmt.Errorf("change set %s: %w", p.ID, ErrNoTrash)
	}
	done, err := p.set(p.dir)
	if err != nil {
		return Change{}, err
	}
	if _, err := (&Choice{Only: paths}).refused(done); err != nil {
		return Change{}, err
	}
	root, err := openWorkspace(string(p.Workspace), p.Identity)
	if err != nil {
		return Change{}, err
	}
	defer root.Close()
	set, _, err := commit.Undo(ctx, filepath.Join(p.dir, commitName), root, only(paths))
	if err != nil {
		return Change{}, err
	}
	if len(set.Entries) == 0 {
		return Change{}, fmt.Errorf("change set %s: %w", p.ID, ErrNoTrash)
	}
	u, err := s.create(mint())
	if err != nil {
		return Change{}, err
	}
	now := s.o.Now()
	u.entry = entry{Paths: paths, Change: Change{
		ID: filepath.Base(u.dir), Calls: []string{}, Requester: by, Command: "clawsup undo " + p.ID, State: Writing,
		Workspace: p.Workspace, Identity: p.Identity, Owner: p.Owner, Created: now, Undoes: p.ID,
	}}
	if err := errors.Join(u.finish(set, "nobody has decided yet"), u.settle()); err != nil {
		return Change{}, errors.Join(err, u.remove())
	}
	c := u.fill(u.dir, s.o.Bounds())
	return c, u.leave()
}

// undoSource gives the content of what a change set brings back, and has the
// other locked until the end.
func (p *piece) undoSource(ctx context.Context, root *os.File) (commit.Source, func() error, error) {
	wait, cancel := p.store.bounded(ctx)
	defer cancel()
	old, err := p.store.take(wait, p.Undoes)
	if err != nil {
		return nil, nil, err
	}
	if old.State != Committed || !old.Trash {
		return nil, nil, errors.Join(fmt.Errorf("change set %s: %w", old.ID, ErrNoTrash), old.leave())
	}
	_, source, err := commit.Undo(ctx, filepath.Join(old.dir, commitName), root, only(p.Paths))
	if err != nil {
		return nil, nil, errors.Join(err, old.leave())
	}
	return source, old.leave, nil
}

// undid tells the change set that was undone.
func (p *piece) undid() error {
	if p.Undoes == "" {
		return nil
	}
	wait, cancel := p.store.bounded(context.Background())
	defer cancel()
	old, err := p.store.take(wait, p.Undoes)
	if errors.Is(err, ErrUnknown) {
		return nil
	}
	if err != nil {
		return err
	}
	if !slices.Contains(old.UndoneBy, p.ID) {
		old.UndoneBy = append(old.UndoneBy, p.ID)
		old.Trashed = trashed(old.dir)
		err = old.keep(old.dir)
	}
	return errors.Join(err, old.leave())
}

// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/overlay"
	"github.com/clawsup/clawsup/supervisor/commit"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// recover looks after what killed processes left. Nobody has its locks.
func (s *Store) recover(ctx context.Context) error {
	names, err := os.ReadDir(s.o.Dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		switch name := n.Name(); {
		case strings.HasPrefix(name, going):
			err = s.clear(name)
		case strings.HasPrefix(name, making):
			err = s.unheld(name, s.clear) // nobody makes it any more
		case n.IsDir() && idForm.MatchString(name):
			err = s.takeUp(ctx, name)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) { // of one that is stuck the others know nothing
			logrus.WithError(err).WithField("changes", visible.Text(n.Name())).Error("what a killed process left could not be looked after")
		}
	}
	return nil
}

// unheld does something with a directory that nobody is at work on: with its
// lock, or where it has none yet.
func (s *Store) unheld(name string, do func(name string) error) error {
	d, err := unix.Open(s.path(name), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(d)
	l, err := try(d, lockName, alone)
	if errors.Is(err, errTaken) {
		return nil
	}
	if err == nil {
		defer l.release()
	}
	return do(name)
}

// takeUp looks after one change set, unless somebody is at work on it.
func (s *Store) takeUp(ctx context.Context, id string) error {
	p, err := s.claim(id)
	switch {
	case errors.Is(err, errTaken):
		return nil
	case errors.Is(err, ErrUnknown):
		return s.unheld(id, s.bare)
	case err != nil:
		logrus.WithError(err).WithField("changes", visible.Text(id)).Error("the record of a change set can't be read; its directory is set aside as " + unread + id)
		return os.Rename(s.path(id), s.path(unread+id))
	}
	return errors.Join(p.takeUp(ctx), p.leave())
}

// bare is for a directory without a record: a call that was killed before it
// had begun.
func (s *Store) bare(id string) error {
	if _, err := os.Lstat(filepath.Join(s.path(id), recordName)); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return s.clear(id)
}

const cutOff = "the process that ran the call ended before the call did: what it wrote may be half of what it meant to"

func (p *piece) takeUp(ctx context.Context) error {
	if err := p.sweep(); err != nil {
		return err
	}
	if err := p.resume(ctx); err != nil {
		return err
	}
	switch {
	case p.State == Asking:
		return p.hold("who asked about it ended before there was an answer")
	case p.State.Over():
		return p.drop()
	case p.State == Writing && p.Working != "", p.State == Writing && !p.Keep:
		return p.rescue(ctx)
	}
	return nil
}

// rescue holds what a call wrote whose process was killed.
func (p *piece) rescue(ctx context.Context) error {
	ctx, cancel := p.store.bounded(ctx)
	defer cancel()
	if _, err := os.Lstat(filepath.Join(p.dir, imageName)); errors.Is(err, os.ErrNotExist) {
		return p.remove() // it had not begun
	}
	err := p.freeze(ctx, cutOff)
	switch {
	case errors.Is(err, ErrUnknown): // it had changed nothing
		return nil
	case errors.Is(err, overlay.ErrTorn):
		_, err := p.lose(err)
		return err
	case err != nil:
		return errors.Join(err, p.shut())
	}
	p.foresee()
	return p.settle()
}

// lose discards what can't be read any more.
func (p *piece) lose(why error) (Change, error) {
	p.become(Discarded, p.store.o.Now())
	p.By, p.Reason, p.Working = "the machine", clip(why.Error()), ""
	return p.Change, errors.Join(p.keep(p.dir), p.drop())
}

// resume finishes a commit that was cut off, or takes it back. After a power
// loss the record may not know of one: its journal does.
func (p *piece) resume(ctx context.Context) error {
	if _, err := os.Lstat(filepath.Join(p.dir, commitName)); p.State.Over() || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	p.By = cmp.Or(p.By, "the machine stopped before it was noted who")
	report, err := commit.Recover(ctx, filepath.Join(p.dir, commitName), func() (*os.File, error) {
		return openWorkspace(string(p.Workspace), p.Identity)
	})
	if err != nil {
		return err
	}
	if report == nil { // it had not come to a point from which it goes on
		p.Trying, p.By = false, ""
		return errors.Join(p.hold("a commit of it was cut off, and changed nothing"), p.store.clearCommit(p.dir))
	}
	err = p.applied(report)
	if errors.Is(err, ErrNothing) {
		return p.hold("it could not be committed: " + visible.Line(clip(err.Error())))
	}
	return err
}

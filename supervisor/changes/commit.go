// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/commit"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// ErrNothing says that nothing of a change set could be applied.
var ErrNothing = errors.New("nothing of it could be applied")

// Commit waits until no call is at work on the tree, for as long as the bounds
// say, and applies what was chosen. The rest is gone afterwards, unless nothing
// at all could be done: then it is held as before, and the error says why.
func (s *Store) Commit(ctx context.Context, id string, c Choice, by string) (Change, error) {
	wait, cancel := s.bounded(ctx)
	defer cancel()
	p, err := s.undecided(wait, id, "nobody has decided yet")
	if err != nil {
		return Change{}, err
	}
	err = p.commit(ctx, wait, c, by)
	if err != nil && !p.State.Over() {
		err = errors.Join(err, p.hold("it could not be committed: "+visible.Line(clip(err.Error()))))
	}
	done := p.fill(p.dir, s.o.Bounds())
	return done, errors.Join(err, p.leave())
}

// commit applies what was chosen. wait bounds only how long others are waited
// for.
func (p *piece) commit(ctx, wait context.Context, c Choice, by string) error {
	leave, err := p.heavily(ctx)
	if err != nil {
		return err
	}
	defer leave()
	set, err := p.set(p.dir)
	if err != nil {
		return err
	}
	order := commit.Order{Set: set, Owner: p.Owner, Dir: filepath.Join(p.dir, commitName)}
	if order.Refused, err = c.refused(set); err != nil {
		return err
	}
	if order.Root, err = openWorkspace(string(p.Workspace), p.Identity); err != nil {
		return err
	}
	defer order.Root.Close()
	line, err := lineage(order.Root)
	if err != nil {
		return err
	}
	gate, err := p.store.gates.commit(wait, line)
	if err != nil {
		return busy(wait, err)
	}
	defer gate.close()
	source, end, err := p.source(ctx, order.Root)
	if err != nil {
		return err
	}
	order.Source = source
	report, err := p.apply(ctx, order, by)
	p.warn("the content could not be closed", end())
	p.warn("the moment of a commit could not be noted", gate.mark())
	if err != nil {
		return err
	}
	return p.applied(report)
}

// warn is for what goes wrong beside a commit that is done.
func (p *piece) warn(what string, err error) {
	if err != nil {
		logrus.WithError(err).WithField("changes", p.ID).Warn(what)
	}
}

// source gives the content: the layer, or the trash of what is undone.
func (p *piece) source(ctx context.Context, root *os.File) (_ commit.Source, end func() error, err error) {
	if p.Undoes != "" {
		return p.undoSource(ctx, root)
	}
	if err := p.open(); err != nil {
		return nil, nil, err
	}
	dir, err := p.layer.Upper()
	if err != nil {
		return nil, nil, err
	}
	return upper{dir}, dir.Close, nil
}

// apply notes that a commit begins, and does it.
func (p *piece) apply(ctx context.Context, o commit.Order, by string) (*commit.Report, error) {
	p.Trying, p.By = true, by
	if err := p.note(p.dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	report, err := commit.Commit(ctx, o)
	if err == nil {
		return report, nil
	}
	// Nothing was applied. What it could not take back itself is tried again,
	// now or by the next Open.
	late, again := commit.Recover(context.WithoutCancel(ctx), o.Dir, func() (*os.File, error) {
		return openWorkspace(string(p.Workspace), p.Identity)
	})
	if again != nil {
		return nil, errors.Join(err, again)
	}
	if late != nil {
		return late, nil
	}
	p.Trying, p.By = false, ""
	return nil, errors.Join(err, p.store.clearCommit(p.dir))
}

// applied notes what came of a commit.
func (p *piece) applied(report *commit.Report) error {
	s := p.store
	p.Trying = false
	p.Report, p.Unlisted = shortened(report)
	if left := len(report.Refused) + len(report.Conflicts) + len(report.Failed); report.Applied == 0 && left > 0 {
		p.By = ""
		return errors.Join(fmt.Errorf("%w: %s", ErrNothing, why(report)), s.clearCommit(p.dir))
	}
	p.warn("the session will be asked about what it made itself: that could not be noted", p.learn())
	p.Trash, p.Trashed = report.Applied > 0, trashed(p.dir)
	p.become(Committed, s.o.Now())
	p.Reason = ""
	if err := p.keep(p.dir); err != nil {
		return err
	}
	p.warn("its layer could not be removed", p.drop())
	p.warn("what it undoes could not be told of it", p.undid())
	return nil
}

// why says in a word what kept a commit from everything.
func why(r *commit.Report) string {
	switch {
	case len(r.Conflicts) > 0:
		return fmt.Sprintf("%s: %s", visible.Quote(clip(string(r.Conflicts[0].Path))), r.Conflicts[0].Why)
	case len(r.Failed) > 0:
		return fmt.Sprintf("%s: %s", visible.Quote(clip(string(r.Failed[0].Path))), r.Failed[0].Why)
	}
	return "all was refused; discard it"
}

// mostReport bounds a report in a record, in bytes of paths and reasons.
const mostReport = 128 << 10

// shortened gives a report for a record, and how many entries of its lists
// were left out.
func shortened(r *commit.Report) (*commit.Report, int) {
	room, out := mostReport, 0
	cut := func(list []commit.Left) []commit.Left {
		for i, l := range list {
			if room -= 2*len(l.Path) + len(l.Why) + 64; room < 0 {
				out += len(list) - i
				return list[:i]
			}
		}
		return list
	}
	short := &commit.Report{Applied: r.Applied}
	short.Conflicts, short.Failed, short.Refused = cut(r.Conflicts), cut(r.Failed), cut(r.Refused)
	return short, out
}

// trashed is how much a commit's trash takes of the disk, as far as it can be
// told: a sparse file may be larger than all disks.
func trashed(dir string) int64 {
	list, err := commit.Trash(filepath.Join(dir, commitName))
	if err != nil {
		return 0
	}
	var size int64
	for _, t := range list {
		if !t.Gone {
			size += t.Size
		}
	}
	d, err := os.Open(filepath.Join(dir, commitName, "trash"))
	if err != nil {
		return size
	}
	defer d.Close()
	var room int64
	err = roam(int(d.Fd()), func(_ int, _ string, st *unix.Stat_t) error {
		if st.Mode&unix.S_IFMT == unix.S_IFREG {
			room += min(st.Blocks*512, st.Size)
		}
		return nil
	})
	if err != nil { // more than is looked at
		return size
	}
	return room
}

// clearCommit removes what a commit that did nothing kept.
func (s *Store) clearCommit(dir string) error {
	if _, err := os.Lstat(filepath.Join(dir, commitName)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return s.clear(filepath.Base(dir) + "/" + commitName)
}

var _ commit.Source = upper{}

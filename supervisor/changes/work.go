// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/clawsup/clawsup/runtime/overlay"
	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// Start is a call that is about to write.
type Start struct {
	ID        string // the call's; empty: one is made
	Requester string
	Agent     string
	Session   string // id
	Command   string // quoted, made visible
	Workspace string
	Identity  rootfs.Identity
	Owner     rootfs.Owner
	Size      overlay.Size
	Keep      bool // go on in the session's open change set of this workspace, or begin one
}

// Work is a change set while a call writes. It is the Upper of a rootfs.Bind.
type Work struct {
	piece *piece
	gate  *gate
	root  *os.File // the workspace
	fresh bool     // no call before this one has written

	mu   sync.Mutex
	over bool // mu
}

// Bounds of what a record tells of calls.
const (
	mostCalls   = 1000 // the latest
	mostCommand = 4096 // bytes
)

// shorten bounds a command, which is there for people.
func shorten(s string) string {
	if len(s) <= mostCommand {
		return s
	}
	return strings.ToValidUTF8(s[:mostCommand], "") + "..."
}

var errEnded = errors.New("the call's change set has ended")

// Begin makes a layer, or takes the session's, when no commit is at work on the
// tree. It holds the tree against commits until End or Abandon. It waits for as
// long as ctx allows: for commits, for the session's call before it, and for
// the clock to tick after the last commit.
func (s *Store) Begin(ctx context.Context, b Start) (_ *Work, err error) {
	if b.ID == "" {
		b.ID = mint()
	}
	if err := checkID(b.ID); err != nil {
		return nil, err
	}
	b.Command = shorten(b.Command)
	if b.Keep && b.Session == "" {
		return nil, errors.New("only a session can keep its changes for further calls")
	}
	w := &Work{}
	if w.root, err = openWorkspace(b.Workspace, b.Identity); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.undone())
		}
	}()
	line, err := lineage(w.root)
	if err != nil {
		return nil, err
	}
	if w.piece, err = s.begin(ctx, &b); err != nil {
		return nil, err
	}
	gate, since, err := s.gates.write(ctx, line)
	if err != nil {
		return nil, busy(ctx, err)
	}
	w.gate = gate
	now, err := after(ctx, since)
	if err != nil {
		return nil, busy(ctx, err)
	}
	p := w.piece
	if w.fresh = p.Begin.IsZero(); w.fresh {
		p.Begin = now
		if p.Slew, err = slew(); err != nil {
			return nil, err
		}
		p.layer, err = s.o.Maker.Make(filepath.Join(p.dir, imageName), b.Size, b.Owner)
		if err != nil {
			return nil, fmt.Errorf("layer: %w", err)
		}
	} else if err := p.open(); err != nil {
		return nil, err
	}
	p.Calls, p.Working, p.Command = append(p.Calls, b.ID), b.ID, b.Command
	p.Calls = p.Calls[max(0, len(p.Calls)-mostCalls):]
	return w, p.note(p.dir)
}

// busy says that somebody was waited for in vain.
func busy(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(err, ErrBusy) {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	return err
}

// begin gives the change set that a call is to write to.
func (s *Store) begin(ctx context.Context, b *Start) (*piece, error) {
	now := s.o.Now()
	want := entry{Keep: b.Keep, Since: now, Change: Change{
		ID: b.ID, State: Writing, Calls: []string{}, Requester: b.Requester, Agent: b.Agent, Session: b.Session, Command: b.Command,
		Workspace: raw.String(b.Workspace), Identity: b.Identity, Owner: b.Owner, Created: now,
	}}
	if b.Keep {
		return s.goOn(ctx, &want)
	}
	p, err := s.create(b.ID)
	if err != nil {
		return nil, err
	}
	p.entry = want
	return p, nil
}

// undone gives up what Begin had when it failed.
func (w *Work) undone() error {
	if w.gate != nil {
		w.gate.close()
	}
	var err error
	switch p := w.piece; {
	case p == nil:
	case w.fresh, p.Begin.IsZero():
		err = p.remove()
	default: // the calls before this one are not lost
		p.Working = ""
		err = errors.Join(p.settle(), p.leave())
	}
	return errors.Join(err, w.root.Close())
}

// ID is the change set's.
func (w *Work) ID() string { return w.piece.ID }

// Mount is overlay.Layer's. The lower directory must be the workspace.
func (w *Work) Mount(lower int, owner, tool rootfs.Owner) (tree int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return -1, errEnded
	}
	if id, err := identity(lower); err != nil || id != w.piece.Identity {
		return -1, errors.Join(ErrReplaced, err)
	}
	return w.piece.layer.Mount(lower, owner, tool)
}

// end makes sure that it happens once.
func (w *Work) end() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return errEnded
	}
	w.over = true
	return nil
}

// Abandon throws the work away, for a call that never ran.
func (w *Work) Abandon() error {
	if err := w.end(); err != nil {
		return err
	}
	p := w.piece
	if !w.fresh {
		p.Calls = p.Calls[:len(p.Calls)-1]
	}
	return w.undone()
}

// End is for when nothing of the call is alive: it lists what changed. One that
// changed nothing is gone at once, and its state is Discarded. Else the state
// is Held, or Writing where more calls may follow. After an error the change
// set is as a killed process would leave it, but for changeset.ErrTooMany:
// what can't be listed can't be committed, and is discarded.
func (w *Work) End(ctx context.Context) (_ Change, err error) {
	if err := w.end(); err != nil {
		return Change{}, err
	}
	p := w.piece
	set, err := p.walk(ctx, w.root)
	w.gate.close()
	err = errors.Join(err, w.root.Close())
	switch {
	case errors.Is(err, changeset.ErrTooMany):
		_, gone := p.discard("the bound of change sets", err.Error())
		return Change{}, errors.Join(err, gone)
	case err != nil:
		p.Reason = "what it changed could not be listed: " + clip(err.Error())
		return Change{}, errors.Join(err, p.settle(), p.leave())
	}
	return p.ended(set)
}

// ended notes what a call changed, all calls before it included.
func (p *piece) ended(set *changeset.Set) (Change, error) {
	p.Working, p.Reason = "", ""
	switch {
	case len(set.Entries) == 0:
		p.become(Discarded, p.store.o.Now())
		p.Reason = "nothing changed"
		c := p.Change
		return c, p.remove()
	case p.Keep:
		p.Count, p.Since = set.Count(), p.store.o.Now()
		p.warn("what is to be known before it is committed could not be found", p.foreseeIn(set))
		err := p.settle()
		c := p.fill(p.dir, p.store.o.Bounds())
		return c, errors.Join(err, p.leave())
	}
	if err := p.finish(set, "nobody has decided yet"); err != nil {
		return Change{}, errors.Join(err, p.settle(), p.leave())
	}
	err := p.note(p.dir)
	c := p.fill(p.dir, p.store.o.Bounds())
	return c, errors.Join(err, p.leave())
}

var _ rootfs.Upper = (*Work)(nil)

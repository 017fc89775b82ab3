// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/clawsup/clawsup/supervisor/changeset"
)

// walk lists what is in the layer, which is open.
func (p *piece) walk(ctx context.Context, root *os.File) (*changeset.Set, error) {
	now, err := slew()
	if err != nil {
		return nil, err
	}
	leave, err := p.store.walks.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	upper, err := p.layer.Upper()
	if err != nil {
		return nil, err
	}
	set, err := changeset.Walk(ctx, changeset.Layer{
		Upper: int(upper.Fd()), Lower: int(root.Fd()), Owner: uint32(p.Owner.UID),
		Begin: p.Begin, Unsure: (now - p.Slew).Abs() > mostSlew,
	})
	return set, errors.Join(err, upper.Close())
}

// look walks a change set that nobody writes to, while no commit is at work on
// the tree.
func (p *piece) look(ctx context.Context) (*changeset.Set, error) {
	root, err := openWorkspace(string(p.Workspace), p.Identity)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	line, err := lineage(root)
	if err != nil {
		return nil, err
	}
	gate, _, err := p.store.gates.write(ctx, line)
	if err != nil {
		return nil, busy(ctx, err)
	}
	defer gate.close()
	if err := p.open(); err != nil {
		return nil, err
	}
	return p.walk(ctx, root)
}

// finish saves the set of a change set that is written no more.
func (p *piece) finish(set *changeset.Set, reason string) error {
	f, err := os.OpenFile(filepath.Join(p.dir, setName), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<16)
	if err := errors.Join(set.Encode(w), w.Flush(), f.Close()); err != nil {
		return err
	}
	if p.Keep {
		if err := p.store.unkeep(p); err != nil {
			return err
		}
	}
	p.become(Held, p.store.o.Now())
	p.Count, p.Digest, p.Reason, p.Because = set.Count(), set.Digest(), reason, nil
	return nil
}

// freeze makes a Writing change set a held one. It is gone, and the error is
// ErrUnknown, where there is nothing in it.
func (p *piece) freeze(ctx context.Context, reason string) error {
	if p.State != Writing {
		return nil
	}
	if p.Working != "" { // and nobody else has the lock: the call's process is gone
		reason = cutOff
	}
	set, err := p.look(ctx)
	if err != nil {
		return err
	}
	p.Working = ""
	if len(set.Entries) == 0 {
		return errors.Join(fmt.Errorf("%s: %w: nothing changed, and it is gone", p.ID, ErrUnknown), p.remove())
	}
	return p.finish(set, reason)
}

// set reads the entries, which are what was judged: the digest says so.
func (e *entry) set(dir string) (*changeset.Set, error) {
	f, err := os.Open(filepath.Join(dir, setName))
	if err != nil {
		return nil, fmt.Errorf("change set %s: %w", e.ID, err)
	}
	defer f.Close()
	set, err := changeset.Decode(bufio.NewReaderSize(f, 1<<16))
	if err == nil && set.Digest() != e.Digest {
		err = errors.New("its entries are others than were listed")
	}
	if err != nil {
		return nil, fmt.Errorf("change set %s: %w", e.ID, err)
	}
	return set, nil
}

// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/clawsup/clawsup/supervisor/agent/snapshot"
	"github.com/clawsup/clawsup/supervisor/audit"
)

const (
	sizeLook    = 30 * time.Second // between two looks at the size, or longer where looking takes long
	day         = 24 * time.Hour
	dailyLook   = 10 * time.Minute // between two looks whether a day has passed
	frozenLimit = time.Minute      // how long a running agent stands still for its copy
)

func (a *Agent) bounds() snapshot.Bounds {
	return snapshot.Bounds{Entries: snapshot.MaxEntries, Bytes: int64(a.o.Config.StateMax)}
}

// copyBefore makes the snapshot of a start. A state directory that is over
// state_max is a refusal; whatever else keeps a copy from being made is told,
// and keeps nobody from starting.
func (a *Agent) copyBefore(ctx context.Context) error {
	c := &a.o.Config
	if err := snapshot.Sweep(c.StateDir); err != nil {
		return refusal{err}
	}
	if c.Snapshots == 0 {
		if c.StateMax == 0 {
			return nil
		}
		_, err := snapshot.Measure(ctx, c.StateDir, a.bounds())
		return a.over(err)
	}
	draft, err := a.shelf.Copy(ctx, c.StateDir, a.bounds())
	if err == nil {
		err = a.shelve(draft, snapshot.Start)
	}
	if err := a.over(err); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	a.warn("snapshot", err)
	return nil
}

// over makes a refusal of what state_max is about.
func (a *Agent) over(err error) error {
	var over *snapshot.BoundError
	if a.o.Config.StateMax > 0 && errors.As(err, &over) {
		return refusal{fmt.Errorf("state_dir %s: %w; remove something, put a snapshot back, or raise state_max", a.o.Config.StateDir, over)}
	}
	return nil
}

// shelve keeps a draft, drops old snapshots, and records it.
func (a *Agent) shelve(draft *snapshot.Draft, why snapshot.Why) error {
	snap, err := draft.Keep(why, time.Now())
	if err == nil {
		err = a.shelf.Prune(a.o.Config.Snapshots, snap.Name)
	}
	a.list()
	if err != nil {
		return err
	}
	a.receipt("snapshot", string(why), nil, audit.Fact{Name: "snapshot", Value: snap.Name},
		audit.Fact{Name: "entries", Value: fmt.Sprint(snap.Count.Entries)}, audit.Fact{Name: "bytes", Value: fmt.Sprint(snap.Count.Bytes)},
		audit.Fact{Name: "left out", Value: fmt.Sprint(snap.Count.LeftOut())})
	return nil
}

// list takes note of what is on the shelf.
func (a *Agent) list() {
	list, err := a.shelf.List()
	a.warn("list snapshots", err)
	if err != nil {
		return
	}
	a.mu.Lock()
	a.snapshots = list
	a.mu.Unlock()
}

// daily makes a copy of a running agent's state directory when a day has passed
// since the last. The agent stands still while it is read.
func (a *Agent) daily(ctx context.Context, now time.Time) error {
	a.mu.Lock()
	due := a.run != nil && a.o.Config.Snapshots > 0 && (len(a.snapshots) == 0 || now.Sub(a.snapshots[0].Time) >= day)
	a.mu.Unlock()
	if !due {
		return nil
	}
	op, err := a.begin(ctx)
	if err != nil {
		return err
	}
	defer a.end()
	a.mu.Lock()
	r, frozen := a.run, a.state == Frozen
	a.mu.Unlock()
	if r == nil {
		return nil
	}
	limited, cancel := context.WithTimeout(op, frozenLimit)
	defer cancel()
	var draft *snapshot.Draft
	if !frozen {
		err = r.service.Freeze(limited)
	}
	if err == nil {
		draft, err = a.shelf.Copy(limited, a.o.Config.StateDir, a.bounds())
	}
	if !frozen {
		// Whatever happened, Kill included: a dead box is thawed without harm.
		thaw, cancel := context.WithTimeout(context.Background(), killLimit)
		err = errors.Join(err, r.service.Thaw(thaw))
		cancel()
	}
	switch {
	case err == nil:
		err = a.shelve(draft, snapshot.Daily)
	case draft != nil:
		err = errors.Join(err, draft.Discard())
	}
	a.warn("snapshot", err)
	return err
}

// watchSize freezes a run whose state directory has grown over state_max: what
// is there stays for a person to look at, and the disk stays the host's.
func (a *Agent) watchSize(r *run) {
	pause := a.sizeLook
	for {
		look := time.NewTimer(pause)
		select {
		case <-look.C:
		case <-r.ended.Done():
			look.Stop()
			return
		}
		begin := time.Now()
		_, err := snapshot.Measure(r.ended, a.o.Config.StateDir, a.bounds())
		if r.ended.Err() != nil {
			return
		}
		over := a.over(err)
		a.mu.Lock()
		mine := a.run == r && a.state != Frozen
		a.mu.Unlock()
		if over != nil && mine {
			a.warn("frozen", over)
			if err := a.Freeze(r.ended); err != nil && r.ended.Err() == nil {
				a.o.Report("freeze it", err)
			}
		}
		pause = max(a.sizeLook, 50*time.Since(begin))
	}
}

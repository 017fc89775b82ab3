// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/changes"
	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/commit"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// changeSource is where change sets are asked for and decided: the daemon, or
// where there is none the host's store.
type changeSource interface {
	list(api.ChangesFilter) ([]changes.Change, error)
	entries(id string) (changes.Change, []changeset.Entry, error)
	diff(id string, path raw.String) (api.ChangesDifference, error)
	commit(api.ChangesChoice) (changes.Change, error)
	discard(api.ChangesChoice) (changes.Change, error)
	undo(api.ChangesChoice) (changes.Change, error)
	trash(id string) ([]commit.Trashed, error)
	empty(api.TrashOrder) (api.TrashEmptied, error)
	close() error
}

// changeSets opens the source that the configuration says.
func (p *program) changeSets() (changeSource, error) {
	config, err := p.ready()
	switch {
	case err != nil:
		return nil, err
	case config.Daemon:
		return daemonChanges{p}, nil
	case os.Geteuid() != 0:
		return nil, usagef("without 'daemon = true' in the configuration, change sets are for root alone: sudo clawsup ...")
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	s, err := supervisor.Open(ctx, config)
	if err != nil {
		stop()
		return nil, err
	}
	store, err := s.Changes(ctx)
	if err != nil {
		stop()
		return nil, errors.Join(err, s.Close())
	}
	return &hostChanges{ctx: ctx, stop: stop, supervisor: s, store: store}, nil
}

// withChanges does something with the source of change sets.
func (p *program) withChanges(do func(changeSource) error) error {
	s, err := p.changeSets()
	if err != nil {
		return err
	}
	return errors.Join(do(s), s.close())
}

// daemonChanges asks clawsupd.
type daemonChanges struct{ p *program }

func (d daemonChanges) list(f api.ChangesFilter) ([]changes.Change, error) {
	return ask[[]changes.Change](d.p, api.ChangesList, f)
}

// entries puts the pages together. A frame is bounded, a change set is large.
func (d daemonChanges) entries(id string) (c changes.Change, all []changeset.Entry, err error) {
	for {
		page, err := ask[api.ChangesEntries](d.p, api.ChangesShow, api.ChangesPart{Changes: id, From: len(all)})
		switch {
		case err != nil:
			return c, nil, err
		case all != nil && (page.Change.Digest != c.Digest || page.Change.ID != c.ID):
			return c, nil, fmt.Errorf("change set %s changed while it was read; try again", c.ID)
		}
		c, all = page.Change, append(all, page.Entries...)
		if len(page.Entries) == 0 || len(all) >= page.Total {
			return c, all, nil
		}
		id = c.ID
	}
}

func (d daemonChanges) diff(id string, path raw.String) (api.ChangesDifference, error) {
	return ask[api.ChangesDifference](d.p, api.ChangesDiff, api.ChangesPath{Changes: id, Path: path})
}

func (d daemonChanges) commit(c api.ChangesChoice) (changes.Change, error) {
	return ask[changes.Change](d.p, api.ChangesCommit, c)
}

func (d daemonChanges) discard(c api.ChangesChoice) (changes.Change, error) {
	return ask[changes.Change](d.p, api.ChangesDiscard, c)
}

func (d daemonChanges) undo(c api.ChangesChoice) (changes.Change, error) {
	return ask[changes.Change](d.p, api.ChangesUndo, c)
}

func (d daemonChanges) trash(id string) ([]commit.Trashed, error) {
	return ask[[]commit.Trashed](d.p, api.TrashList, api.ChangesRef{Changes: id})
}

func (d daemonChanges) empty(o api.TrashOrder) (api.TrashEmptied, error) {
	return ask[api.TrashEmptied](d.p, api.TrashEmpty, o)
}

func (daemonChanges) close() error { return nil }

// hostChanges works on the store itself, as root.
type hostChanges struct {
	ctx        context.Context
	stop       context.CancelFunc
	supervisor *supervisor.Supervisor
	store      *changes.Store
}

// maxChanges is how many are listed when nobody says.
const maxChanges = 100

func (h *hostChanges) list(f api.ChangesFilter) ([]changes.Change, error) {
	all, err := h.store.List()
	if err != nil {
		return nil, err
	}
	var list []changes.Change
	for _, c := range all {
		if len(list) == cmp.Or(f.Limit, maxChanges) {
			break
		}
		if (!f.Undecided || !c.State.Over()) && (f.Session == "" || f.Session == c.Session) {
			list = append(list, c)
		}
	}
	return list, nil
}

func (h *hostChanges) entries(id string) (changes.Change, []changeset.Entry, error) {
	c, err := h.store.Find(id)
	if err != nil {
		return c, nil, err
	}
	set, err := h.store.Set(h.ctx, c.ID)
	if err != nil {
		return c, nil, err
	}
	return c, set.Entries, nil
}

func (h *hostChanges) diff(id string, path raw.String) (api.ChangesDifference, error) {
	e, lines, cut, err := h.supervisor.Diff(h.ctx, id, string(path))
	return api.ChangesDifference{Entry: e, Lines: lines, Cut: cut}, err
}

// by is who decides here.
func (h *hostChanges) by() string { return fmt.Sprintf("uid %d", os.Getuid()) }

// undecided finds a change set that is to be decided about here.
func (h *hostChanges) undecided(id string) (string, error) {
	c, err := h.store.Find(id)
	if err == nil && c.State == changes.Asking {
		err = fmt.Errorf("somebody is asked about change set %s at this moment: answer that", c.ID)
	}
	return c.ID, err
}

func (h *hostChanges) commit(c api.ChangesChoice) (changes.Change, error) {
	id, err := h.undecided(c.Changes)
	if err != nil {
		return changes.Change{}, err
	}
	return h.store.Commit(h.ctx, id, c.Choice(), h.by())
}

func (h *hostChanges) discard(c api.ChangesChoice) (changes.Change, error) {
	id, err := h.undecided(c.Changes)
	if err != nil {
		return changes.Change{}, err
	}
	return h.store.Discard(h.ctx, id, h.by(), c.Reason)
}

func (h *hostChanges) undo(c api.ChangesChoice) (changes.Change, error) {
	id, err := h.undecided(c.Changes)
	if err != nil {
		return changes.Change{}, err
	}
	return h.store.TakeBack(h.ctx, id, c.Only, h.by(), c.DryRun)
}

func (h *hostChanges) trash(id string) ([]commit.Trashed, error) {
	c, err := h.store.Find(id)
	if err != nil {
		return nil, err
	}
	return h.store.Trash(c.ID)
}

func (h *hostChanges) empty(o api.TrashOrder) (api.TrashEmptied, error) {
	id := o.Changes
	if id != "" {
		c, err := h.store.Find(id)
		if err != nil {
			return api.TrashEmptied{}, err
		}
		id = c.ID
	}
	n, err := h.store.Empty(h.ctx, id, time.Now().Add(-time.Duration(o.Older)))
	return api.TrashEmptied{Bytes: n}, err
}

func (h *hostChanges) close() error {
	defer h.stop()
	return h.supervisor.Close()
}

// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/session"
)

func (b *Broker) whoAmI(_ context.Context, who client, _ *api.Request) (any, error) {
	return api.Identity{UID: who.uid, Name: who.user, Role: who.role.String()}, nil
}

func (b *Broker) status(context.Context, client, *api.Request) (any, error) { return b.state(), nil }

func (b *Broker) reload(ctx context.Context, who client, _ *api.Request) (any, error) {
	if err := b.Reload(ctx); err != nil {
		return nil, failf(api.CodeParams, "what was in force stays: %v", err)
	}
	return b.state(), b.record(ctx, act(who, "reload"))
}

// state is the daemon's own.
func (b *Broker) state() api.Daemon {
	g := b.generation.Load()
	going, waiting := b.queue.numbers()
	d := api.Daemon{
		Version: b.options.Version, Started: b.started.UTC(), Generation: g.Number, Loaded: g.Loaded.UTC(),
		Calls: going, Queue: waiting, Sessions: len(b.sessions.List()), Notes: slices.Concat(b.options.Notes, b.book.Notes(), b.sessions.Notes(), b.vault.notes()),
	}
	d.Tickets, d.Grants = b.book.Counts()
	for _, a := range b.agentList() {
		d.Agents = append(d.Agents, a.Name())
	}
	if a := b.log.Anchor(); a != nil {
		d.Receipts = a.Seq
	}
	d.Pool = b.pooled()
	b.mu.Lock()
	defer b.mu.Unlock()
	d.Locked, d.LockedAt = b.locked, b.lockedAt
	d.Notes = append(d.Notes, b.agentNotes...)
	if b.logError != nil {
		d.Notes = append(d.Notes, "receipts can't be written: "+b.logError.Error())
	}
	for _, line := range b.supervisor.Stuck() {
		d.Notes = append(d.Notes, "a dead box can't be removed: "+line)
	}
	return d
}

// sorted gives a generation's profiles by name.
func (g *Generation) sorted() []*profiles.Loaded {
	return slices.SortedFunc(maps.Values(g.profiles), func(a, b *profiles.Loaded) int {
		return cmp.Compare(a.Profile.Name, b.Profile.Name)
	})
}

func (b *Broker) sessionView(s session.Session) api.Session {
	g := b.generation.Load()
	return api.Session{
		ID: s.ID, Name: s.Name, Agent: s.Owner.Agent, UID: s.Owner.UID, Labels: b.labels(s.ID, s.Owner.Agent),
		Calls: s.Calls, Bytes: s.Bytes, MaxBytes: int64(g.Config.Sessions.Max),
		Created: s.Created, Used: s.Used, Expires: s.Used.Add(time.Duration(g.Config.Sessions.Expiry)),
	}
}

func (b *Broker) sessionList(context.Context, client, *api.Request) (any, error) {
	list := []api.Session{}
	for _, s := range b.sessions.List() {
		if len(list) == maxListed {
			break
		}
		list = append(list, b.sessionView(s))
	}
	return list, nil
}

// session gives the one that a request names, and what it asks for about it.
func (b *Broker) session(ref string) (session.Session, error) {
	s, err := b.sessions.Find(ref)
	return s, sessionError(err)
}

func sessionError(err error) error {
	var e *session.Error
	switch {
	case errors.Is(err, session.ErrUnknown):
		return failf(api.CodeNotFound, "%v; see 'clawsup session list'", err)
	case errors.As(err, &e):
		return failf(api.CodeConflict, "%s", e.Text)
	}
	return err
}

func (b *Broker) sessionShow(ctx context.Context, _ client, r *api.Request) (any, error) {
	ref, err := params[api.SessionRef](r)
	if err != nil {
		return nil, err
	}
	s, err := b.session(ref.Session)
	if err != nil {
		return nil, err
	}
	if s, err = b.sessions.Measure(ctx, s.ID); err != nil {
		return nil, sessionError(err)
	}
	return b.sessionView(s), nil
}

func (b *Broker) sessionRemove(ctx context.Context, who client, r *api.Request) (any, error) {
	ref, err := params[api.SessionRef](r)
	if err != nil {
		return nil, err
	}
	s, err := b.session(ref.Session)
	if err != nil {
		return nil, err
	}
	view := b.sessionView(s)
	if err := b.sessions.Remove(s.ID); err != nil {
		return nil, sessionError(err)
	}
	b.drain("a session was removed", ofSession(s.ID))
	b.forgetChanges(context.WithoutCancel(ctx), s.ID)
	return view, b.record(ctx, act(who, "remove session", audit.Fact{Name: factSession, Value: s.ID}))
}

// cleared is a label that a person takes off, for a reason that stays.
func cleared(r *api.Request) (api.Clear, error) {
	c, err := params[api.Clear](r)
	switch {
	case err != nil:
	case c.Label != session.Private && c.Label != session.Untrusted:
		err = failf(api.CodeParams, "the labels are %s and %s", session.Private, session.Untrusted)
	case c.Reason == "" || len(c.Reason) > maxReason:
		err = failf(api.CodeParams, "a label is cleared for a reason, of up to %d bytes", maxReason)
	}
	return c, err
}

func (b *Broker) recordClear(ctx context.Context, who client, what string, c api.Clear) error {
	return b.record(ctx, act(who, "clear label", audit.Fact{Name: "on", Value: what},
		audit.Fact{Name: "label", Value: c.Label}, audit.Fact{Name: factReason, Value: c.Reason}))
}

func (b *Broker) sessionClear(ctx context.Context, who client, r *api.Request) (any, error) {
	c, err := cleared(r)
	if err != nil {
		return nil, err
	}
	s, err := b.session(c.Name)
	if err != nil {
		return nil, err
	}
	// The receipt first: what makes a later call possible is written down before.
	if err := b.recordClear(ctx, who, "session "+s.ID, c); err != nil {
		return nil, err
	}
	if s, err = b.sessions.ClearSession(s.ID, c.Label); err != nil {
		return nil, sessionError(err)
	}
	return b.sessionView(s), nil
}

func (b *Broker) agentClear(ctx context.Context, who client, r *api.Request) (any, error) {
	c, err := cleared(r)
	if err != nil {
		return nil, err
	}
	a, err := b.agentNamed(c.Name)
	if err != nil {
		return nil, err
	}
	if err := b.recordClear(ctx, who, "agent "+a.Name(), c); err != nil {
		return nil, err
	}
	if err := b.sessions.ClearAgent(a.Name(), c.Label); err != nil {
		return nil, sessionError(err)
	}
	return b.agentView(a), nil
}

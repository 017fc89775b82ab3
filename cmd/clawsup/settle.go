// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/changes"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// settle decides about what a call did to its workspace, in a run without the
// daemon: by policy, or by who sits at the terminal. What can't be decided is held.
func (p *program) settle(ctx context.Context, s *supervisor.Supervisor, o *outcome) error {
	c := o.changes
	store, err := s.Changes(ctx)
	if err != nil {
		return err
	}
	sure := context.WithoutCancel(ctx) // half of it is nothing that anybody wants
	hold := func(why string) error {
		held, err := store.Hold(c.ID, why)
		if err == nil {
			*c = held
		}
		return err
	}
	by := fmt.Sprintf("uid %d", os.Getuid())
	discard := func(by, why string) error {
		gone, err := store.Discard(sure, c.ID, by, why)
		if err == nil {
			*c = gone
		}
		return err
	}
	commit := func(choice changes.Choice, by string) error {
		done, err := store.Commit(sure, c.ID, choice, by)
		if err != nil {
			return hold(err.Error())
		}
		*c = done
		return nil
	}
	subject := o.plan.Subject()
	subject.Session = o.plan.Request.Session
	d := s.Settle(sure, o.plan, &o.result, c, subject, policy.FromProfile(o.plan.Profile))
	j := &d.Judgement
	switch {
	case d.Fate == supervisor.Left:
		return nil
	case d.Fate == supervisor.Unwanted:
		return discard(d.By, d.Why)
	case d.Fate == supervisor.Wanted:
		return commit(changes.Choice{}, d.By)
	case d.Fate == supervisor.Undecided:
		return hold(d.Why)
	case j.Quorum > 1:
		return hold(fmt.Sprintf("this takes a yes of %d people, and here is one terminal: let clawsupd ask them; %s", j.Quorum, j.Rule))
	}
	answer, err := askAbout(ctx, s, store, c, j)
	switch {
	case err != nil:
		return hold(err.Error() + "; " + j.Rule)
	case answer.commit:
		return commit(changes.Choice{Refuse: answer.refuse}, by)
	case answer.reason == "":
		answer.reason = "the answer was no"
	}
	return discard(by, answer.reason)
}

// askAbout puts the change set to who sits at the terminal.
func askAbout(ctx context.Context, s *supervisor.Supervisor, store *changes.Store, c *changes.Change, j *changes.Judgement) (changesAnswer, error) {
	set, err := store.Set(ctx, c.ID)
	if err != nil {
		return changesAnswer{}, errors.New("the changes could not be read: " + err.Error())
	}
	return askChanges(ctx, &changesQuestion{
		change: *c, entries: set.Entries, because: j.Reasons,
		diff: func(ctx context.Context, path raw.String) ([]string, bool, error) {
			_, lines, cut, err := s.Diff(ctx, c.ID, string(path))
			return lines, cut, err
		},
	})
}

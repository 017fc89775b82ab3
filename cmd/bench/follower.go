// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/changes"
)

// follower asks for calls as caller does, and follows each, so that it knows
// when its change set was listed. What is held because a person has to decide is
// committed at once: that person's part is the question and the answer, which are
// no part of this.
type follower struct {
	*caller
	admin *api.Client
	last  stages
	done  *changes.Change // of the last call
}

// follower connects.
func (s *site) follower(submit func(n int) api.Submit) (*follower, error) {
	a, err := s.caller(submit)
	if err != nil {
		return nil, err
	}
	admin, err := s.dial("admin")
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return &follower{caller: a.(*caller), admin: admin}, nil
}

func (f *follower) Close() error { return errors.Join(f.caller.Close(), f.admin.Close()) }

func (f *follower) stages() stages { return f.last }

// call asks for one call. Its change set, if it has one, is committed whole when
// it returns.
func (f *follower) call(n int) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	submit := f.submit(n)
	submit.Wait, submit.Approver = false, "none"
	// The daemon's moments are of the clock of day, and so are these.
	began := time.Now().Round(0)
	var v api.Call
	if err := f.client.Call(ctx, api.CallSubmit, submit, &v, f.files...); err != nil {
		return err
	}
	listed, err := f.follow(ctx, &v)
	if err != nil {
		return err
	}
	if err := f.outcome(&v); err != nil {
		return err
	}
	f.done = v.Changes
	if c := v.Changes; c != nil && c.State == changes.Held {
		f.done = &changes.Change{}
		if err := f.admin.Call(ctx, api.ChangesCommit, api.ChangesChoice{Changes: c.ID}, f.done); err != nil {
			return err
		}
	}
	ended := time.Now().Round(0)
	if err := committed(f.done); err != nil {
		return err
	}
	tool := v.Started.Add(v.Result.Usage.Wall)
	f.last = stages{start: v.Started.Sub(began), tool: v.Result.Usage.Wall, list: ended.Sub(tool)}
	if f.done != nil {
		f.last.list, f.last.commit = listed.Sub(tool), ended.Sub(listed)
	}
	return nil
}

// follow waits for the end of a call, and tells when its change set was listed:
// at the end, if that was never told apart.
func (f *follower) follow(ctx context.Context, v *api.Call) (listed time.Time, err error) {
	end := make(chan error, 1)
	go func() { end <- f.client.Call(ctx, api.CallFollow, api.CallRef{Call: v.ID}, v) }()
	for {
		select {
		case err := <-end:
			if listed.IsZero() {
				listed = time.Now().Round(0)
			}
			return listed, err
		case notice, open := <-f.client.Notifications():
			now := time.Now().Round(0)
			if !open {
				return listed, <-end
			}
			var told api.Call
			if err := json.Unmarshal(notice.Params, &told); err != nil {
				return listed, err
			}
			if listed.IsZero() && told.ID == v.ID && told.Changes != nil {
				listed = now
			}
		}
	}
}

// committed is an error unless all of a change set is in its workspace.
func committed(c *changes.Change) error {
	if c == nil {
		return nil
	}
	if r := c.Report; c.State != changes.Committed || r == nil || r.Applied != c.Count.Entries() || r.Applied == 0 {
		return fmt.Errorf("change set %s of %s: %s of %+v: %+v %s", c.ID, c.Command, c.State, c.Count, r, c.Reason)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/session"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Bounds of a request, in bytes. An argument list as long as the kernel takes
// fits into a frame.
const (
	maxKey   = 128
	maxClaim = 2000
	maxName  = 4096 // a path has no more
)

// accept takes a request in, or says why not. files are the caller's three
// descriptors, or none; they are the call's from then on, also after an error.
// known says that its key was: then nothing new began.
func (b *Broker) accept(o owner, s api.Submit, files []*os.File) (_ *call, known bool, err error) {
	keep := false
	defer func() {
		if !keep {
			closeAll(files)
		}
	}()
	switch {
	case len(s.Key) > maxKey || !printable(s.Key):
		return nil, false, failf(api.CodeParams, "key: up to %d printable ASCII characters", maxKey)
	case len(s.Skill) > maxName || len(s.Profile) > maxName || len(s.Workspace) > maxName || len(s.StdinPath) > maxName:
		return nil, false, failf(api.CodeParams, "skill, profile, workspace and stdin_path: up to %d bytes each", maxName)
	case len(s.Claim) > maxClaim:
		return nil, false, failf(api.CodeParams, "claim: up to %d bytes", maxClaim)
	case s.Approver != "" && s.Approver != supervisor.ApproverNone:
		return nil, false, failf(api.CodeParams, "approver: leave it out, or write %q", supervisor.ApproverNone)
	case o.agent != "" && strings.ContainsRune(s.Skill, '/'):
		return nil, false, failf(api.CodeParams, "skill: an agent names it, without a path")
	case len(files) > 0 && s.Stdin != nil:
		return nil, false, failf(api.CodeParams, "stdin comes as a descriptor or as data, not as both")
	}
	if s.Session != "" {
		if err := session.CheckName(s.Session); err != nil {
			return nil, false, failf(api.CodeParams, "%v", err)
		}
	}
	gen := b.generation.Load()
	if o.agent != "" && gen.agent(o.agent) == nil {
		return nil, false, failf(api.CodeDenied, "agent %s is not configured any more, and may ask for nothing", o.agent)
	}
	c := &call{
		id: mint("c-"), owner: o, request: s, mark: fingerprint(s), gen: gen,
		done: make(chan struct{}), next: make(chan change, 1),
	}
	// A descriptor may lie on a file system that doesn't answer: nobody else
	// waits for it.
	c.stdin = standardInput(files, &s)
	all, err := b.connect(files, s.Stdin)
	if err != nil {
		return nil, false, failf(api.CodeParams, "%v", err)
	}
	c.streams.Store(all)
	before, err := b.enter(c)
	if before != nil || err != nil {
		all.spare(files)
		return before, before != nil, err
	}
	keep = true
	return c, false, nil
}

// enter lets a call in and has it carried out, or gives the one that came
// before under its key, or says why there is no place for it.
func (b *Broker) enter(c *call) (before *call, err error) {
	// One after the other, so that a key is looked for and taken in one step.
	b.accepting.Lock()
	defer b.accepting.Unlock()
	s, o := &c.request, c.owner
	if before := b.calls.byKey(o, s.Key); before != nil {
		if before.mark != c.mark {
			return nil, failf(api.CodeConflict, "key %s belongs to call %s, which is another request: give each request a key of its own", s.Key, before.id)
		}
		return before, nil
	}
	if err := b.open(); err != nil {
		return nil, err
	}
	if n := c.gen.Config.Calls.SkillRate; s.Skill != "" && !b.rates.take("skill "+s.Skill, n, time.Now()) {
		return nil, failf(api.CodeFlood, "more than %d calls of skill %s a minute; slow down", n, visible.Text(cut(s.Skill, 64)))
	}
	if n := b.rate(c.gen, o.agent); !b.rates.take(o.String(), n, time.Now()) {
		return nil, failf(api.CodeFlood, "more than %d calls a minute; slow down", n)
	}
	t, err := b.queue.enter(c.key())
	if errors.Is(err, errFull) {
		_, waiting := b.queue.numbers()
		return nil, failf(api.CodeFull, "the queue is full: %d calls wait; try again later", waiting)
	}
	if err != nil {
		return nil, err
	}
	s.Stdin = nil // it is in the stream
	c.ctx, c.cancel = context.WithCancelCause(b.ctx)
	c.view = api.Call{
		ID: c.id, State: api.Queued, Requester: o.String(), Agent: o.agent, SessionName: s.Session,
		Skill: s.Skill, Key: s.Key, Labels: b.labelsOf(o.agent, ""), Created: time.Now().UTC(),
	}
	b.calls.add(c)
	b.working.Go(func() { b.carry(c, t) })
	return nil, nil
}

// fingerprint tells one request from another under one key. How the caller
// waits is no part of it.
func fingerprint(s api.Submit) string {
	if s.Key == "" {
		return ""
	}
	s.Wait, s.Progress = false, false
	text, err := json.Marshal(s)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// key says against whose bounds the call counts.
func (c *call) key() turnKey {
	line := c.owner.String()
	if c.request.Session != "" {
		line += " " + c.request.Session
	}
	return turnKey{line: line, agent: c.owner.agent, skill: c.request.Skill}
}

// standardInput says for plan and facts what the call reads.
func standardInput(files []*os.File, s *api.Submit) supervisor.Stdin {
	switch {
	case len(files) > 0:
		return supervisor.StdinOf(files[0], string(s.StdinPath))
	case len(s.Stdin) == 0:
		return supervisor.Stdin{Kind: supervisor.StdinEmpty}
	}
	sum := sha256.Sum256(s.Stdin)
	return supervisor.Stdin{Kind: supervisor.StdinData, Size: int64(len(s.Stdin)), Digest: "sha256:" + hex.EncodeToString(sum[:])}
}

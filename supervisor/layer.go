// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/overlay"
	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/supervisor/changes"
	"github.com/clawsup/clawsup/supervisor/redact"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Changes are the change sets of this host. The first to ask waits while what a
// killed process left is finished.
func (s *Supervisor) Changes(ctx context.Context) (*changes.Store, error) {
	s.opening.Lock()
	defer s.opening.Unlock()
	if s.changes != nil {
		return s.changes, nil
	}
	maker := overlay.New(s.host.Stage(), s.Config.Init, "")
	store, err := changes.Open(ctx, changes.Options{
		Dir: filepath.Join(s.Config.StateDir, "changes"), Locks: filepath.Join(s.Config.RunDir, "trees"),
		Maker:  *maker,
		Bounds: func() changes.Bounds { return s.bounds.Load().Bounds() },
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("change sets: %w", err), maker.Close())
	}
	s.changes, s.layers = store, maker
	return store, nil
}

// BoundChanges has change sets kept as another configuration says.
func (s *Supervisor) BoundChanges(c ChangesConfig) { s.bounds.Store(&c) }

// begin makes the layer of a call and puts it over the workspace.
func (s *Supervisor) begin(ctx context.Context, p *Plan, spec *runtime.Spec, r *Running) (*changes.Work, error) {
	store, err := s.Changes(ctx)
	if err != nil {
		return nil, &runtime.Error{Step: runtime.StepMount, Err: err}
	}
	limits := &p.Profile.Profile.Limits
	work, err := store.Begin(ctx, changes.Start{
		ID: r.Call, Requester: r.Requester, Agent: p.Request.Agent, Session: p.Request.Session, Command: cmp.Or(r.Command, p.title()),
		Workspace: p.Workspace.Path, Identity: p.Workspace.Identity, Owner: p.Workspace.Owner,
		Size: overlay.Size{Bytes: int64(limits.Layer), Files: limits.LayerFiles}, Keep: p.Request.Keep,
	})
	if err != nil {
		return nil, &runtime.Error{Step: runtime.StepMount, Err: err}
	}
	spec.Binds = slices.Clone(spec.Binds)
	i := slices.IndexFunc(spec.Binds, func(b rootfs.Bind) bool { return b.Target == rootfs.WorkspaceDir })
	spec.Binds[i].Upper = work
	return work, nil
}

// title is the call in a line, for people.
func (p *Plan) title() string {
	var words []string
	if p.Skill != nil {
		words = append(words, visible.Quote(p.Skill.Name))
	}
	for _, a := range redact.Args(p.Request.Args) {
		words = append(words, visible.Quote(a))
	}
	return strings.Join(words, " ")
}

// listLimit bounds the listing of what a call changed, whoever has lost
// patience with the call: it is what tells a person what happened.
const listLimit = 10 * time.Minute

// end lists what a call changed; nil: nothing. A call that did not end by itself
// left its work half done, and only a person can want that.
func (s *Supervisor) end(ctx context.Context, w *changes.Work, r *runtime.Result) (*changes.Change, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), listLimit)
	defer cancel()
	c, err := w.End(ctx)
	if err != nil {
		r.Message = fmt.Sprintf("what it changed could not be listed: %v", err)
		r.Status, r.Step = runtime.SandboxError, runtime.StepReport
		return nil, nil
	}
	if c.State == changes.Discarded {
		return nil, nil
	}
	return &c, nil
}

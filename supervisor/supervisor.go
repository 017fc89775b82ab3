// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/seccomp"
	"github.com/clawsup/clawsup/skills"
)

// Supervisor carries out plans on this host.
type Supervisor struct {
	Config Config
	host   *runtime.Host
	store  skills.Store
}

// Open makes the host ready and removes what killed processes left. The
// caller is root.
func Open(ctx context.Context, config Config) (*Supervisor, error) {
	if err := os.MkdirAll(config.StateDir, 0o755); err != nil {
		return nil, &runtime.Error{Step: runtime.StepSpec, Err: err}
	}
	host, err := runtime.Open(ctx, runtime.Config{
		RunDir: config.RunDir, Init: config.Init, Group: config.CgroupParent,
		UIDBase: config.UIDBase, Slots: config.Slots,
	})
	if err != nil {
		return nil, err
	}
	s := &Supervisor{Config: config, host: host, store: skills.Store{Dir: config.SkillStore()}}
	if err := s.makeEmptyRoot(); err != nil {
		return nil, errors.Join(&runtime.Error{Step: runtime.StepSpec, Err: err}, s.Close())
	}
	return s, nil
}

// Close gives the host up.
func (s *Supervisor) Close() error { return s.host.Close() }

// SkillStore is where sealed copies of skills are.
func (c *Config) SkillStore() string { return filepath.Join(c.StateDir, "skills") }

// own are clawsup's directories, which no workspace may touch.
func (c *Config) own() []string {
	list := []string{c.StateDir, c.RunDir, c.SkillStore(), filepath.Dir(DefaultConfig)}
	return append(append(list, c.SkillPaths...), c.ProfilePaths...)
}

// emptyRoot is the root of boxes that have nothing of the host's.
func (s *Supervisor) emptyRoot() string { return filepath.Join(s.Config.RunDir, "empty") }

func (s *Supervisor) makeEmptyRoot() error {
	err := os.Mkdir(s.emptyRoot(), 0o755)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	return err
}

// Plan resolves a request. It may seal a skill and have clawsup-inspect read
// its front matter; nothing of what was asked for runs.
func (s *Supervisor) Plan(ctx context.Context, r Request) (*Plan, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	in := Ingredients{Request: r, Host: s.host.Layers, Lower: s.Config.Lower}
	var err error
	in.Profile, err = profiles.Load(cmp.Or(r.Profile, s.Config.DefaultProfile), s.Config.ProfilePaths)
	if err != nil {
		return nil, err
	}
	if r.Workspace != "" {
		w, err := openWorkspace(r.Workspace, s.Config.own())
		if err != nil {
			return nil, err
		}
		in.Workspace = &w
	}
	if r.Skill != "" {
		if in.Skill, err = s.seal(r.Skill); err != nil {
			return nil, err
		}
		if in.Manifest, err = s.inspect(ctx, in.Skill); err != nil {
			return nil, fmt.Errorf("skill %s: %w", in.Skill.Name, err)
		}
	}
	return MakePlan(in)
}

// seal takes the copy of a skill that everything else is about.
func (s *Supervisor) seal(ref string) (*skills.Skill, error) {
	dir, err := skills.Find(ref, s.Config.SkillPaths)
	if err != nil {
		return nil, err
	}
	k, err := s.store.Add(dir)
	if err != nil {
		return nil, err
	}
	// Copies that a kill left half-made; while others are at work it waits for the next time.
	if _, err := s.store.Sweep(); err != nil {
		return nil, err
	}
	return k, nil
}

// Run carries a plan out, once. started is called when the box is there and
// is about to get the call; it may be nil. Cancelling ctx stops the call.
func (s *Supervisor) Run(ctx context.Context, p *Plan, streams runtime.Stdio, signals <-chan unix.Signal, started func()) (result runtime.Result, err error) {
	fail := func(err error) (runtime.Result, error) { return Failed(err, p), nil }
	call := p.Call
	filter, err := seccomp.Compile(p.Groups)
	if err != nil {
		return fail(&runtime.Error{Step: runtime.StepSpec, Err: err})
	}
	call.Filter = filter.Bytes()
	box, err := s.host.Prepare(ctx, p.Spec)
	if err != nil {
		if ctx.Err() != nil {
			result = Failed(errors.New("stopped before it began"), p)
			result.Status, result.Step = runtime.Stopped, 0
			return result, nil
		}
		return fail(err)
	}
	defer func() { err = box.Close() }()
	if err := p.Verify(); err != nil {
		result = Failed(err, p)
		result.Status, result.Step = runtime.Denied, 0
		return result, nil
	}
	if started != nil {
		started()
	}
	return box.Run(ctx, call, streams, signals), nil
}

// Failed is the result of a call that did not get as far as a box. p may be nil.
func Failed(err error, p *Plan) runtime.Result {
	r := runtime.Result{Status: runtime.SandboxError, ExitCode: -1, Step: runtime.StepSpec, Message: err.Error()}
	var e *runtime.Error
	if errors.As(err, &e) {
		r.Step, r.Message = e.Step, e.Err.Error()
	}
	if p != nil {
		r.Layers = p.Spec.Layers.Reports
	}
	return r
}

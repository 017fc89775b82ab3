// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/overlay"
	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/runtime/seccomp"
	"github.com/clawsup/clawsup/skills"
	"github.com/clawsup/clawsup/supervisor/changes"
)

// Supervisor carries out plans on this host.
type Supervisor struct {
	Config Config
	host   *runtime.Host
	store  skills.Store
	share  *os.File // see shareHost

	filters sync.Map       // compiled ones, by their groups' names
	changes *changes.Store // see Changes
	layers  *overlay.Maker // of changes
	opening sync.Mutex     // of changes
	// Bound gives the secrets that a person bound variables of a skill to, by its
	// name and digest. nil: there are none.
	Bound  func(skill, digest string) (map[string]string, error)
	bounds atomic.Pointer[ChangesConfig]
	boxes  *Boxes         // nil: none wait
	ending sync.WaitGroup // of boxes that are being removed
}

// Open makes the host ready and removes what killed processes left. The
// caller is root.
func Open(ctx context.Context, config Config) (*Supervisor, error) { return open(ctx, config, false) }

// OpenDaemon is Open for a process that stays in the control group it was
// started in, and whose agents outlive it: see runtime.Config. It keeps boxes
// waiting for calls.
func OpenDaemon(ctx context.Context, config Config) (*Supervisor, error) {
	s, err := open(ctx, config, true)
	if err == nil {
		s.keepBoxes(config.Pool.Bounds())
	}
	return s, err
}

func open(ctx context.Context, config Config, hold bool) (*Supervisor, error) {
	if err := os.MkdirAll(config.StateDir, 0o755); err != nil {
		return nil, &runtime.Error{Step: runtime.StepSpec, Err: err}
	}
	share, err := shareHost(config.RunDir)
	if err != nil {
		return nil, &runtime.Error{Step: runtime.StepSlot, Err: err}
	}
	host, err := runtime.Open(ctx, runtime.Config{
		RunDir: config.RunDir, Init: config.Init, Group: config.CgroupParent,
		UIDBase: config.UIDBase, Slots: config.Slots, Hold: hold,
	})
	if err != nil {
		return nil, errors.Join(err, share.Close())
	}
	s := &Supervisor{Config: config, host: host, store: skills.Store{Dir: config.SkillStore()}, share: share}
	s.BoundChanges(config.Changes)
	if err := errors.Join(s.makeEmptyRoot(), s.vault().sweep()); err != nil {
		return nil, errors.Join(&runtime.Error{Step: runtime.StepSpec, Err: err}, s.Close())
	}
	return s, nil
}

// shareHost says, by a shared lock (flock(2)) that dies with the process, that
// somebody is at work with what all processes of one RunDir have in common:
// above all the control group that holds the boxes.
func shareHost(runDir string) (*os.File, error) {
	if err := os.MkdirAll(runDir, 0o711); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(runDir, "lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_SH); err != nil {
		return nil, errors.Join(&os.PathError{Op: "flock", Path: f.Name(), Err: err}, f.Close())
	}
	return f, nil
}

// flock takes a lock, however often a signal comes in between.
func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Close gives the host up. Who finds nobody else at work takes down what all
// shared: another may wait for an answer and have no box at the moment. Of two
// that close at once both may find the other; the empty group that stays then
// harms nobody, and is used by the next.
func (s *Supervisor) Close() error {
	var err error
	if s.boxes != nil {
		s.ending.Wait()
		err = s.boxes.Close()
	}
	if s.changes != nil {
		err = errors.Join(err, s.changes.Close(), s.layers.Close())
	}
	if flock(s.share, unix.LOCK_EX|unix.LOCK_NB) == nil {
		err = errors.Join(err, s.host.Close())
	}
	return errors.Join(err, s.share.Close())
}

// SkillStore is where sealed copies of skills are.
func (c *Config) SkillStore() string { return filepath.Join(c.StateDir, "skills") }

// own are clawsup's directories and its agents', which no workspace may touch.
func (c *Config) own() []string {
	list := []string{c.StateDir, c.RunDir, c.SkillStore(), filepath.Dir(DefaultConfig), c.Audit.Dir}
	for _, a := range c.Agents {
		list = append(list, a.StateDir)
	}
	return append(append(list, c.SkillPaths...), c.ProfilePaths...)
}

// ownFiles are files of clawsup's that no workspace may hold, wherever they lie.
func (c *Config) ownFiles() []string { return []string{c.Audit.Anchor, c.Audit.Key} }

// Stuck says of each dead box that could not be removed what is in the way.
func (s *Supervisor) Stuck() []string { return s.host.Stuck() }

// Host is where the boxes are made.
func (s *Supervisor) Host() *runtime.Host { return s.host }

// Filter gives the compiled filter of groups of the system call table. It is
// kept, here and for other processes (seccomp.Cached). The error is a
// *runtime.Error.
func (s *Supervisor) Filter(groups []string) ([]byte, error) {
	name := strings.Join(groups, " ")
	if known, ok := s.filters.Load(name); ok {
		return known.([]byte), nil
	}
	filter, err := seccomp.Cached(filepath.Join(s.Config.RunDir, "filters"), groups)
	if err != nil {
		return nil, &runtime.Error{Step: runtime.StepSpec, Err: err}
	}
	known, _ := s.filters.LoadOrStore(name, filter.Bytes())
	return known.([]byte), nil
}

// vault keeps sealed copies of executables while their plans live.
func (s *Supervisor) vault() vault { return vault{filepath.Join(s.Config.StateDir, "sealed")} }

// EmptyRoot is the root of boxes that have nothing of the host's.
func (s *Supervisor) EmptyRoot() string { return filepath.Join(s.Config.RunDir, "empty") }

func (s *Supervisor) makeEmptyRoot() error {
	err := os.Mkdir(s.EmptyRoot(), 0o755)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	return err
}

// Plan resolves a request, with its profile read from its file now. See PlanUnder.
func (s *Supervisor) Plan(ctx context.Context, r Request) (*Plan, error) {
	profile, err := profiles.Load(cmp.Or(r.Profile, s.Config.DefaultProfile), s.Config.ProfilePaths)
	if err != nil {
		return nil, err
	}
	return s.PlanUnder(ctx, r, profile)
}

// PlanUnder resolves a request under a profile. It may seal a skill and have
// clawsup-inspect read its front matter; nothing of what was asked for runs.
// The caller closes the plan.
func (s *Supervisor) PlanUnder(ctx context.Context, r Request, profile *profiles.Loaded) (*Plan, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	in := Ingredients{Request: r, Profile: profile, Host: s.host.Layers, Lower: s.Config.Lower, Vault: s.vault()}
	var err error
	if r.Workspace != "" {
		w, err := openWorkspace(r.Workspace, s.Config.own(), s.Config.ownFiles())
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
		if s.Bound != nil {
			if in.Bound, err = s.Bound(in.Skill.Name, in.Skill.Digest); err != nil {
				return nil, fmt.Errorf("skill %s: %w", in.Skill.Name, err)
			}
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

// Running is what a plan is carried out with.
type Running struct {
	Streams runtime.Stdio
	Signals <-chan unix.Signal
	Started func(*runtime.Sandbox) // when the box is there and is about to get the call; may be nil

	// For the change set, if the call has one: see changes.Start.
	Call, Requester, Command string

	Way Way // of a plan that reaches; nil: it can't be carried out
}

// Way is a call's way out of its box.
type Way interface {
	Binds() []rootfs.Bind        // what the box sees besides
	Environment() []string       // NAME=value, besides
	Open(*runtime.Sandbox) error // leads the box's network out, before its tool begins
	Hold() *runtime.Hold         // stops the call's clock while people think
}

// errNoWay says what a plan that reaches takes.
var errNoWay = errors.New("its profile has network.mode = \"egress\", and the way out is clawsupd's: start it, and leave --standalone out")

// Ran is what came of a plan.
type Ran struct {
	Result  runtime.Result
	Changes *changes.Change // nil: it changed nothing, or wrote through
}

// Run carries a plan out, once, and closes it. Cancelling ctx stops the call.
// What it did to an overlay workspace is held: the caller decides.
func (s *Supervisor) Run(ctx context.Context, p *Plan, r Running) (ran Ran, err error) {
	defer func() { err = errors.Join(err, p.Close()) }()
	fail := func(err error) (Ran, error) { return Ran{Result: Failed(err, p)}, nil }
	call, spec := p.Call, p.Spec
	if spec.Filter, err = s.Filter(p.Groups); err != nil {
		return fail(err)
	}
	if p.Reaches {
		if r.Way == nil {
			return fail(&runtime.Error{Step: runtime.StepSpec, Err: errNoWay})
		}
		spec.Binds = append(slices.Clip(spec.Binds), r.Way.Binds()...)
		call.Env = append(slices.Clip(call.Env), r.Way.Environment()...)
		call.Hold = r.Way.Hold()
	}
	var work *changes.Work
	if p.Overlay {
		if work, err = s.begin(ctx, p, &spec, &r); err != nil {
			if ctx.Err() != nil {
				return Ran{Result: StoppedResult(p, errors.New("stopped before it began"))}, nil
			}
			return fail(err)
		}
		defer func() {
			if work != nil {
				err = errors.Join(err, work.Abandon())
			}
		}()
	}
	box, end, err := s.box(ctx, p, spec)
	if box != nil {
		defer func() { err = errors.Join(err, end()) }()
	}
	// A box that was ready in the very moment may not be fit to run any more.
	if ctx.Err() != nil {
		return Ran{Result: StoppedResult(p, errors.New("stopped before it began"))}, nil
	}
	if err != nil {
		return fail(err)
	}
	if err := p.Verify(); err != nil {
		return Ran{Result: DeniedResult(p, err.Error())}, nil
	}
	// The box holds the copy by now, whatever becomes of this process.
	if err := p.Close(); err != nil {
		return fail(&runtime.Error{Step: runtime.StepCleanup, Err: err})
	}
	if p.Reaches {
		if err := r.Way.Open(box); err != nil {
			return fail(err)
		}
	}
	if r.Started != nil {
		r.Started(box)
	}
	ran.Result = box.Run(ctx, call, r.Streams, r.Signals)
	if work != nil {
		ended := work
		work = nil
		ran.Changes, err = s.end(ctx, ended, &ran.Result)
	}
	return ran, err
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

// StoppedResult is the result of a call that was stopped before it had a box.
// p may be nil.
func StoppedResult(p *Plan, why error) runtime.Result { return without(p, runtime.Stopped, why) }

// DeniedResult is the result of a call that got a no. p may be nil.
func DeniedResult(p *Plan, why string) runtime.Result {
	return without(p, runtime.Denied, errors.New(why))
}

func without(p *Plan, status runtime.Status, why error) runtime.Result {
	r := Failed(why, p)
	r.Status, r.Step = status, 0
	return r
}

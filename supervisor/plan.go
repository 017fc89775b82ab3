// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/runtime/seccomp"
	"github.com/clawsup/clawsup/skills"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Plan is a request resolved to the exact bytes and limits that will run. It
// is a value and is never changed; Digest is made from the rest, and so is what
// Facts gives.
type Plan struct {
	Spec runtime.Spec // without its Filter, which Groups make
	Call runtime.Call

	Groups    []string // of the system call table
	Profile   *profiles.Loaded
	Skill     *skills.Skill // nil: a raw command
	Script    string        // of the skill; empty: a command of the box
	Workspace *Workspace    // nil: none of the host's
	Overlay   bool          // what is written to it goes to a layer
	Reaches   bool          // its box leads to clawsup-egress
	// Secrets are variables that stand for secrets, by name. They are no part of
	// Call.Env: what a box gets is a placeholder that is made for it alone.
	Secrets    map[string]string
	Executable Executable
	Sealed     *Sealed // copy that Executable is; nil: it is no copy
	Request    Request

	Interpreted *Sealed // copy of the script that an argument hands to an interpreter; nil: there is none
	Named       []Named // files that the other arguments name, where a person is asked

	Digest string // "sha256:" and 64 hexadecimal digits
}

// Ingredients are what a plan is made of. Nothing in them is a name any more.
type Ingredients struct {
	Request   Request
	Profile   *profiles.Loaded
	Skill     *skills.Skill
	Manifest  skills.Manifest // of the skill
	Workspace *Workspace
	Host      layer.Host        // what the kernel offers
	Lower     layer.Set         // what the operator gave up
	Bound     map[string]string // variables of the skill that a person has bound to secrets
	Vault     vault             // takes the copy of an executable that somebody could change
}

// MakePlan makes the plan. It looks at the host's file system only to tell
// which file the command means, and copies that file where a person is going
// to be asked about it and others could change it. An error of a layer that
// the host lacks is a *runtime.Error with runtime.StepLayers. The caller
// closes the plan.
func MakePlan(in Ingredients) (*Plan, error) {
	if err := in.Request.check(); err != nil {
		return nil, err
	}
	profile := &in.Profile.Profile
	p := &Plan{
		Profile: in.Profile, Skill: in.Skill, Workspace: in.Workspace, Request: in.Request,
		Spec: runtime.Spec{
			Rootfs:   profile.Files.Rootfs,
			Read:     slices.Clone(profile.Files.Read),
			ProcPids: profile.Files.Proc == profiles.ProcPids,
		},
		Groups: SeccompGroups(profile),
	}
	p.Request.Args = slices.Clone(in.Request.Args)
	p.Call.Dir = rootfs.TmpDir
	for _, step := range []func(*Ingredients) error{p.limits, p.workspace, p.layered, p.command, p.secrets, p.environment, p.layers, p.executable, p.arguments} {
		if err := step(&in); err != nil {
			return nil, errors.Join(err, p.Close())
		}
	}
	p.Digest = p.digest()
	return p, nil
}

// asked says whether a person decides.
func (p *Plan) asked() bool { return p.Profile.Profile.Effects.Exec == profiles.Ask }

// SeccompGroups are the groups of the system call table that a profile means
// by itself. A plan may add seccomp.Unix: see Plan.layers.
func SeccompGroups(profile *profiles.Profile) []string {
	groups := slices.Clone(profile.Seccomp.Groups)
	if profile.Network.Loopback || profile.Network.Mode == profiles.NetworkEgress {
		groups = append(groups, string(seccomp.Loopback))
	}
	return groups
}

// limits takes the profile's; a timeout can only shorten.
func (p *Plan) limits(in *Ingredients) error {
	l := &in.Profile.Profile.Limits
	p.Spec.Group = runtime.Group{
		Memory: int64(l.Memory), Pids: l.Pids, CPU: l.CPU,
		DiskRead: int64(l.DiskRead), DiskWrite: int64(l.DiskWrite),
	}
	c := &p.Call
	c.WallTime, p.Spec.CPUTime = time.Duration(l.WallTime), time.Duration(l.CPUTime)
	c.StdoutMax, c.StderrMax = int64(l.Stdout), int64(l.Stderr)
	p.Spec.FileSize, p.Spec.OpenFiles, p.Spec.Stack = int64(l.FileSize), l.OpenFiles, int64(l.Stack)
	if t := in.Request.Timeout; t > 0 {
		if t > c.WallTime {
			return fmt.Errorf("a timeout of %s is more than profile %s allows: its wall_time is %s; use a profile that allows more",
				profiles.Duration(t), in.Profile.Profile.Name, l.WallTime)
		}
		c.WallTime = t
	}
	p.Spec.Tmpfs = []rootfs.Tmpfs{{Target: rootfs.ShmDir, Size: int64(l.Shm), Files: shmFiles}}
	if in.Request.Trees == nil {
		p.Spec.Tmpfs = append(p.Spec.Tmpfs, rootfs.Tmpfs{Target: rootfs.TmpDir, Size: int64(l.Tmp), Files: l.TmpFiles, Exec: true})
	}
	return nil
}

// shmFiles bounds the inodes of /dev/shm: shared memory is few and large.
const shmFiles = 256

// workspace puts it where the profile's mode says. A mode that needs a
// directory of the host is no error without one: the call then has no workspace.
func (p *Plan) workspace(in *Ingredients) error {
	profile := &in.Profile.Profile
	mode := profile.Workspace.Mode
	w := in.Workspace
	if t := in.Request.Trees; t != nil {
		p.Spec.Binds = append(p.Spec.Binds, t.bind(t.Tmp, rootfs.TmpDir))
		if w == nil && mode != profiles.WorkspaceNone {
			p.Spec.Binds = append(p.Spec.Binds, t.bind(t.Workspace, rootfs.WorkspaceDir))
			p.Call.Dir = rootfs.WorkspaceDir
			return nil
		}
	}
	switch mode {
	case profiles.WorkspaceScratch:
		if w != nil {
			return fmt.Errorf("profile %s gives every call an empty workspace of its own (workspace.mode = \"scratch\"): leave --workspace out, or use a profile with \"ro\", \"overlay\" or \"rw\"", profile.Name)
		}
		p.Spec.Tmpfs = append(p.Spec.Tmpfs, rootfs.Tmpfs{
			Target: rootfs.WorkspaceDir, Size: int64(profile.Limits.Scratch), Files: profile.Limits.ScratchFiles, Exec: true,
		})
	case profiles.WorkspaceNone:
		if w != nil {
			return fmt.Errorf("profile %s has no workspace (workspace.mode = \"none\"): leave --workspace out, or use a profile with \"ro\", \"overlay\" or \"rw\"", profile.Name)
		}
		return nil
	case profiles.WorkspaceRO, profiles.WorkspaceRW, profiles.WorkspaceOverlay:
		if w == nil {
			return nil
		}
		owner := w.Owner
		p.Spec.Binds = append(p.Spec.Binds, rootfs.Bind{
			Source: w.Path, Target: rootfs.WorkspaceDir,
			Writable: mode != profiles.WorkspaceRO, Identity: w.Identity, Owner: &owner,
		})
		p.Overlay = mode == profiles.WorkspaceOverlay
	default:
		return fmt.Errorf("workspace mode %q is not known here", mode)
	}
	p.Call.Dir = rootfs.WorkspaceDir
	return nil
}

// layered refuses what only an overlay can do, where there is none.
func (p *Plan) layered(in *Ingredients) error {
	r := &in.Request
	if p.Overlay || !r.Keep && !r.DryRun {
		return nil
	}
	what := "a dry run"
	if r.Keep {
		what = "keeping what is written for the next call"
	}
	if in.Workspace == nil {
		return fmt.Errorf("%s is about what a call does to a directory of the host: name one with --workspace", what)
	}
	mode := in.Profile.Profile.Workspace.Mode
	return fmt.Errorf("%s takes an overlay workspace, and profile %s has workspace.mode = %q", what, in.Profile.Profile.Name, mode)
}

// bind shows one of the session's directories, writable.
func (t *Trees) bind(source, target string) rootfs.Bind {
	owner := t.Owner
	return rootfs.Bind{Source: source, Target: target, Writable: true, Owner: &owner}
}

// command makes argv, and what must be in the box for it.
func (p *Plan) command(in *Ingredients) error {
	if in.Skill == nil {
		p.Call.Argv = slices.Clone(in.Request.Args)
		if p.Call.Argv[0] == "" {
			return errors.New("the command is empty")
		}
		return nil
	}
	c, err := in.Skill.Command(in.Manifest, in.Request.Args)
	if err != nil {
		return err
	}
	p.Call.Argv, p.Script = c.Argv, c.Script
	p.Call.Requires = c.Needs
	p.Call.RequiresAny = slices.Clone(in.Manifest.OpenClaw.Requires.AnyBins)
	p.Spec.Binds = append(p.Spec.Binds, rootfs.Bind{Source: in.Skill.Dir, Target: rootfs.SkillDir})
	return nil
}

// secrets are those of the profile and those that a person bound the skill to.
func (p *Plan) secrets(in *Ingredients) error {
	profile := &in.Profile.Profile
	p.Reaches = profile.Network.Mode == profiles.NetworkEgress
	if !p.Reaches {
		if len(in.Bound) > 0 {
			return fmt.Errorf("skill %s is bound to secrets, and under profile %s it could use none of them: use a profile with network.mode = %q, or 'clawsup skill unbind %[1]s'",
				in.Skill.Name, profile.Name, profiles.NetworkEgress)
		}
		return nil
	}
	p.Spec.Network = runtime.NetworkEgress
	p.Secrets = maps.Clone(profile.Secrets)
	if p.Secrets == nil {
		p.Secrets = map[string]string{}
	}
	if len(in.Bound) > 0 && p.Script == "" && len(in.Skill.Scripts) > 0 {
		return fmt.Errorf("skill %s is bound to secrets for its scripts, and %s is none of them: run one (%s), or the command without the skill",
			in.Skill.Name, visible.Quote(p.Call.Argv[0]), strings.Join(in.Skill.Scripts, ", "))
	}
	maps.Copy(p.Secrets, in.Bound)
	for _, variable := range slices.Sorted(maps.Keys(p.Secrets)) {
		if err := CheckSecretVariable(variable); err != nil {
			return err
		}
		if _, set := profile.Environment.Set[variable]; set {
			return fmt.Errorf("profile %s sets the variable %s, which stands for the secret %s: take it out of environment.set", profile.Name, variable, p.Secrets[variable])
		}
	}
	return nil
}

// CheckSecretVariable refuses a variable that can't stand for a secret: one that no
// box may have, and those that clawsup sets itself.
func CheckSecretVariable(name string) error {
	if err := profiles.CheckEnv(name, ""); err != nil {
		return fmt.Errorf("a variable that stands for a secret: %w", err)
	}
	if strings.HasPrefix(name, "CLAWSUP_") || slices.ContainsFunc(trusting, func(t trust) bool { return t.name == name }) {
		return fmt.Errorf("the variable %s can't stand for a secret: clawsup sets it in every box that reaches out", name)
	}
	return nil
}

// environment is built from nothing: what the profile sets, what of the
// caller's it passes, and for a skill its name and place.
func (p *Plan) environment(in *Ingredients) error {
	e := &in.Profile.Profile.Environment
	env := maps.Clone(e.Set)
	if env == nil {
		env = map[string]string{}
	}
	for _, name := range e.Pass {
		for _, v := range in.Request.Env {
			if value, ok := strings.CutPrefix(v, name+"="); ok {
				// What the profile sets was judged when that was read.
				if err := profiles.CheckEnv(name, value); err != nil {
					return fmt.Errorf("environment: %w", err)
				}
				env[name] = value
				break // as getenv(3) finds it
			}
		}
	}
	if p.Reaches {
		trust, err := TrustEnvironment(in.Profile.Profile.Files.Rootfs, env)
		if err != nil {
			return err
		}
		maps.Copy(env, trust)
	}
	for variable := range p.Secrets {
		delete(env, variable) // the caller's own is not the secret
	}
	if in.Skill != nil {
		env["CLAWSUP_SKILL"] = in.Skill.Name
		env["CLAWSUP_SKILL_DIR"] = rootfs.SkillDir
	}
	p.Call.Env = make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		p.Call.Env = append(p.Call.Env, name+"="+env[name])
	}
	return nil
}

// layers wishes for every layer that has something to do.
//
// A socket that a process outside listens on, in a tree of the host's, leads
// out of a box without network, and descriptors come in through it. Read-only
// mounts don't hinder a connect(2). So Unix sockets are for boxes that show no
// such tree, or where Landlock keeps those of outside apart.
func (p *Plan) layers(in *Ingredients) error {
	wish := layer.All
	if p.Profile.Profile.Network.Loopback || p.Reaches {
		wish = layer.LedNetwork(wish)
	}
	if !slices.ContainsFunc(p.Spec.Binds, func(b rootfs.Bind) bool { return b.Owner != nil }) {
		wish = wish.Without(layer.RootIDMap)
	}
	// A session's own directories hold no sockets: nobody outside reaches them.
	hostTrees := in.Workspace != nil || len(p.Spec.Read) > 0 || p.Spec.Rootfs != ""
	if !hostTrees {
		wish = wish.Without(layer.LandlockUnix)
	}
	plan, err := layer.Lower(wish, in.Host, in.Lower)
	if err != nil {
		return &runtime.Error{Step: runtime.StepLayers, Err: err}
	}
	group := string(seccomp.Unix)
	apart := !hostTrees || plan.Enforce.Has(layer.LandlockUnix)
	switch named := slices.Contains(p.Groups, group); {
	case apart && !named:
		p.Groups = append(p.Groups, group)
	case !apart && named && !in.Lower.Has(layer.LandlockUnix) && !in.Lower.Has(layer.Landlock):
		return &runtime.Error{Step: runtime.StepLayers, Err: fmt.Errorf("profile %s names the group %s, and sockets in the host's directories that the box shows could then be connected to: that needs %s (%s), or lower = [%q] in the configuration",
			p.Profile.Profile.Name, group, layer.LandlockUnix, plan.Reports[layer.LandlockUnix].Detail, layer.LandlockUnix)}
	}
	if !plan.Enforce.Has(layer.RootIDMap) {
		if p.Overlay {
			return &runtime.Error{Step: runtime.StepLayers, Err: fmt.Errorf("profile %s has an overlay workspace, whose layer is id-mapped, and %s is given up (lower): use a profile with workspace.mode = \"ro\" or \"rw\"", p.Profile.Profile.Name, layer.RootIDMap)}
		}
		for i := range p.Spec.Binds {
			p.Spec.Binds[i].Owner = nil
		}
	}
	p.Spec.Layers = plan
	return nil
}

// digest covers everything that decides what runs, and nothing else.
func (p *Plan) digest() string {
	s := newSeal()
	s.add("argv", p.Call.Argv...)
	s.add("env", p.Call.Env...)
	s.add("cwd", p.Call.Dir)
	s.add("requires", p.Call.Requires...)
	s.add("requires-any", p.Call.RequiresAny...)
	s.add("profile", p.Profile.Profile.Name, p.Profile.Digest)
	if p.Skill != nil {
		s.add("skill", p.Skill.Name, p.Skill.Digest, p.Script)
	}
	s.add("workspace-mode", string(p.Profile.Profile.Workspace.Mode))
	if w := p.Workspace; w != nil {
		s.add("workspace", w.Path, strconv.FormatUint(w.Identity.Dev, 10), strconv.FormatUint(w.Identity.Ino, 10))
		s.numbers("workspace-owner", int64(w.Owner.UID), int64(w.Owner.GID))
	}
	if p.Overlay {
		s.numbers("overlay", flag(p.Request.Keep), flag(p.Request.DryRun))
	}
	for _, variable := range slices.Sorted(maps.Keys(p.Secrets)) {
		s.add("secret", variable, p.Secrets[variable])
	}
	s.numbers("wall-time", int64(p.Call.WallTime)) // the other limits are the profile's, and in its digest
	s.numbers("layers", int64(p.Spec.Layers.Enforce), int64(p.Spec.Layers.ABI))
	s.add("groups", p.Groups...)
	in := p.Request.Stdin
	s.add("stdin", string(in.Kind), in.Path, in.Digest)
	s.numbers("stdin-file", int64(in.Identity.Dev), int64(in.Identity.Ino), in.Size, in.Changed)
	if x := p.Executable; p.Sealed != nil {
		s.add("sealed", p.Sealed.From, p.Sealed.Digest)
	} else {
		s.add("executable", x.Path, x.Host)
		s.numbers("executable-file", int64(x.Identity.Dev), int64(x.Identity.Ino), x.Size, x.Changed)
	}
	if i := p.Interpreted; i != nil {
		s.add("script", i.From, i.Digest)
	}
	for _, n := range p.Named {
		s.add("file", strconv.Itoa(n.Argument), n.Path, n.Digest)
	}
	s.add("session", p.Request.Session)
	if t := p.Request.Trees; t != nil {
		s.add("session-trees", t.Workspace, t.Tmp)
		s.numbers("session-owner", int64(t.Owner.UID), int64(t.Owner.GID))
	}
	s.numbers("requester", int64(p.Request.Requester))
	s.add("agent", p.Request.Agent)
	return s.sum()
}

// Verify says whether what the plan names on the host still is what it was.
func (p *Plan) Verify() error {
	if p.Workspace != nil {
		if err := p.Workspace.same(); err != nil {
			return err
		}
	}
	if now := viewOf(&p.Spec).find(p.Call.Argv[0], p.Call.Dir, p.Call.Env); now != p.Executable {
		return fmt.Errorf("%s is another file now than when the call was planned: ask again", p.programName())
	}
	return p.sameFiles()
}

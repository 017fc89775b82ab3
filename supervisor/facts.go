// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Fact is one thing that a plan is, for people. Everything in it that somebody
// else chose is made visible.
type Fact struct {
	Name   string // never empty
	Value  string
	Digest string // of the same; on a line of its own, to be copied
}

// Facts says the whole plan. What it leaves out, a person can't have agreed to.
func (p *Plan) Facts() []Fact {
	var list []Fact
	add := func(name, format string, args ...any) {
		list = append(list, Fact{Name: name, Value: fmt.Sprintf(format, args...)})
	}
	digest := func(of string) { list[len(list)-1].Digest = of }

	p.commandFacts(add)
	if p.Sealed != nil {
		add("program", "runs from a sealed copy of %s", visible.Text(p.Sealed.From))
		digest(p.Sealed.Digest)
	}
	p.fileFacts(add, digest)
	if p.Skill != nil {
		add("skill", "%s, from %s", visible.Text(p.Skill.Name), visible.Text(p.Skill.Source))
		digest(p.Skill.Digest)
	}
	add("profile", "%s, from %s", visible.Text(p.Profile.Profile.Name), visible.Text(p.Profile.Source))
	digest(p.Profile.Digest)
	p.treeFacts(add)
	network := "none"
	if p.Profile.Profile.Network.Loopback {
		network = "none but a loopback of the box's own"
	}
	if p.Reaches {
		network = "out through clawsup-egress, as rules and people let it"
	}
	add("network", "%s", network)
	if len(p.Secrets) > 0 {
		var words []string
		for _, variable := range slices.Sorted(maps.Keys(p.Secrets)) {
			words = append(words, fmt.Sprintf("%s stands for %s", visible.Text(variable), visible.Text(p.Secrets[variable])))
		}
		add("secrets", "%s", strings.Join(words, ", "))
	}
	if len(p.Groups) > 0 {
		add("system calls", "base, %s", strings.Join(p.Groups, ", "))
	}
	add("stdin", "%s", p.Request.Stdin)
	digest(p.Request.Stdin.Digest)
	p.limitFacts(add)
	add("environment", "%s", environment(p.Call.Env))
	switch {
	case p.Request.Called != "":
		add("session", "%s, which the requester calls %s", p.Request.Session, visible.Quote(p.Request.Called))
	case p.Request.Session != "":
		add("session", "%s", p.Request.Session)
	}
	if p.Request.Agent != "" {
		add("asked by", "agent %s, uid %d", p.Request.Agent, p.Request.Requester)
	} else {
		add("asked by", "uid %d", p.Request.Requester)
	}
	p.layerFacts(add)
	return list
}

// adder takes a fact as a name and a format.
type adder func(name, format string, args ...any)

// commandFacts shows the command in one line if it fits, or else every
// argument by itself, so that none can pass for something else.
func (p *Plan) commandFacts(add adder) {
	if all := quoted(p.Call.Argv); visible.Columns(all) <= valueWidth {
		add("command", "%s", all)
	} else {
		for i, a := range p.Call.Argv {
			name := "command"
			if i > 0 {
				name = fmt.Sprintf("argument %d", i)
			}
			add(name, "%s", visible.Quote(a))
		}
	}
	switch x := p.Executable; {
	case p.Sealed != nil: // shown by its origin
	case x.Path == "":
		add("program", "which one that is, only the box can tell")
	case x.Path != p.Call.Argv[0]:
		add("program", "%s", visible.Text(x.Path))
	}
	if len(p.Call.Requires) > 0 {
		add("requires", "%s", texts(p.Call.Requires))
	}
	if len(p.Call.RequiresAny) > 0 {
		add("requires one", "%s", texts(p.Call.RequiresAny))
	}
}

// treeFacts says what of the host the box shows.
func (p *Plan) treeFacts(add adder) {
	mode := p.Profile.Profile.Workspace.Mode
	const unsealed = "other workspace files: they can change, and no digest has them"
	switch w := p.Workspace; {
	case w == nil && mode != profiles.WorkspaceNone && p.Request.Trees != nil:
		add("workspace", "the session's own, read and written at once, kept for its next call")
		add("not sealed", unsealed)
	case w == nil && mode == profiles.WorkspaceScratch:
		add("workspace", "an empty one in memory, thrown away")
	case w == nil:
		add("workspace", "none")
	case mode == profiles.WorkspaceRW:
		add("workspace", "%s, read and WRITTEN AT ONCE as %s", visible.Text(w.Path), w.ownerName())
		add("not sealed", unsealed)
	case mode == profiles.WorkspaceOverlay:
		then := "decided when it has ended"
		switch {
		case p.Request.DryRun:
			then = "shown and thrown away"
		case p.Request.Keep:
			then = "kept for the session's next call"
		}
		add("workspace", "%s, read, and written to a layer as %s: what changes is %s", visible.Text(w.Path), w.ownerName(), then)
		add("not sealed", unsealed)
	default:
		add("workspace", "%s, read-only, as %s", visible.Text(w.Path), w.ownerName())
		add("not sealed", unsealed)
	}
	if p.Spec.Rootfs != "" {
		add("rootfs", "%s, in place of the host's programs", visible.Text(p.Spec.Rootfs))
	}
	if len(p.Spec.Read) > 0 {
		add("reads also", "%s", texts(p.Spec.Read))
	}
	proc := "own processes, and what programs look up of the host"
	if p.Spec.ProcPids {
		proc = "own processes"
	}
	add("/proc", "%s", proc)
}

// limitFacts says what the call may use.
func (p *Plan) limitFacts(add adder) {
	l := &p.Profile.Profile.Limits
	add("limits", "memory %s, %d processes, cpu %g of a core for %s, time %s",
		l.Memory, l.Pids, l.CPU, l.CPUTime, profiles.Duration(p.Call.WallTime))
	add("files", "one %s, %d open, stack %s, stdout %s, stderr %s", l.FileSize, l.OpenFiles, l.Stack, l.Stdout, l.Stderr)
	scratch := ""
	if p.Profile.Profile.Workspace.Mode == profiles.WorkspaceScratch {
		scratch = fmt.Sprintf("; workspace %s, %d files", l.Scratch, l.ScratchFiles)
	}
	tmp := fmt.Sprintf("%s, %d files", l.Tmp, l.TmpFiles)
	if p.Request.Trees != nil {
		tmp = "the session's, kept for its next call"
		scratch = ""
	}
	if p.Overlay {
		scratch += fmt.Sprintf("; layer %s, %d files", l.Layer, l.LayerFiles)
	}
	add("space", "/tmp %s; /dev/shm %s%s; disk %s/s in, %s/s out", tmp, l.Shm, scratch, l.DiskRead, l.DiskWrite)
}

// layerFacts names what is wished for and not enforced: each layer that was
// given up, and in one line those for which another stands in.
func (p *Plan) layerFacts(add adder) {
	var covered []string
	verdict := "all enforced"
	for _, r := range p.Spec.Layers.Reports {
		switch r.State {
		case layer.Lowered:
			add("NOT ENFORCED", "%s: %s", r.Layer, r.Detail)
			verdict = "all others are enforced"
		case layer.Covered:
			covered = append(covered, r.Layer.String())
		}
	}
	if covered != nil {
		verdict += " but " + strings.Join(covered, ", ") + ", which others cover"
	}
	add("layers", "%s", verdict)
}

// texts lists names that somebody chose.
func texts(names []string) string {
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = visible.Text(n)
	}
	return strings.Join(list, ", ")
}

// environment shows the variables of a call, their values quoted.
func environment(env []string) string {
	list := make([]string, len(env))
	for i, v := range env {
		key, value, _ := strings.Cut(v, "=")
		list[i] = key + "=" + visible.Quote(value)
	}
	return strings.Join(list, " ")
}

// quoted shows every element of a command with its boundaries.
func quoted(argv []string) string {
	list := make([]string, len(argv))
	for i, a := range argv {
		list[i] = visible.Quote(a)
	}
	return strings.Join(list, " ")
}

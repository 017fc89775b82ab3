// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"fmt"
	"strings"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Fact is one line of what a plan is, for people. Everything in it that
// somebody else chose is made visible.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// facts says the whole plan. What it leaves out, a person can't have agreed to.
func (p *Plan) facts() []Fact {
	var list []Fact
	add := func(name, format string, args ...any) {
		list = append(list, Fact{name, fmt.Sprintf(format, args...)})
	}
	add("command", "%s", quoted(p.Call.Argv))
	switch x := p.Executable; {
	case x.Path == "":
		add("", "which program that is, only the box can tell")
	case x.Path != p.Call.Argv[0]:
		add("", "which is %s", visible.Text(x.Path))
	}
	if p.Skill != nil {
		add("skill", "%s  %s", visible.Text(p.Skill.Name), p.Skill.Digest)
		add("", "from %s", visible.Text(p.Skill.Source))
	}
	add("profile", "%s  %s", visible.Text(p.Profile.Profile.Name), p.Profile.Digest)
	add("", "from %s", visible.Text(p.Profile.Source))
	p.workspaceFacts(add)
	network := "none"
	if p.Profile.Profile.Network.Loopback {
		network = "none but a loopback of the box's own"
	}
	add("network", "%s", network)
	add("stdin", "%s", p.Request.Stdin)
	l := &p.Profile.Profile.Limits
	add("limits", "memory %s, processes %d, cpu %g of a core, time %s (cpu %s)",
		l.Memory, l.Pids, l.CPU, profiles.Duration(p.Call.WallTime), l.CPUTime)
	add("", "stdout %s, stderr %s, /tmp %s, one file %s", l.Stdout, l.Stderr, l.Tmp, l.FileSize)
	add("environment", "%s", environment(p.Call.Env))
	if p.Request.Session != "" {
		add("session", "%s", p.Request.Session)
	}
	add("asked by", "uid %d", p.Request.Requester)
	p.layerFacts(add)
	return list
}

func (p *Plan) workspaceFacts(add func(name, format string, args ...any)) {
	mode := p.Profile.Profile.Workspace.Mode
	switch w := p.Workspace; {
	case w == nil && mode == profiles.WorkspaceScratch:
		add("workspace", "an empty one in memory, thrown away")
	case w == nil:
		add("workspace", "none")
	case mode == profiles.WorkspaceRW:
		add("workspace", "%s, read and WRITTEN AT ONCE as %s", visible.Text(w.Path), w.ownerName())
		add("", "what is in it now is not part of the digest")
	default:
		add("workspace", "%s, read-only, as %s", visible.Text(w.Path), w.ownerName())
		add("", "what is in it now is not part of the digest")
	}
}

// layerFacts names what is wished for and not enforced: each layer that was
// given up, and in one line those for which another stands in.
func (p *Plan) layerFacts(add func(name, format string, args ...any)) {
	var covered []string
	name, verdict := "layers", "all enforced"
	for _, r := range p.Spec.Layers.Reports {
		switch r.State {
		case layer.Lowered:
			add(name, "%s is NOT ENFORCED: %s", r.Layer, r.Detail)
			name, verdict = "", "all others are enforced"
		case layer.Covered:
			covered = append(covered, r.Layer.String())
		}
	}
	if covered != nil {
		verdict += " but " + strings.Join(covered, ", ") + ", which this kernel lacks and other layers cover"
	}
	add(name, "%s", verdict)
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

// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"slices"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/supervisor"
)

func planOptions(t *testing.T, change func(*Options)) *Options {
	t.Helper()
	profile, err := profiles.Load("agent", nil)
	must(t, err)
	o := &Options{
		Config: supervisor.AgentConfig{
			Name: "claw", Command: []string{"/usr/bin/claw", "gateway"}, UID: 1234, GID: 1235,
			StateDir: "/var/lib/claw", Dir: "/var/lib/claw", Read: []string{"/opt/claw"}, Network: supervisor.AgentNetworkNone,
			Limits: supervisor.AgentLimits{Memory: 100 << 20}, Pass: []string{"TZ"},
		},
		Profile: profile, Workspaces: []Workspace{{"main", "/srv/main"}}, SocketDir: "/run/clawsup/agents/claw",
	}
	if change != nil {
		change(o)
	}
	return o
}

// newHost has everything, and a Landlock of that version.
func newHost(abi int) layer.Host { return layer.Host{Landlock: abi} }

func TestPlan(t *testing.T) {
	home := rootfs.Identity{Dev: 1, Ino: 2}
	p, err := makePlan(planOptions(t, nil), newHost(9), 0, home, []string{"TZ=UTC", "SECRET=x", "TZ=other"})
	must(t, err)
	if *p.spec.Tool != (runtime.Identity{UID: 1234, GID: 1235}) || p.spec.Network != runtime.NetworkNone {
		t.Errorf("%+v", p.spec)
	}
	if g := p.spec.Group; g.Memory != 100<<20 || g.Pids != 512 || g.CPU != 2 {
		t.Errorf("limits %+v", g)
	}
	for _, b := range p.spec.Binds {
		writable := b.Target == "/var/lib/claw"
		sockets := writable || b.Target == SocketDir
		if b.Writable != writable || b.Sockets != sockets || writable && b.Identity != home {
			t.Errorf("%+v", b)
		}
	}
	if len(p.spec.Binds) != 3 || !slices.Equal(p.spec.Read, []string{"/opt/claw"}) {
		t.Errorf("shown are %+v and %v", p.spec.Binds, p.spec.Read)
	}
	want := []string{"HOME=/var/lib/claw", "LANG=C.UTF-8", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR=/tmp", "TZ=UTC"}
	if !slices.Equal(p.call.Env, want) {
		t.Errorf("environment %q", p.call.Env)
	}
	if !slices.Equal(p.groups, []string{"inotify", "loopback", "unix"}) || len(p.notes) != 0 {
		t.Errorf("groups %q, notes %q", p.groups, p.notes)
	}
	if !p.spec.Layers.Enforce.Has(layer.LandlockUnix) || !p.spec.Layers.Enforce.Has(layer.Network) {
		t.Errorf("layers %+v", p.spec.Layers)
	}
}

func TestPlanSaysWhatIsNotProtected(t *testing.T) {
	for _, c := range []struct {
		name   string
		abi    int
		lower  layer.Set
		change func(*Options)
		note   string
	}{
		{"sockets in what it sees", 7, 0, nil, "Landlock ABI 9"},
		{"the host's network", 9, 0, func(o *Options) { o.Config.Network = supervisor.AgentNetworkHost }, "every service on the host's loopback"},
		{"a layer that was given up", 9, layer.Of(layer.Seccomp), nil, "layer seccomp is not enforced"},
	} {
		p, err := makePlan(planOptions(t, c.change), newHost(c.abi), c.lower, rootfs.Identity{}, nil)
		must(t, err)
		if !slices.ContainsFunc(p.notes, func(n string) bool { return strings.Contains(n, c.note) }) {
			t.Errorf("%s: %q", c.name, p.notes)
		}
		if r := p.spec.Layers.Reports[layer.LandlockUnix]; c.abi < 9 && (r.State != layer.Lowered || r.Layer != layer.LandlockUnix) {
			t.Errorf("%s: it is reported as %+v", c.name, r)
		}
	}
}

func TestPlanRefuses(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"a loader's variable": func(o *Options) { o.Config.Environment = map[string]string{"LD_PRELOAD": "/tmp/x.so"} },
		"one that is passed":  func(o *Options) { o.Config.Pass = []string{"BASH_ENV"} },
		"ports without loopback": func(o *Options) {
			loaded := *o.Profile
			loaded.Profile.Network.Loopback = false
			o.Profile, o.Config.Publish = &loaded, []string{"127.0.0.1:18789"}
		},
	} {
		if _, err := makePlan(planOptions(t, change), newHost(9), 0, rootfs.Identity{}, []string{"BASH_ENV=/tmp/x"}); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if _, err := makePlan(planOptions(t, nil), newHost(0), 0, rootfs.Identity{}, nil); err == nil {
		t.Error("a host without Landlock was taken")
	}
}

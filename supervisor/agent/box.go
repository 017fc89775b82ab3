// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/runtime/seccomp"
	"github.com/clawsup/clawsup/supervisor"
)

// SocketDir is where the agent finds its call.sock.
const SocketDir = "/run/clawsup"

// shmFiles bounds the inodes of /dev/shm: shared memory is few and large.
const shmFiles = 256

// plan is a box and what runs in it, as the configuration has it.
type plan struct {
	spec   runtime.Spec // without its Filter, which groups make
	call   runtime.Call
	groups []string // of the system call table
	notes  []string // what an operator should know
}

// makePlan is a pure function of what was configured, what the kernel offers
// and what the operator gave up. home is the state directory as it was opened.
func makePlan(o *Options, host layer.Host, lower layer.Set, home rootfs.Identity, environ []string) (*plan, error) {
	c, profile := &o.Config, &o.Profile.Profile
	l := &profile.Limits
	p := &plan{
		spec: runtime.Spec{
			Rootfs: profile.Files.Rootfs, ProcPids: profile.Files.Proc == profiles.ProcPids,
			Read: append(slices.Clone(profile.Files.Read), c.Read...),
			Tool: &runtime.Identity{UID: int(c.UID), GID: int(c.GID)},
			Group: runtime.Group{
				Memory: int64(cmp.Or(c.Limits.Memory, l.Memory)), Pids: cmp.Or(c.Limits.Pids, l.Pids), CPU: cmp.Or(c.Limits.CPU, l.CPU),
				DiskRead: int64(l.DiskRead), DiskWrite: int64(l.DiskWrite),
			},
			Tmpfs: []rootfs.Tmpfs{
				{Target: rootfs.TmpDir, Size: int64(l.Tmp), Files: l.TmpFiles, Exec: true},
				{Target: rootfs.ShmDir, Size: int64(l.Shm), Files: shmFiles},
			},
			Binds:    []rootfs.Bind{{Source: c.StateDir, Target: c.StateDir, Writable: true, Sockets: true, Identity: home}},
			FileSize: int64(l.FileSize), OpenFiles: l.OpenFiles, Stack: int64(l.Stack),
		},
		call:   runtime.Call{Argv: slices.Clone(c.Command), Dir: c.Dir},
		groups: supervisor.SeccompGroups(profile),
	}
	if o.SocketDir != "" {
		p.spec.Binds = append(p.spec.Binds, rootfs.Bind{Source: o.SocketDir, Target: SocketDir, Sockets: true})
	}
	for _, w := range o.Workspaces {
		p.spec.Binds = append(p.spec.Binds, rootfs.Bind{Source: w.Path, Target: w.Path})
	}
	if len(c.Publish)+len(c.Loopback) > 0 && !profile.Network.Loopback {
		return nil, fmt.Errorf("publish and loopback need a profile with network.loopback = true; %s has none", profile.Name)
	}
	var err error
	if p.call.Env, err = environment(c, &profile.Environment, environ); err != nil {
		return nil, err
	}
	return p, p.layers(c, profile, host, lower)
}

// environment is built from nothing: what the profile sets, HOME, what the
// section sets, and what both pass.
func environment(c *supervisor.AgentConfig, e *profiles.Environment, environ []string) ([]string, error) {
	env := maps.Clone(e.Set)
	if env == nil {
		env = map[string]string{}
	}
	env["HOME"] = c.StateDir
	maps.Copy(env, c.Environment)
	for _, name := range slices.Concat(e.Pass, c.Pass) {
		for _, v := range environ {
			if value, ok := strings.CutPrefix(v, name+"="); ok {
				env[name] = value
				break // as getenv(3) finds it
			}
		}
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if err := profiles.CheckEnv(name, env[name]); err != nil {
			return nil, fmt.Errorf("environment: %w", err)
		}
		list = append(list, name+"="+env[name])
	}
	return list, nil
}

// layers wishes for every layer that has something to do for an agent. It must
// connect to its call.sock, so that it has Unix sockets on every kernel.
func (p *plan) layers(c *supervisor.AgentConfig, profile *profiles.Profile, host layer.Host, lower layer.Set) error {
	wish := layer.All.Without(layer.RootIDMap) // it is its own user on the host
	if profile.Network.Loopback {
		wish = layer.LedNetwork(wish)
	}
	if c.Network == supervisor.AgentNetworkEgress {
		if profile.Network.Mode != profiles.NetworkEgress {
			return fmt.Errorf("network = \"egress\" needs a profile that says what may be reached; %s has network.mode = %q", profile.Name, profile.Network.Mode)
		}
		wish = layer.LedNetwork(wish)
		p.spec.Network = runtime.NetworkEgress
	}
	if c.Network == supervisor.AgentNetworkHost {
		wish = layer.HostNetwork(wish)
		p.spec.Network = runtime.NetworkHost
		p.groups = append(p.groups, string(seccomp.Loopback))
		p.notes = append(p.notes, `network = "host": it reaches whatever this host reaches, and every service on the host's loopback`)
	}
	plan, err := layer.Lower(wish, host, lower)
	if err != nil {
		return &runtime.Error{Step: runtime.StepLayers, Err: err}
	}
	if !plan.Enforce.Has(layer.LandlockUnix) {
		plan.Reports[layer.LandlockUnix].State = layer.Lowered
		plan.Reports[layer.LandlockUnix].Detail = "an agent needs Unix sockets, and this kernel can't tell them apart by path"
		p.notes = append(p.notes, "it can connect to any Unix socket that lies in a tree which it sees and that its user may write to, not to its call.sock alone: that needs Landlock ABI 9")
	}
	for _, r := range plan.Reports {
		if r.State == layer.Lowered && r.Layer != layer.LandlockUnix {
			p.notes = append(p.notes, fmt.Sprintf("layer %s is not enforced: %s", r.Layer, r.Detail))
		}
	}
	p.groups = append(p.groups, string(seccomp.Unix))
	slices.Sort(p.groups)
	p.groups = slices.Compact(p.groups)
	p.spec.Layers = plan
	return nil
}

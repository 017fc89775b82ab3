// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/clawsup/clawsup/supervisor/api"
)

type resident interface {
	Name() string
	Run(context.Context)
	Start(context.Context) error
	Stop(context.Context) error
	Restart(context.Context) error
	Freeze(context.Context) error
	Thaw(context.Context) error
	Kill(context.Context, string) error
	Leave(context.Context) error
	Restore(context.Context, string) error
	Logs(int64) ([]byte, error)
	Status() api.Agent
}

func (b *Broker) openAgents(ctx context.Context) error { return nil }

func (b *Broker) reloadAgents(g *Generation) {}

// agentList gives the agents by name.
func (b *Broker) agentList() []resident {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.SortedFunc(maps.Values(b.agents), func(x, y resident) int { return cmp.Compare(x.Name(), y.Name()) })
}

// agentNamed gives an agent by its name; empty where there is one alone.
func (b *Broker) agentNamed(name string) (resident, error) {
	list := b.agentList()
	if name == "" && len(list) == 1 {
		return list[0], nil
	}
	for _, a := range list {
		if a.Name() == name {
			return a, nil
		}
	}
	switch {
	case len(list) == 0:
		return nil, failf(api.CodeNotFound, "no agent is configured: see [agent] in 'man clawsup.toml' or docs/reference.md")
	case name == "":
		return nil, failf(api.CodeParams, "there are %d agents; name one", len(list))
	}
	return nil, failf(api.CodeNotFound, "there is no agent %q", cut(name, 64))
}

// agentView is an agent's state with its labels.
func (b *Broker) agentView(a resident) api.Agent {
	v := a.Status()
	v.Labels, _, _ = b.sessions.Labels("", a.Name())
	v.Labels.Untrusted = true // it reads hostile text all day
	return v
}

func (b *Broker) agentStatus(_ context.Context, _ client, r *api.Request) (any, error) {
	ref, err := params[api.AgentRef](r)
	if err != nil {
		return nil, err
	}
	views := []api.Agent{}
	if ref.Agent != "" {
		a, err := b.agentNamed(ref.Agent)
		if err != nil {
			return nil, err
		}
		return append(views, b.agentView(a)), nil
	}
	for _, a := range b.agentList() {
		views = append(views, b.agentView(a))
	}
	return views, nil
}

// agentAct does something to the agent that a request names.
func (b *Broker) agentAct(ctx context.Context, who client, r *api.Request, what string, do func(resident) error) (any, error) {
	ref, err := params[api.AgentRef](r)
	if err != nil {
		return nil, err
	}
	a, err := b.agentNamed(ref.Agent)
	if err != nil {
		return nil, err
	}
	// Acting comes first: stopping waits for no disk.
	err = do(a)
	if e := b.record(context.WithoutCancel(ctx), act(who, what+" agent "+a.Name())); e != nil {
		b.logFailed(e)
	}
	if err != nil {
		return nil, failf(api.CodeConflict, "%v", err)
	}
	return b.agentView(a), nil
}

func (b *Broker) agentStart(ctx context.Context, who client, r *api.Request) (any, error) {
	if err := b.open(); err != nil {
		return nil, err
	}
	return b.agentAct(ctx, who, r, "start", func(a resident) error { return a.Start(ctx) })
}

func (b *Broker) agentStop(ctx context.Context, who client, r *api.Request) (any, error) {
	return b.agentAct(ctx, who, r, "stop", func(a resident) error { return a.Stop(ctx) })
}

func (b *Broker) agentRestart(ctx context.Context, who client, r *api.Request) (any, error) {
	if err := b.open(); err != nil {
		return nil, err
	}
	return b.agentAct(ctx, who, r, "restart", func(a resident) error { return a.Restart(ctx) })
}

func (b *Broker) agentFreeze(ctx context.Context, who client, r *api.Request) (any, error) {
	return b.agentAct(ctx, who, r, "freeze", func(a resident) error { return a.Freeze(ctx) })
}

func (b *Broker) agentThaw(ctx context.Context, who client, r *api.Request) (any, error) {
	return b.agentAct(ctx, who, r, "thaw", func(a resident) error { return a.Thaw(ctx) })
}

func (b *Broker) agentLogs(_ context.Context, _ client, r *api.Request) (any, error) {
	l, err := params[api.Logs](r)
	if err != nil {
		return nil, err
	}
	a, err := b.agentNamed(l.Agent)
	if err != nil {
		return nil, err
	}
	if l.Bytes <= 0 {
		l.Bytes = 64 << 10
	}
	data, err := a.Logs(min(l.Bytes, maxLog))
	return api.Log{Data: data}, err
}

// maxLog bounds what one answer has of an agent's output: with base64 it fits a frame.
const maxLog = 512 << 10

func (b *Broker) agentRestore(ctx context.Context, who client, r *api.Request) (any, error) {
	p, err := params[api.Restore](r)
	if err != nil {
		return nil, err
	}
	a, err := b.agentNamed(p.Agent)
	if err != nil {
		return nil, err
	}
	err = a.Restore(ctx, p.Snapshot)
	if e := b.record(context.WithoutCancel(ctx), act(who, "restore agent "+a.Name()+" from "+cut(p.Snapshot, 100))); e != nil {
		b.logFailed(e)
	}
	if err != nil {
		return nil, failf(api.CodeConflict, "%v", err)
	}
	return b.agentView(a), nil
}

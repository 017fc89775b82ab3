// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/agent"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/systemd"
)

// openAgents makes the configured agents; what the descriptor store kept of one
// goes on. Serve starts the others.
func (b *Broker) openAgents(ctx context.Context) error {
	g := b.generation.Load()
	locked := b.book.Locked() != nil
	for _, c := range g.Config.Agents {
		b.made[c.Name] = c
		c.Autostart = c.Autostart && !locked
		a, err := b.newAgent(g, &c)
		if err != nil {
			return err
		}
		if locked { // one that was kept, if the lockdown was cut short
			if err := a.Kill(ctx, "lockdown"); err != nil {
				return err
			}
		}
		b.mu.Lock()
		b.agents[a.Name()] = a
		b.mu.Unlock()
	}
	// What was kept of agents that are no longer configured ends here: their
	// clawsup-init sees its socket close.
	for name, files := range b.options.Given {
		if agentName, ok := strings.CutPrefix(name, agent.StoreName("")); ok && g.agent(agentName) == nil {
			closeAll(files)
			if err := forget(name); err != nil {
				logrus.WithError(err).Warn("systemd could not be told to forget an agent")
			}
		}
	}
	return b.sweepWays(g)
}

func (b *Broker) newAgent(g *Generation, c *supervisor.AgentConfig) (*agent.Agent, error) {
	o := agent.Options{
		Config: *c, Supervisor: b.supervisor, Profile: g.profiles[c.Profile],
		SocketDir: b.agentDir(c.Name), Dir: filepath.Join(b.supervisor.Config.StateDir, "agents", c.Name),
		Relay: b.relay, Adopt: b.options.Given[agent.StoreName(c.Name)],
		Receipt: b.agentReceipt,
		Report:  func(text string, err error) { logrus.WithError(err).Error(text) },
		Changed: func(v api.Agent) { logrus.WithField("agent", v.Name).Info(v.State) },
	}
	o.Way = func(adopt bool) (agent.Way, error) { return b.wayOf(c, adopt) }
	for _, w := range g.Config.Workspaces {
		if len(c.Workspaces) == 0 || slices.Contains(c.Workspaces, w.Name) {
			o.Workspaces = append(o.Workspaces, agent.Workspace{Name: w.Name, Path: w.Path})
		}
	}
	if b.options.Stores {
		o.Keep, o.Forget = keep, forget
	}
	return agent.New(o)
}

// needsRelay says whether an agent has something that clawsup-egress does from
// its start on. Agents don't change while the daemon runs.
func needsRelay(g *Generation) bool {
	return slices.ContainsFunc(g.Config.Agents, func(a supervisor.AgentConfig) bool {
		return len(a.Publish)+len(a.Loopback) > 0 || a.Ready.HTTP != "" || a.Ready.TCP != ""
	})
}

// keep has systemd hold copies of descriptors, so that they outlive this
// process: an agent whose descriptors are nowhere else would end with it.
func keep(name string, files []*os.File) error {
	_, err := systemd.Store(name, files...)
	return err
}

func forget(name string) error {
	_, err := systemd.Remove(name)
	return err
}

// agentReceipt writes a receipt of an agent's life. Nobody waits for it: an
// agent that is being killed must not live until a disk has answered.
func (b *Broker) agentReceipt(r audit.Receipt) {
	if _, err := b.log.Begin(context.Background(), r); err != nil {
		b.logFailed(err)
	}
}

// reloadAgents notes which agents are not as a new generation has them. What
// an agent may ask for is the new generation's at once; its socket and its box
// were made by this process for the old one, and stay so until the next.
func (b *Broker) reloadAgents(g *Generation) {
	var notes []string
	for _, a := range b.agentList() {
		switch c := g.agent(a.Name()); {
		case c == nil:
			notes = append(notes, fmt.Sprintf("agent %s is no longer configured and may ask for nothing: restart clawsupd to end it", a.Name()))
		case !reflect.DeepEqual(*c, b.made[a.Name()]):
			notes = append(notes, fmt.Sprintf("agent %s has changed in the configuration: restart clawsupd, then the agent (clawsup agent restart %s)", a.Name(), a.Name()))
		}
	}
	for _, c := range g.Config.Agents {
		if _, ok := b.made[c.Name]; !ok {
			notes = append(notes, fmt.Sprintf("agent %s is new in the configuration: restart clawsupd to start it", c.Name))
		}
	}
	for _, n := range notes {
		logrus.Warn(n)
	}
	b.mu.Lock()
	b.agentNotes = notes
	b.mu.Unlock()
}

// StopAgents has every agent end in its own time, which its stop timeout
// bounds: for an end of this process after which nobody keeps them.
func (b *Broker) StopAgents(ctx context.Context) error {
	var all sync.WaitGroup
	agents := b.agentList()
	errs := make([]error, len(agents))
	for i, a := range agents {
		all.Go(func() { errs[i] = a.Stop(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// agentList gives the agents by name.
func (b *Broker) agentList() []*agent.Agent {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.SortedFunc(maps.Values(b.agents), func(x, y *agent.Agent) int { return cmp.Compare(x.Name(), y.Name()) })
}

// agentNamed gives an agent by its name; empty where there is one alone.
func (b *Broker) agentNamed(name string) (*agent.Agent, error) {
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
		return nil, failf(api.CodeNotFound, "no agent is configured: see [agent] in docs/reference.md")
	case name == "":
		return nil, failf(api.CodeParams, "there are %d agents; name one", len(list))
	}
	return nil, failf(api.CodeNotFound, "there is no agent %q", cut(name, 64))
}

// agentView is an agent's state with its labels.
func (b *Broker) agentView(a *agent.Agent) api.Agent {
	v := a.Status()
	v.Labels = b.labelsOf(a.Name(), "")
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

// agentAct is a method that does something to the agent that a request names.
func agentAct(what string, do func(*agent.Agent, context.Context) error) method {
	return func(b *Broker, ctx context.Context, who client, r *api.Request) (any, error) {
		ref, err := params[api.AgentRef](r)
		if err != nil {
			return nil, err
		}
		a, err := b.agentNamed(ref.Agent)
		if err != nil {
			return nil, err
		}
		// Acting comes first: stopping waits for no disk.
		err = do(a, ctx)
		if e := b.record(context.WithoutCancel(ctx), act(who, what+" agent "+a.Name())); e != nil {
			b.logFailed(e)
		}
		if err != nil {
			return nil, failf(api.CodeConflict, "%v", err)
		}
		return b.agentView(a), nil
	}
}

// whileOpen is a method that begins something, which a lockdown or a log that
// can't be written forbids.
func whileOpen(m method) method {
	return func(b *Broker, ctx context.Context, who client, r *api.Request) (any, error) {
		if err := b.open(); err != nil {
			return nil, err
		}
		return m(b, ctx, who, r)
	}
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

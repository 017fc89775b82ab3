// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/agent/snapshot"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/relay"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Workspace is a tree that the agent sees, read-only.
type Workspace struct{ Name, Path string }

// Options are what an agent is made from. Config and Profile don't change
// while it lives.
type Options struct {
	Config     supervisor.AgentConfig
	Supervisor *supervisor.Supervisor // in whose boxes it runs
	Profile    *profiles.Loaded       // of its box
	Workspaces []Workspace
	SocketDir  string        // of the host, shown at /run/clawsup; empty: nothing is there
	Dir        string        // of root's own: log and snapshots
	Relay      *relay.Helper // for publish, loopback and ready
	// Way makes a way out for one run, or takes up that of the run which is
	// adopted. It is for network = "egress".
	Way func(adopt bool) (Way, error)

	// Keep has somebody who outlives this process keep copies of the files
	// under the name, and Forget has them closed. nil: nobody does.
	Keep   func(name string, files []*os.File) error
	Forget func(name string) error
	Adopt  []*os.File // what was kept under StoreName by the process before; the agent's from now on

	Receipt func(audit.Receipt)          // of its life cycle; may be nil
	Changed func(api.Agent)              // after each change of state; may be nil
	Report  func(text string, err error) // what went wrong and stopped nothing; may be nil
}

// StoreName is the name under which an agent's descriptors are kept.
func StoreName(agent string) string { return "agent-" + agent }

// Agent is one. Its methods may be called from several goroutines.
type Agent struct {
	o     Options
	shelf *snapshot.Shelf

	sizeLook  time.Duration // see watchSize
	op        chan struct{} // holds one: one operation at a time
	life      context.Context
	die       context.CancelFunc
	watching  sync.WaitGroup
	published []*relay.Relay // op; from the first start to Leave, so that nobody else takes the port

	mu        sync.Mutex
	state     State               // mu
	since     time.Time           // mu; of state
	run       *run                // mu; nil: nothing runs
	held      bool                // mu; it is not started but by Start
	abort     context.CancelFunc  // mu; ends the operation at work; nil: none is
	restarts  int                 // mu; since this process began
	pauses    int                 // mu; in a row
	last      string              // mu; how it ended the last time
	nextAt    time.Time           // mu; of its next start
	timer     *time.Timer         // mu; starts it then
	snapshots []snapshot.Snapshot // mu; the newest first
	notes     []string            // mu; of the present box
	warnings  map[string]string   // mu; what went wrong lately, by what it was about
}

// Way is an agent's way out of its box.
type Way interface {
	Binds() []rootfs.Bind                        // what its box sees besides
	Environment(have []string) ([]string, error) // NAME=value, besides those that there are
	Open(in func(func() error) error) error      // in runs a function in the box's network, until Close or Leave
	Close() error                                // the box is gone
	Leave() error                                // the box stays, and this process ends
}

// run is one run of the program.
type run struct {
	service *runtime.Service
	way     Way // nil: none
	began   time.Time
	relays  []*relay.Relay // of loopback: they end with the box
	ending  context.CancelFunc
	ended   context.Context // done when nobody needs to ask whether it is ready any more

	ready   bool  // Agent.mu
	unready bool  // Agent.mu; it was ended because it did not get ready
	before  State // Agent.mu; of Frozen: what it was
}

// New makes an agent, which is stopped, or is the one that was kept.
func New(o Options) (*Agent, error) {
	if o.Receipt == nil {
		o.Receipt = func(audit.Receipt) {}
	}
	if o.Changed == nil {
		o.Changed = func(api.Agent) {}
	}
	if o.Report == nil {
		o.Report = func(string, error) {}
	}
	a := &Agent{o: o, sizeLook: sizeLook, op: make(chan struct{}, 1), since: time.Now(), warnings: map[string]string{}}
	a.life, a.die = context.WithCancel(context.Background())
	err := os.MkdirAll(o.Dir, 0o700)
	if err == nil {
		a.shelf, err = snapshot.OpenShelf(filepath.Join(o.Dir, "snapshots"))
	}
	if err == nil {
		a.snapshots, err = a.shelf.List()
	}
	if err != nil {
		return nil, fmt.Errorf("agent %s: %w", o.Config.Name, err)
	}
	if o.Adopt != nil {
		a.adopt()
	}
	return a, nil
}

// Name is the configured one.
func (a *Agent) Name() string { return a.o.Config.Name }

// Run starts the agent, if it is to be, and sees to its daily snapshots until
// ctx ends. What ends the agent is Stop, Kill or Leave.
func (a *Agent) Run(ctx context.Context) {
	if a.o.Config.Autostart && a.Status().State == Stopped.String() {
		if err := a.Start(ctx); err != nil {
			a.o.Report("start agent "+a.Name(), err)
		}
	}
	tick := time.NewTicker(dailyLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := a.daily(ctx, time.Now()); err != nil {
				a.o.Report("daily snapshot of agent "+a.Name(), err)
			}
		}
	}
}

// errBusy is what a caller gets whose context ended before its turn.
var errBusy = errors.New("something else is being done to the agent")

// begin takes the turn. What is then done gets the context, which ends by
// Kill, Leave, and not by the caller: half an operation helps nobody.
func (a *Agent) begin(ctx context.Context) (context.Context, error) {
	select {
	case a.op <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("agent %s: %w: %w", a.Name(), errBusy, ctx.Err())
	case <-a.life.Done():
		return nil, a.left()
	}
	op, abort := context.WithCancel(a.life)
	if op.Err() != nil {
		abort()
		<-a.op
		return nil, a.left()
	}
	a.mu.Lock()
	a.abort = abort
	a.mu.Unlock()
	return op, nil
}

func (a *Agent) left() error { return fmt.Errorf("agent %s: the supervisor is ending", a.Name()) }

// end gives the turn back.
func (a *Agent) end() {
	a.mu.Lock()
	a.abort()
	a.abort = nil
	a.mu.Unlock()
	<-a.op
}

// set changes the state and tells.
func (a *Agent) set(s State) {
	a.mu.Lock()
	a.change(s)
	a.mu.Unlock()
	a.o.Changed(a.Status())
}

// change changes the state. a.mu is held.
func (a *Agent) change(s State) {
	a.state, a.since = s, time.Now()
	a.nextAt = time.Time{}
}

// warn remembers, for Status, what went wrong and stopped nothing; nil means it
// went well again.
func (a *Agent) warn(about string, err error) {
	a.mu.Lock()
	if err == nil {
		delete(a.warnings, about)
	} else {
		a.warnings[about] = about + ": " + err.Error()
	}
	a.mu.Unlock()
	if err != nil {
		a.o.Report("agent "+a.Name()+": "+about, err)
	}
}

// Status is what may be told of it. Its labels are somebody else's to add.
func (a *Agent) Status() api.Agent {
	c := &a.o.Config
	a.mu.Lock()
	defer a.mu.Unlock()
	s := api.Agent{
		Name: c.Name, State: a.state.String(), Command: quoteAll(c.Command), User: c.User, UID: c.UID,
		Since: a.since, Restarts: a.restarts, Last: a.last, Next: a.nextAt,
		Network: string(c.Network), Publish: c.Publish, Snapshots: told(a.snapshots),
		Notes: append([]string(nil), a.notes...),
	}
	s.Notes = append(s.Notes, slices.Sorted(maps.Values(a.warnings))...)
	if r := a.run; r != nil {
		s.Ready = r.ready
		if p, err := r.service.Present(); err == nil {
			s.Memory, s.Pids = int64(p.Memory), int64(p.Pids)
		}
		if stats, err := r.service.Stats(); err == nil {
			s.CPU = stats.CPU
		}
	}
	return s
}

func quoteAll(argv []string) string {
	quoted := make([]string, len(argv))
	for i, s := range argv {
		quoted[i] = visible.Quote(s)
	}
	return strings.Join(quoted, " ")
}

func told(list []snapshot.Snapshot) []api.Snapshot {
	out := make([]api.Snapshot, len(list))
	for i, s := range list {
		out[i] = api.Snapshot{Name: s.Name, Time: s.Time, Bytes: s.Count.Bytes, Why: string(s.Why)}
	}
	return out
}

// Snapshots lists the copies of its state directory, the newest first.
func (a *Agent) Snapshots() []api.Snapshot {
	a.mu.Lock()
	defer a.mu.Unlock()
	return told(a.snapshots)
}

// receipt records a step of its life.
func (a *Agent) receipt(step, status string, exit *int, facts ...audit.Fact) {
	c := &a.o.Config
	a.o.Receipt(audit.Receipt{
		Kind: audit.Agent, Requester: "clawsupd", Rule: "agent." + step, Status: status, Exit: exit, Profile: a.o.Profile.Digest,
		Facts: append([]audit.Fact{{Name: "agent", Value: c.Name}, {Name: "uid", Value: fmt.Sprint(c.UID)}}, facts...),
	})
}

// detail is a fact, bounded.
func detail(text string) audit.Fact {
	return audit.Fact{Name: "detail", Value: text[:min(len(text), 1024)]}
}

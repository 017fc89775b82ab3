// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// kind is which of the sockets a door is.
type kind int

const (
	operatorDoor kind = iota // RunDir/call.sock: root's own calls
	agentDoor                // RunDir/agents/NAME/call.sock: one agent's
	approvalDoor             // RunDir/approval.sock: people, by their role
	adminDoor                // RunDir/admin.sock: root
)

// door is a socket with what is known of everybody who comes through it.
type door struct {
	kind     kind
	agent    string // of agentDoor
	uid      uint32 // of agentDoor: the agent's
	listener *net.UnixListener
}

// name is the door's in logs and answers.
func (d *door) name() string {
	switch d.kind {
	case approvalDoor:
		return "approval.sock"
	case adminDoor:
		return "admin.sock"
	}
	return "call.sock"
}

func (d *door) close() error { return d.listener.Close() }

// client is who asks, as the kernel and the roles say.
type client struct {
	door *door
	uid  uint32
	user string // name; may be empty
	role approval.Role
}

func (c client) String() string {
	if c.user == "" {
		return fmt.Sprintf("uid %d", c.uid)
	}
	return fmt.Sprintf("uid %d (%s)", c.uid, visible.Text(c.user))
}

// owner is the client as one who asks for calls.
func (c client) owner() owner { return owner{agent: c.door.agent, uid: c.uid} }

func failf(code api.Code, format string, args ...any) error {
	return &api.Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// agentDir is where an agent's socket is on the host. The directory is what
// its box sees, so that a new socket in it is seen too.
func (b *Broker) agentDir(name string) string {
	return filepath.Join(b.supervisor.Config.RunDir, "agents", name)
}

// openDoors makes the sockets. An agent's is its own.
func (b *Broker) openDoors() error {
	run := b.supervisor.Config.RunDir
	add := func(d *door, l *net.UnixListener, err error) error {
		if err == nil {
			d.listener = l
			b.doors = append(b.doors, d)
		}
		return err
	}
	// Who may connect there is decided by uid, role and cgroup, not by the file.
	l, err := b.given("approval", filepath.Join(run, "approval.sock"), 0o666)
	if err := add(&door{kind: approvalDoor}, l, err); err != nil {
		return err
	}
	l, err = b.given("admin", filepath.Join(run, "admin.sock"), 0o600)
	if err := add(&door{kind: adminDoor}, l, err); err != nil {
		return err
	}
	l, err = b.kept(callStore+"root", filepath.Join(run, "call.sock"), 0o600, 0)
	if err := add(&door{kind: operatorDoor}, l, err); err != nil {
		return err
	}
	for _, a := range b.generation.Load().Config.Agents {
		if err := os.MkdirAll(b.agentDir(a.Name), 0o755); err != nil {
			return err
		}
		l, err := b.kept(callStore+"agent-"+a.Name, filepath.Join(b.agentDir(a.Name), "call.sock"), 0o660, a.GID)
		if err := add(&door{kind: agentDoor, agent: a.Name, uid: a.UID}, l, err); err != nil {
			return err
		}
	}
	return b.forgetOthers()
}

// admit says whether a peer may come through a door at all. Authority is the
// kernel's word about the peer: its uid, and where its process lives. Nobody
// out of a box, whatever its uid, gets near a door of people.
func (b *Broker) admit(d *door, p api.Peer) error {
	boxed := p.Cgroup != "" && b.supervisor.Host().Boxed(p.Cgroup)
	switch d.kind {
	case agentDoor:
		switch {
		case p.UID != d.uid:
			return fmt.Errorf("uid %d is not that of agent %s", p.UID, d.agent)
		case !boxed:
			return fmt.Errorf("only processes in the box of agent %s may ask here", d.agent)
		}
		return nil
	case operatorDoor, adminDoor:
		if p.UID != 0 {
			return fmt.Errorf("only root may ask here")
		}
	case approvalDoor:
		if role, _ := b.generation.Load().roles.Of(p.UID); role < approval.Viewer {
			return fmt.Errorf("uid %d has no role: an owner names approvers in [roles] of the configuration", p.UID)
		}
	}
	if p.Cgroup == "" {
		return fmt.Errorf("it can't be told where the process lives, and a box must not answer")
	}
	if boxed {
		return fmt.Errorf("a process in a box may not ask here")
	}
	return nil
}

// client tells who sent a request. The roles are those of this moment; an agent
// has none.
func (b *Broker) client(d *door, p api.Peer) client {
	c := client{door: d, uid: p.UID}
	if d.kind != agentDoor {
		c.role, c.user = b.generation.Load().roles.Of(p.UID)
	}
	return c
}

// stays says whether somebody who is being told things may still be: a role can
// be lost meanwhile.
func (b *Broker) stays(who client) error {
	if who.door.kind != approvalDoor {
		return nil
	}
	if role, _ := b.generation.Load().roles.Of(who.uid); role < approval.Viewer {
		return failf(api.CodeDenied, "%s has no role any more", who)
	}
	return nil
}

// serve answers at one door.
func (b *Broker) serve(ctx context.Context, d *door) error {
	s := &api.Server{
		Methods: map[string]api.Handler{},
		Admit:   func(p api.Peer) error { return b.admit(d, p) },
		Refused: b.refusals(d),
	}
	for _, r := range api.Rights() {
		m, ok := methods[r.Method]
		if !ok || !d.has(r) {
			continue
		}
		s.Methods[r.Method] = func(ctx context.Context, q *api.Request) (any, error) {
			who := b.client(d, q.Peer)
			if d.kind == approvalDoor && who.role < r.Role {
				return nil, failf(api.CodeDenied, "%s takes the role %s; %s has %s", r.Method, r.Role, who, who.role)
			}
			return m(b, ctx, who, q)
		}
	}
	return s.Serve(ctx, d.listener)
}

// has says whether a method can be asked for at a door.
func (d *door) has(r api.Right) bool {
	switch d.kind {
	case approvalDoor:
		return r.Approval
	case adminDoor:
		return r.Admin
	}
	return r.Call
}

// refusalEvery is how often one door's refusals are written down: a hostile
// peer makes as many as it can, and the log is not its to fill.
const refusalEvery = 10 * time.Second

// refusals notes what was refused at a door: the first, and then at most one
// for every ten seconds, with the number of those before.
func (b *Broker) refusals(d *door) func(api.Peer, string, error) {
	var (
		gate  = make(chan struct{}, 1)
		last  time.Time
		quiet int
	)
	return func(p api.Peer, method string, err error) {
		gate <- struct{}{}
		defer func() { <-gate }()
		if quiet++; time.Since(last) < refusalEvery && !last.IsZero() {
			return
		}
		n := quiet
		last, quiet = time.Now(), 0
		where := d.name()
		if d.agent != "" {
			where += " of agent " + d.agent
		}
		logrus.WithFields(logrus.Fields{"uid": p.UID, "pid": p.PID, "method": visible.Text(cut(method, 64)), "times": n}).
			Warnf("refused on %s: %s", where, visible.Line(cut(err.Error(), 256)))
		var f facts
		f.add(factFrom, where)
		f.add("method", cut(method, 64))
		f.add(factReason, cut(err.Error(), 512))
		f.add("times", fmt.Sprint(n))
		// Not waited for: what is refused has no effect.
		ctx, cancel := context.WithTimeout(b.ctx, time.Second)
		defer cancel()
		_, _ = b.log.Begin(ctx, audit.Receipt{
			Kind: audit.Administration, Requester: fmt.Sprintf("uid %d", p.UID), Rule: "refused", Facts: f,
		})
	}
}

// sees says whether a client may see a call.
func (c client) sees(one *call) bool {
	if slices.Contains([]kind{approvalDoor, adminDoor}, c.door.kind) {
		return true
	}
	return one.owner.same(c.owner())
}

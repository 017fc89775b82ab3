// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/egress"
	"github.com/clawsup/clawsup/supervisor/guard"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
	"github.com/clawsup/clawsup/supervisor/secrets"
)

// reach is what one box may reach beyond itself, a call's or an agent's.
type reach struct {
	b       *Broker
	call    *call  // nil: an agent's own
	id      string // of the call, or "agent NAME": who asks, in tickets
	agent   string // empty: nobody's agent
	plan    string // digest
	profile *profiles.Loaded
	rules   func() []policy.Rule // of a call those that it began with, of an agent those of now
	subject policy.Subject       // but for effect, target and labels
	person  persona
	hold    *runtime.Hold // nil: no clock stands still

	authority *egress.Authority
	trust     *supervisor.Trust
	bind      rootfs.Bind // of trust

	in     func(func() error) error // runs something in the box's network, once that is open
	box    *egress.Box              // Broker.reaching; set once it is open
	under  string                   // Broker.reaching; of an agent's, the digest of the profile that it was opened under
	fields []string                 // that box looks at

	mu        sync.Mutex
	held      map[string]string  // mu; placeholders by secret
	tokens    map[string]string  // mu; of held, those that were captured: from which secret
	asking    map[string]*asking // mu; one question at a time about one thing
	questions int                // mu; at people
	heard     bool               // mu; something of a stranger's came in
	view      api.Reached        // mu
	lines     bucket             // mu; receipts of refusals
	skipped   int                // mu; refusals without one, since the last that has one
}

// persona is how a box's owner appears in tickets.
type persona struct {
	owner                owner
	session, sessionName string
	headless             func() bool
	within               time.Duration // how long people may take
	skill, skillDigest   string
	script               string
	workspace            string
	command              string
	claim                string
}

// maxQuestions bounds what one box asks people at the same time.
const maxQuestions = 16

// trustPath is where the certificates of boxes are, one directory each.
func (b *Broker) trustPath() string { return filepath.Join(b.supervisor.Config.RunDir, "trust") }

// openEgress makes what leads out of boxes, which is nothing until one is opened.
func (b *Broker) openEgress() error {
	// Of calls, whose boxes are gone. For agents there is sweepWays.
	if err := os.MkdirAll(b.trustPath(), 0o711); err != nil {
		return err
	}
	left, err := os.ReadDir(b.trustPath())
	if err != nil {
		return err
	}
	for _, e := range left {
		if !strings.HasPrefix(e.Name(), agentTrust) {
			if err := os.RemoveAll(filepath.Join(b.trustPath(), e.Name())); err != nil {
				return err
			}
		}
	}
	b.vault.placeholders = b.placeholdersOf
	b.vault.store.Watch(b.secretChanged)
	b.supervisor.Bound = b.vault.bindings.For
	b.egress, err = egress.New(egress.Options{Relay: b.relay, Judge: judge{b}, Resolvers: b.resolvers})
	return err
}

// resolvers are those of the configuration; none: the host's.
func (b *Broker) resolvers() []netip.AddrPort {
	var list []netip.AddrPort
	for _, text := range b.generation.Load().Config.Network.Resolvers {
		if a, err := netip.ParseAddrPort(text); err == nil { // as it was checked
			list = append(list, a)
		}
	}
	return list
}

// callWay is a call's way out of its box: see supervisor.Way.
type callWay struct{ *reach }

func (w callWay) Binds() []rootfs.Bind            { return []rootfs.Bind{w.bind} }
func (w callWay) Environment() []string           { return w.environment(w.call.plan.Secrets) }
func (w callWay) Open(box *runtime.Sandbox) error { return w.open(box.InNetwork) }
func (w callWay) Hold() *runtime.Hold             { return w.hold }

// reachOf makes what the call's box reaches, before there is the box.
func (b *Broker) reachOf(c *call) (*reach, error) {
	v := c.snapshot()
	p, rules := c.plan, c.rules
	wait := time.Duration(c.gen.Config.Calls.Deadline)
	if d := c.request.Deadline; d != nil {
		wait = time.Duration(*d)
	}
	r := &reach{
		b: b, call: c, id: c.id, agent: v.Agent, plan: p.Digest, profile: p.Profile, rules: func() []policy.Rule { return rules },
		subject: p.Subject(), hold: runtime.NewHold(time.Duration(c.gen.Config.Network.Hold)),
		person: persona{
			owner: c.owner, session: v.Session, sessionName: v.SessionName, script: p.Script,
			headless: func() bool { return b.headless(c) }, within: wait, command: v.Command, claim: c.request.Claim,
		},
	}
	r.subject.Session, r.subject.Agent = v.Session, v.Agent
	if p.Skill != nil {
		r.person.skill, r.person.skillDigest = p.Skill.Name, p.Skill.Digest
	}
	if p.Workspace != nil {
		r.person.workspace = p.Workspace.Path
	}
	return r, r.equip(p.Secrets)
}

// equip gives it what its box has from the beginning: an authority, the
// directory that says to trust it, and placeholders.
func (r *reach) equip(variables map[string]string) (err error) {
	if r.authority, err = egress.NewAuthority(supervisor.TrustSubject, authorityLife); err != nil {
		return err
	}
	r.held, r.tokens = map[string]string{}, map[string]string{}
	for _, name := range variables {
		if r.held[name] != "" {
			continue
		}
		s, err := r.b.vault.store.Show(name)
		if err != nil {
			return fmt.Errorf("profile %s and the skill's bindings name secret %s: %w", r.profile.Profile.Name, name, err)
		}
		if r.held[name], err = secrets.Mint(name, s.Shape); err != nil {
			return err
		}
	}
	if r.trust, err = supervisor.MakeTrust(r.trustDir(), r.b.generation.Load().Config.Network.Bundle(), r.authority.PEM()); err != nil {
		return err
	}
	r.bind, err = r.trust.Bind(r.profile.Profile.Files.Rootfs)
	return err
}

// authorityLife is how long an authority is good: longer than an agent runs. It
// ends with its box, whom nobody else trusts it for; its key is nowhere but in
// memory here and in clawsup-egress, and an agent's where agentway.go says.
const authorityLife = 10 * 365 * 24 * time.Hour

func (r *reach) trustDir() string {
	if r.call != nil {
		return filepath.Join(r.b.trustPath(), r.id)
	}
	return filepath.Join(r.b.trustPath(), agentTrust+r.agent)
}

// environment are the variables of secrets: placeholders, never values.
func (r *reach) environment(variables map[string]string) []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		list = append(list, name+"="+r.held[variables[name]])
	}
	return list
}

// open leads the box's network to the egress.
func (r *reach) open(in func(func() error) error) error {
	r.b.reaching.Lock()
	defer r.b.reaching.Unlock() // a secret that changes now is told by who changes it, or known here
	r.in = in
	return r.lead()
}

// lead does so by the rules of now. Broker.reaching is held.
func (r *reach) lead() error {
	if r.call == nil {
		r.under = digestOfProfile(r.b.generation.Load().outward(r.agent)) // or the one before, which is found out then
	}
	l := &r.profile.Profile.Limits
	rules := r.rules()
	captured, other := policy.Literals(rules)
	if other {
		captured = append(captured, guard.Public()...)
	}
	r.fields = policy.FieldNames(rules)
	o := egress.BoxOptions{
		Name: r.id, In: r.in, Captured: captured, Authority: r.authority, Fields: r.fields, Data: r,
		Connections: int(l.NetConnections),
	}
	if r.call != nil {
		o.Sent, o.Received = int64(l.NetSent), int64(l.NetReceived)
	}
	for _, s := range r.b.vault.store.List() {
		o.Bindings = append(o.Bindings, r.binding(&s))
	}
	r.b.wantRelay()
	box, err := r.b.egress.Open(o)
	if err != nil {
		return &runtime.Error{Step: runtime.StepContainer, Err: fmt.Errorf("the box's way out: %w", err)}
	}
	r.box = box
	r.b.reaches[r] = true
	return nil
}

// looksAt says whether its box looks at every field that rules do. A reload may
// have brought more to an agent's.
func (r *reach) looksAt(rules []policy.Rule) bool {
	for _, name := range policy.FieldNames(rules) {
		if !slices.Contains(r.fields, name) {
			return false
		}
	}
	return true
}

// close takes the way out away.
func (r *reach) close() error {
	r.b.reaching.Lock()
	delete(r.b.reaches, r)
	box := r.box // nobody makes another now
	r.b.reaching.Unlock()
	var err error
	if box != nil {
		err = box.Close()
	}
	if r.trust != nil {
		err = errors.Join(err, r.trust.Close())
	}
	return err
}

// binding is what the box's egress has to know of a secret.
func (r *reach) binding(s *secrets.Secret) packet.Binding {
	r.mu.Lock()
	defer r.mu.Unlock()
	return packet.Binding{
		Secret: s.Name, Placeholder: r.held[s.Name], Hosts: s.Hosts, Places: s.Places, Cookies: s.Cookies, Captures: s.Captures,
	}
}

// secretChanged tells all boxes.
func (b *Broker) secretChanged(name string) {
	b.reaching.Lock()
	defer b.reaching.Unlock()
	s, err := b.vault.store.Show(name)
	for r := range b.reaches {
		if err != nil { // it is gone
			r.box.Unbind(name)
		} else if err := r.box.Bind(r.binding(&s)); err != nil {
			logrus.WithError(err).WithField("secret", name).Warn("a box could not be told of a secret; it can't use it")
			r.box.Unbind(name)
		}
	}
}

// reached is what came of it, for the call's result; nil: nothing was tried.
func (r *reach) reached() *api.Reached {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.view.Requests == 0 && len(r.view.Denied) == 0 {
		return nil
	}
	v := r.view
	v.Denied = slices.Clone(v.Denied)
	return &v
}

// show has who looks at the call see what it reached.
func (r *reach) show() {
	if r.call == nil {
		return
	}
	v := r.reached()
	r.call.update(func(c *api.Call) { c.Reached = v })
}

// deny notes what was not let out. It says whether the same was noted before, of
// an agent, that is there for long, of late.
func (r *reach) deny(d api.Denial) (again bool) {
	now := time.Now().UTC()
	r.mu.Lock()
	list := r.view.Denied
	i := slices.IndexFunc(list, func(o api.Denial) bool { return o.Effect == d.Effect && o.Target == d.Target && o.Reason == d.Reason })
	switch {
	case i >= 0 && r.call == nil && now.Sub(list[i].Since) >= sameAgain:
		list[i].Times, list[i].Since = list[i].Times+1, now
		i = -1
	case i >= 0:
		list[i].Times++
	case len(list) < api.MaxDenials:
		d.Times, d.Since = 1, now
		r.view.Denied = append(list, d)
	default:
		r.view.More++
	}
	r.mu.Unlock()
	r.show()
	return i >= 0
}

// receipt begins one about what the box sends out.
func (r *reach) receipt(effect policy.Effect) (audit.Receipt, facts) {
	p := &r.person
	var f facts
	f.add(factAgent, r.agent)
	f.add(factUID, p.owner.uidText())
	f.add(factSession, p.session)
	a := audit.Receipt{
		Kind: audit.Network, Plan: r.plan, Profile: r.profile.Digest, Skill: p.skillDigest,
		Requester: p.owner.String(),
	}
	if effect >= 0 {
		a.Effect = effect.String()
	}
	if r.call != nil {
		a.Call = r.id
	}
	return a, f
}

// begin writes a receipt without waiting for the disk. What became of those before
// it shows: after one that could not be written it is an error.
func (r *reach) begin(a audit.Receipt) error {
	b := r.b
	if r.call != nil {
		b.noteFirst(r.call)
	}
	p, err := b.log.Begin(context.Background(), a)
	if err == nil {
		err = b.unread.next(p)
	}
	if err != nil {
		b.logFailed(err)
	}
	return err
}

// unread is a receipt that nobody waits for, of those that are not settled the
// first: when it is, the next one takes its place.
type unread struct {
	mu    sync.Mutex
	first *audit.Pending // mu; nil: there was none yet
}

// next says what became of the first, if that is known.
func (u *unread) next(p *audit.Pending) (err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.first != nil {
		select {
		case <-u.first.Settled():
			_, err = u.first.Wait(context.Background())
		default:
			return nil
		}
	}
	u.first = p
	return err
}

// leave is close for where nobody waits for an error.
func (r *reach) leave() {
	if err := r.close(); err != nil {
		logrus.WithError(err).WithField("box", r.id).Warn("something of a box's way out stayed behind; the next start removes it")
	}
}

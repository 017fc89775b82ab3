// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/agent"
	"github.com/clawsup/clawsup/supervisor/egress"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/record"
)

// agentTrust begins the names of what belongs to agents among trustPath's
// directories. No call's id begins so.
const agentTrust = "agent-"

// outfit is what an agent's box was made with, and what the next process needs
// to be its way out. It lies beside call.sock's directory, where root alone
// reads: with the key, TLS of this one agent could be ended by others.
type outfit struct {
	Authority    *egress.Authority `json:"authority"`
	Placeholders map[string]string `json:"placeholders"`
	Tokens       map[string]string `json:"tokens"` // see reach
}

// outfitEnd ends the names of their files.
const outfitEnd = ".json"

func (b *Broker) outfitDir() string { return filepath.Join(b.supervisor.Config.RunDir, "ways") }

func (b *Broker) outfitFile(name string) string { return filepath.Join(b.outfitDir(), name+outfitEnd) }

// keepOutfit writes an agent's down. r.mu is held, or nobody else has it yet.
func (r *reach) keepOutfit() error {
	return record.Write(r.b.outfitFile(r.agent), outfit{r.authority, r.held, r.tokens})
}

// sweepWays removes what belonged to agents' boxes that are gone. Those that
// were taken over still have theirs.
func (b *Broker) sweepWays(g *Generation) error {
	alive := map[string]bool{}
	for _, a := range b.agentList() {
		alive[a.Name()] = g.outward(a.Name()) != nil && a.Status().State != agent.Stopped.String()
	}
	for dir, nameOf := range map[string]func(file string) (string, bool){
		b.trustPath(): func(file string) (string, bool) { return strings.CutPrefix(file, agentTrust) },
		b.outfitDir(): func(file string) (string, bool) { return strings.TrimSuffix(file, outfitEnd), true },
	} {
		left, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		for _, e := range left {
			if name, ok := nameOf(e.Name()); ok && !alive[name] {
				if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// way is an agent's.
type way struct{ *reach }

// wayOf makes an agent's way out, or takes up that of the one that goes on.
func (b *Broker) wayOf(c *supervisor.AgentConfig, adopt bool) (_ agent.Way, err error) {
	g := b.generation.Load()
	profile := g.outward(c.Name)
	if profile == nil {
		return nil, fmt.Errorf("agent %s is not configured any more to reach out: restart clawsupd", c.Name)
	}
	r := &reach{
		b: b, id: "agent " + c.Name, agent: c.Name, plan: "agent:" + profile.Digest, profile: profile,
		rules:   func() []policy.Rule { return b.agentRules(c.Name) },
		subject: policy.Subject{Plan: "agent:" + profile.Digest, Profile: profile.Digest, Agent: c.Name},
		person: persona{
			owner: owner{agent: c.Name, uid: c.UID}, within: time.Duration(g.Config.Calls.Deadline),
			headless: func() bool {
				a := b.generation.Load().agent(c.Name)
				return a == nil || a.Approver == supervisor.ApproverNone
			},
			command: "agent " + c.Name + " itself",
		},
	}
	file := b.outfitFile(c.Name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, err
	}
	if adopt {
		var o outfit
		if err := record.Read(file, &o); err != nil {
			return nil, err
		}
		r.authority, r.held, r.tokens, r.trust = o.Authority, o.Placeholders, o.Tokens, &supervisor.Trust{Dir: r.trustDir()}
		return way{r}, nil
	}
	if err := os.RemoveAll(r.trustDir()); err != nil {
		return nil, err
	}
	if err := r.equip(profile.Profile.Secrets); err != nil {
		return nil, err
	}
	if err := r.keepOutfit(); err != nil {
		return nil, errors.Join(err, r.trust.Close())
	}
	return way{r}, nil
}

// agentRules are those that an agent's own box is under at this moment: none,
// which denies everything, where it is not configured any more.
func (b *Broker) agentRules(name string) []policy.Rule {
	g := b.generation.Load()
	p := g.outward(name)
	if p == nil {
		return nil
	}
	return g.policy(p)
}

// renewWays ends what goes on for agents whose rules a reload has changed: what
// they have open was let out by others, and what is looked at and led out may be
// other things now. The agents open what they need anew.
func (b *Broker) renewWays(g *Generation) {
	b.reaching.Lock()
	changed := map[*reach]*egress.Box{}
	for r := range b.reaches {
		if r.call == nil && r.under != digestOfProfile(g.outward(r.agent)) {
			changed[r] = r.box
		}
	}
	b.reaching.Unlock()
	for r, box := range changed {
		err := box.Close()
		b.reaching.Lock()
		if b.reaches[r] { // it is still there
			err = errors.Join(err, r.lead())
		}
		b.reaching.Unlock()
		if err != nil {
			logrus.WithError(err).WithField("agent", r.agent).Error("it may reach nothing any more; start it again")
		}
	}
}

func digestOfProfile(p *profiles.Loaded) string {
	if p == nil {
		return ""
	}
	return p.Digest
}

// Binds shows it whom to trust.
func (w way) Binds() []rootfs.Bind { return []rootfs.Bind{w.bind} }

// Environment has the variables of certificates, as far as have does not set
// them, and placeholders.
func (w way) Environment(have []string) ([]string, error) {
	set := map[string]string{}
	for _, v := range have {
		name, value, _ := strings.Cut(v, "=")
		set[name] = value
	}
	trust, err := supervisor.TrustEnvironment(w.profile.Profile.Files.Rootfs, set)
	if err != nil {
		return nil, err
	}
	var list []string
	for name, value := range trust {
		list = append(list, name+"="+value)
	}
	for variable := range w.profile.Profile.Secrets {
		if _, both := set[variable]; both {
			return nil, fmt.Errorf("%s is set in its environment, and stands for a secret by profile %s: take it out of one of them", variable, w.profile.Profile.Name)
		}
	}
	return append(list, w.environment(w.profile.Profile.Secrets)...), nil
}

// Open leads the box's network out.
func (w way) Open(in func(func() error) error) error { return w.open(in) }

// Close forgets everything of it.
func (w way) Close() error {
	return errors.Join(w.close(), os.Remove(w.b.outfitFile(w.agent)))
}

// Leave closes what is this process's.
func (w way) Leave() error {
	w.trust = nil
	return w.close()
}

// placeholdersOf are what an agent's box has in place of secrets, by name.
func (b *Broker) placeholdersOf(name string) map[string]string {
	b.reaching.Lock()
	defer b.reaching.Unlock()
	for r := range b.reaches {
		if r.call == nil && r.agent == name {
			r.mu.Lock()
			defer r.mu.Unlock()
			return maps.Clone(r.held)
		}
	}
	return nil
}

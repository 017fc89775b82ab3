// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clawsup/clawsup/skills"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/secrets"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// vault is the secrets and what they are bound to.
type vault struct {
	store    *secrets.Store
	bindings *secrets.Bindings
	// placeholders gives those of an agent's box that is alive now, by name of the
	// secret; nil where no agent has any. Nobody changes what it gives.
	placeholders func(agent string) map[string]string
}

// openVault opens both stores. A secret whose file does not count is noted; a
// value of it is never given out.
func (b *Broker) openVault(c *supervisor.Config) (err error) {
	if b.vault.store, err = secrets.Open(filepath.Join(c.StateDir, "secrets"), secrets.KeyFile(c.StateDir)); err != nil {
		return err
	}
	for _, note := range b.vault.notes() {
		logrus.Error(visible.Line(note))
	}
	b.vault.bindings, err = secrets.OpenBindings(filepath.Join(c.StateDir, "bindings.json"))
	return err
}

// notes says which secrets can't be used.
func (v *vault) notes() (list []string) {
	for _, s := range v.store.List() {
		if s.Wrong != "" {
			list = append(list, "the value of secret "+s.Name+" is not given out: "+s.Wrong)
		}
	}
	return list
}

// flush writes down what of the vault can wait.
func (v *vault) flush() error {
	if v.store == nil {
		return nil
	}
	return v.store.Flush()
}

// secretCodes are the codes that errors of package secrets travel with, the one
// that says most first.
var secretCodes = []struct {
	of   error
	code api.Code
	hint string
}{
	{secrets.ErrWrong, api.CodeUnavailable, ""},
	{secrets.ErrUnknown, api.CodeNotFound, "see 'clawsup secret list'"},
	{secrets.ErrExists, api.CodeConflict, "'clawsup secret rotate' gives it another value; to bind it to something else, remove it and set it again"},
	{secrets.ErrFull, api.CodeFull, "remove what nobody uses any more"},
	{secrets.ErrInvalid, api.CodeParams, ""},
}

// secretError gives an error of package secrets the code that it travels with.
func secretError(err error) error {
	for _, c := range secretCodes {
		if errors.Is(err, c.of) {
			return &api.Error{Code: c.code, Message: err.Error(), Hint: c.hint}
		}
	}
	return err
}

// secretFacts are what a receipt says of a secret.
func secretFacts(s *secrets.Secret) []audit.Fact {
	var places []string
	for _, p := range s.Places {
		places = append(places, secrets.PlaceText(p))
	}
	return []audit.Fact{
		{Name: "secret", Value: s.Name}, {Name: "hosts", Value: strings.Join(s.Hosts, ", ")}, {Name: "places", Value: strings.Join(places, ", ")},
	}
}

func (b *Broker) secretSet(ctx context.Context, who client, r *api.Request) (any, error) {
	defer clear(r.Params) // it holds the value
	n, err := params[api.NewSecret](r)
	if err != nil {
		return nil, err
	}
	defer clear(n.Value)
	one := n.Metadata()
	one.Owner = who.String()
	if one.Shape == "" {
		one.Shape = secrets.Plain
	}
	if err := errors.Join(one.Check(), secrets.CheckValue(n.Value)); err != nil {
		return nil, secretError(err)
	}
	if _, err := b.vault.store.Show(one.Name); err == nil {
		return nil, secretError(secrets.ErrExists)
	}
	// The receipt first: what makes a later call possible is written down before.
	if err := b.record(ctx, act(who, "set secret", secretFacts(&one)...)); err != nil {
		return nil, err
	}
	one, err = b.vault.store.Set(one, n.Value)
	return one, secretError(err)
}

func (b *Broker) secretList(context.Context, client, *api.Request) (any, error) {
	return b.vault.store.List(), nil
}

// secret gives the one that a request names.
func (b *Broker) secret(name string) (secrets.Secret, error) {
	one, err := b.vault.store.Show(name)
	return one, secretError(err)
}

func (b *Broker) secretShow(_ context.Context, _ client, r *api.Request) (any, error) {
	ref, err := params[api.SecretRef](r)
	if err != nil {
		return nil, err
	}
	one, err := b.secret(ref.Secret)
	if err != nil {
		return nil, err
	}
	return one, nil
}

func (b *Broker) secretRotate(ctx context.Context, who client, r *api.Request) (any, error) {
	defer clear(r.Params) // it holds the value
	v, err := params[api.SecretValue](r)
	if err != nil {
		return nil, err
	}
	defer clear(v.Value)
	if _, err := b.secret(v.Secret); err != nil {
		return nil, err
	}
	if err := secrets.CheckValue(v.Value); err != nil {
		return nil, secretError(err)
	}
	if err := b.record(ctx, act(who, "rotate secret", audit.Fact{Name: "secret", Value: v.Secret})); err != nil {
		return nil, err
	}
	one, err := b.vault.store.Rotate(v.Secret, v.Value)
	if err != nil {
		return nil, secretError(err)
	}
	return one, nil
}

func (b *Broker) secretRemove(ctx context.Context, who client, r *api.Request) (any, error) {
	ref, err := params[api.SecretRef](r)
	if err != nil {
		return nil, err
	}
	if err := b.vault.store.Remove(ref.Secret); err != nil {
		return nil, secretError(err)
	}
	removed := api.SecretRemoved{Secret: ref.Secret, Skills: []string{}}
	for _, bound := range b.vault.bindings.List() {
		if slices.Contains(slices.Collect(maps.Values(bound.Variables)), ref.Secret) {
			removed.Skills = append(removed.Skills, bound.Skill)
		}
	}
	return removed, b.record(ctx, act(who, "remove secret", audit.Fact{Name: "secret", Value: ref.Secret}))
}

// wanted gives the variables that a manifest names, each once: those that it
// requires, the one that its key goes into, and those that it describes.
func wanted(m *skills.Manifest) []string {
	o := &m.OpenClaw
	list := slices.Clone(o.Requires.Env)
	if o.PrimaryEnv != "" {
		list = append(list, o.PrimaryEnv)
	}
	for _, v := range o.EnvVars {
		list = append(list, v.Name)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func (b *Broker) skillBind(ctx context.Context, who client, r *api.Request) (any, error) {
	p, err := params[api.SkillBinding](r)
	if err != nil {
		return nil, err
	}
	k, m, err := b.supervisor.Skill(ctx, p.Skill)
	if err != nil {
		return nil, failf(api.CodeNotFound, "%v", err)
	}
	names := wanted(&m)
	bound := secrets.Bound{Skill: k.Name, Digest: k.Digest, Variables: p.Variables, By: who.String(), At: time.Now().UTC().Truncate(time.Second)}
	for _, variable := range slices.Sorted(maps.Keys(p.Variables)) {
		if err := supervisor.CheckSecretVariable(variable); err != nil {
			return nil, failf(api.CodeParams, "%v", err)
		}
		if !p.Force && !slices.Contains(names, variable) {
			says := "its manifest names none"
			if len(names) > 0 {
				says = "its manifest names " + strings.Join(names, ", ")
			}
			return nil, &api.Error{Code: api.CodeParams, Message: "skill " + k.Name + " wants no variable " + visible.Quote(variable) + ": " + says,
				Hint: "to give it one that it doesn't name, add --force"}
		}
		if _, err := b.secret(p.Variables[variable]); err != nil {
			return nil, err
		}
	}
	var pairs []string
	for _, variable := range slices.Sorted(maps.Keys(p.Variables)) {
		pairs = append(pairs, variable+"="+p.Variables[variable])
	}
	if err := b.record(ctx, act(who, "bind secrets", audit.Fact{Name: "skill", Value: k.Name}, audit.Fact{Name: "digest", Value: k.Digest},
		audit.Fact{Name: "variables", Value: strings.Join(pairs, " ")})); err != nil {
		return nil, err
	}
	if bound, err = b.vault.bindings.Bind(bound); err != nil {
		return nil, secretError(err)
	}
	left := api.SkillBound{Bound: bound}
	for _, name := range names {
		if bound.Variables[name] == "" {
			left.Wanted = append(left.Wanted, name)
		}
	}
	return left, nil
}

func (b *Broker) skillUnbind(ctx context.Context, who client, r *api.Request) (any, error) {
	p, err := params[api.SkillVariables](r)
	if err != nil {
		return nil, err
	}
	if err := b.vault.bindings.Unbind(p.Skill, p.Variables...); err != nil {
		if errors.Is(err, secrets.ErrUnknown) {
			return nil, &api.Error{Code: api.CodeNotFound, Message: err.Error(), Hint: "see 'clawsup skill bindings'"}
		}
		return nil, secretError(err)
	}
	return api.Nothing{}, b.record(ctx, act(who, "unbind secrets", audit.Fact{Name: "skill", Value: p.Skill},
		audit.Fact{Name: "variables", Value: strings.Join(p.Variables, " ")}))
}

func (b *Broker) skillBindings(ctx context.Context, _ client, _ *api.Request) (any, error) {
	list := []api.SkillBound{}
	for _, bound := range b.vault.bindings.List() {
		list = append(list, api.SkillBound{Bound: bound, Wrong: b.wrongWith(ctx, &bound)})
	}
	return list, nil
}

// wrongWith says why what is bound to a skill does not count now.
func (b *Broker) wrongWith(ctx context.Context, bound *secrets.Bound) string {
	for _, variable := range slices.Sorted(maps.Keys(bound.Variables)) {
		if one, err := b.vault.store.Show(bound.Variables[variable]); err != nil {
			return err.Error()
		} else if one.Wrong != "" {
			return one.Wrong
		}
	}
	k, _, err := b.supervisor.Skill(ctx, bound.Skill)
	if err == nil {
		_, err = b.vault.bindings.For(k.Name, k.Digest)
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// secretPlaceholders gives an agent what its own box has in place of secrets. It
// learns nothing of those that it was not given, not even that they are there.
func (b *Broker) secretPlaceholders(_ context.Context, who client, r *api.Request) (any, error) {
	p, err := params[api.SecretNames](r)
	switch {
	case err != nil:
		return nil, err
	case len(p.Names) == 0 || len(p.Names) > api.MaxSecretNames:
		return nil, failf(api.CodeParams, "want 1 to %d names", api.MaxSecretNames)
	case who.door.kind != agentDoor:
		return nil, failf(api.CodeNotFound, "only an agent's box has placeholders that can be asked for")
	}
	var has map[string]string
	if b.vault.placeholders != nil {
		has = b.vault.placeholders(who.door.agent)
	}
	answer := api.Placeholders{Placeholders: map[string]string{}}
	for _, name := range p.Names {
		if placeholder, ok := has[name]; ok {
			answer.Placeholders[name] = placeholder
		} else if !slices.Contains(answer.Missing, name) {
			answer.Missing = append(answer.Missing, name)
		}
	}
	return answer, nil
}

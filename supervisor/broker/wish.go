// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"cmp"
	"net"
	"strconv"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// wish is one question of what a query comes to.
type wish struct {
	subject policy.Subject
	rules   []policy.Rule
	verdict policy.Verdict
}

// target is a query in policy's spelling. What has none is given as it is, and
// nothing allows it.
func target(q *packet.Query) (policy.Effect, string) {
	at := net.JoinHostPort(q.Host, strconv.Itoa(int(q.Port)))
	if q.Through != packet.HTTP {
		return policy.NetConnect, at
	}
	text, err := policy.Request(q.Method, q.Scheme, q.Host, q.Port, q.Path)
	if err != nil {
		text = q.Method + " " + q.Scheme + "://" + at + q.Path
	}
	return policy.NetRequest, text
}

// wishes are the questions, the destination's first.
func (r *reach) wishes(q *packet.Query) []wish {
	s := r.subject
	s.Labels = r.b.labelsOf(r.agent, r.person.session)
	s.Effect, s.Target = target(q)
	if s.Effect == policy.NetConnect {
		s.Through = profiles.Through(q.Through)
	}
	rules := r.rules()
	s.Fields, s.Unread = fieldsOf(q.Fields), q.Unread || !r.looksAt(rules)
	var used []string
	for _, u := range q.Uses {
		used = append(used, u.Secret)
	}
	s.Secrets = policy.Names(used)
	list := []wish{{subject: s, rules: rules}}
	for _, u := range q.Uses {
		use := r.subject
		// A token that was captured is used as what it was got with.
		use.Labels, use.Effect, use.Target = s.Labels, policy.SecretUse, cmp.Or(r.capturedFrom(u.Secret), u.Secret)
		w := wish{subject: use, rules: rules}
		if secret, err := r.b.vault.store.Show(u.Secret); err == nil && secret.Ask {
			w.rules = append(w.rules[:len(w.rules):len(w.rules)], policy.Rule{
				Effect: policy.SecretUse, Target: use.Target, Decision: profiles.Ask, Name: "secret " + u.Secret + " says ask",
			})
		}
		list = append(list, w)
	}
	return list
}

func fieldsOf(list []packet.Field) []policy.Field {
	var fields []policy.Field
	for _, f := range list {
		fields = append(fields, policy.Field{Name: f.Name, Value: f.Value})
	}
	return fields
}

// capturedFrom gives the secret whose binding had a token captured for this very
// box; empty: it is no such token.
func (r *reach) capturedFrom(token string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tokens[token]
}

func (r *reach) placeholder(secret string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held[secret]
}

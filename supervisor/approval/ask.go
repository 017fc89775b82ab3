// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/record"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Question is what is asked for one call.
type Question struct {
	Call    string // its id
	Effect  policy.Effect
	Target  string           // spelled as policy.Subject.Check wants it
	Through profiles.Through // of net.connect; see policy.Subject
	Secrets string           // of net.request; see policy.Subject
	Plan    string           // digest
	Facts   []Fact           // with everything that a stranger chose made visible
	Claim   string           // the requester's own words, at most 2,000 bytes; they are made visible here
	Labels  policy.Labels
	Rule    string // why a person is asked
	Quorum  int    // how many people a yes takes; 0 is 1

	Requester     string // "agent NAME (uid N)" or "uid N"
	RequesterUID  uint32
	Agent         string
	Session       string // id
	SessionName   string
	Profile       string // name
	ProfileDigest string
	Workspace     raw.String // path of the tree that it works on; empty: the session's own, or none
	Skill         string     // name
	SkillDigest   string
	Script        string
	Changes       string // id of the change set that it is about; empty: about a call that has not run

	Within time.Duration // how long people may take; 0, or more than Options.Expiry: that
}

const maxClaim = 2000

// check refuses what can't be kept, shown whole or granted.
func (q *Question) check() error {
	if err := (policy.Subject{Effect: q.Effect, Target: q.Target, Through: q.Through}).Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	wrong := ""
	switch {
	case q.Plan == "" || q.ProfileDigest == "" || q.Requester == "" || len(q.Facts) == 0:
		wrong = "it has no plan, no profile, no requester or no facts"
	case len(q.Claim) > maxClaim:
		wrong = fmt.Sprintf("the claim has %d bytes, more than %d", len(q.Claim), maxClaim)
	case q.Quorum < 0 || q.Within < 0:
		wrong = "a negative number of people, or a negative time"
	}
	shown := []string{q.Rule, q.Requester, q.Profile}
	for _, f := range q.Facts {
		shown = append(shown, f.Name, f.Value, f.Digest)
	}
	for _, s := range shown {
		if !printed(s) {
			wrong = fmt.Sprintf("%s has characters that don't show", visible.Quote(s))
		}
	}
	for _, s := range []string{q.Call, q.Plan, q.ProfileDigest, q.Agent, q.Session, q.SessionName, q.Skill, q.SkillDigest, q.Script, q.Changes} {
		if !utf8.ValidString(s) {
			wrong = fmt.Sprintf("%s is not UTF-8", visible.Quote(s))
		}
	}
	if wrong != "" {
		return fmt.Errorf("%w: %s", ErrInvalid, wrong)
	}
	return nil
}

// printed reports whether every character of s shows, and s is UTF-8.
func printed(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) < 0
}

// like reports whether a call that asks q can join t: its yes would be the same.
func (q *Question) like(s *stored) bool {
	t := &s.Ticket
	return t.State == Pending && len(t.Answers) == 0 && t.Parent == "" &&
		t.Changes == q.Changes && t.Effect == q.Effect && t.Target == q.Target && t.Through == q.Through && t.Secrets == q.Secrets && t.Plan == q.Plan &&
		t.Session == q.Session && t.Agent == q.Agent && s.RequesterUID == q.RequesterUID && t.Requester == q.Requester &&
		t.Labels == q.Labels && t.Rule == q.Rule && t.Quorum == max(1, q.Quorum) &&
		(!q.Effect.External() || slices.Equal(t.Facts, q.Facts)) // of a request the plan does not tell all
}

// Ask puts a question, or joins a pending one like it, and gives the ticket's
// id. It is durable when it returns, and nobody is told before. The error is,
// or wraps, ErrFlood, ErrFull, ErrLocked, ErrClosed or ErrInvalid, or is of ctx
// or of the disk; each means no.
func (b *Book) Ask(ctx context.Context, q Question) (string, error) {
	if err := q.check(); err != nil {
		return "", err
	}
	if q.Call == "" {
		return "", fmt.Errorf("%w: no call asks it", ErrInvalid)
	}
	b.write.Lock()
	defer b.write.Unlock()
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		b.mu.Lock()
		b.expire()
		if err := b.refusing(); err != nil {
			b.mu.Unlock()
			return "", err
		}
		i := slices.IndexFunc(b.pending, func(e *entry) bool { return q.like(e.rec) && e.rec.Joined < maxJoined })
		if i < 0 {
			err := b.admit(&q)
			b.mu.Unlock()
			if err != nil {
				return "", err
			}
			return b.add(&q, "", []string{q.Call})
		}
		e, old := b.pending[i], b.pending[i].rec
		if slices.Contains(old.Ticket.Calls, q.Call) {
			b.mu.Unlock()
			return "", fmt.Errorf("%w: the call asks it already", ErrInvalid)
		}
		next := old.next()
		next.Ticket.Calls = append(next.Ticket.Calls, q.Call)
		next.Ticket.Count++
		next.Joined++
		b.mu.Unlock()
		joined, err := b.change(e, old, next)
		if err != nil {
			return "", err
		}
		if joined {
			b.mu.Lock()
			e.waiting[q.Call] = true
			b.mu.Unlock()
			return next.Ticket.ID, nil
		}
	}
}

// refusing says why nothing new is taken, or nil. b.mu is held.
func (b *Book) refusing() error {
	switch {
	case b.closed:
		return ErrClosed
	case b.lockdown != nil:
		return fmt.Errorf("%w; %s", ErrLocked, b.lockdown.text())
	}
	return nil
}

// admit takes a token for a new ticket and looks at the bounds. b.mu is held.
func (b *Book) admit(q *Question) error {
	who := q.Agent
	if who == "" {
		who = fmt.Sprintf("uid %d", q.RequesterUID) // no agent's name has a space
	}
	if b.buckets[who] == nil {
		b.buckets[who] = &bucket{} // as many as there are agents and users that may ask
	}
	if !b.buckets[who].take(time.Now(), b.options.Burst, b.options.Every) {
		return fmt.Errorf("%w; %s asks more than %d at once and more than one each %v", ErrFlood, visible.Text(who), b.options.Burst, b.options.Every)
	}
	if len(b.pending) >= b.options.Pending {
		return fmt.Errorf("%w; there are %d", ErrFull, len(b.pending))
	}
	same := 0
	for _, e := range b.pending {
		if t := &e.rec.Ticket; t.Session == q.Session && t.Agent == q.Agent && e.rec.RequesterUID == q.RequesterUID {
			same++
		}
	}
	if same >= b.options.PendingPerSession {
		return fmt.Errorf("%w; of this session there are %d", ErrFull, same)
	}
	return nil
}

// add makes a ticket. b.write is held.
func (b *Book) add(q *Question, parent string, calls []string) (string, error) {
	b.mu.Lock()
	now := b.now()
	span := b.options.Expiry
	if q.Within > 0 {
		span = min(span, q.Within)
	}
	id := newID("", func(id string) bool { return b.entries[id] != nil })
	b.mu.Unlock()
	rec := &stored{
		Format: format, RequesterUID: q.RequesterUID, Joined: len(calls),
		Ticket: Ticket{
			ID: id, Revision: 1, State: Pending, Count: len(calls), Calls: slices.Clone(calls),
			Effect: q.Effect, Target: q.Target, Targets: policy.Widen(q.Effect, q.Target), Through: q.Through, Secrets: q.Secrets, Plan: q.Plan, Facts: slices.Clone(q.Facts), Claim: visible.Line(q.Claim),
			Labels: q.Labels, Rule: q.Rule, Requester: q.Requester, Agent: q.Agent,
			Session: q.Session, SessionName: q.SessionName, Profile: q.Profile, ProfileDigest: q.ProfileDigest,
			Workspace: q.Workspace, Skill: q.Skill, SkillDigest: q.SkillDigest, Script: q.Script, Changes: q.Changes,
			Created: now, Expires: now.Add(span), Quorum: max(1, q.Quorum), Parent: parent,
		},
	}
	e := &entry{size: rec.size(), settled: make(chan struct{}), waiting: map[string]bool{}}
	if e.size > maxQuestion {
		return "", fmt.Errorf("%w: the question has %d bytes, more than the %d that anybody can be expected to read: pass long input through stdin or a file", ErrInvalid, e.size, maxQuestion)
	}
	for _, c := range calls {
		e.waiting[c] = true
	}
	begun := time.Now()
	if err := b.save(rec); err != nil {
		_ = record.Remove(b.file(id))
		return "", fmt.Errorf("keep ticket %s: %w", id, err)
	}
	b.trim()
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.refusing(); err != nil { // since it was looked at
		e.stale = true
		b.entries[id] = e
		e.rec = rec.closed(Void, err.Error(), now)
		close(e.settled)
		b.over = append(b.over, e)
		b.overSize += e.size
		b.later(e)
		return "", err
	}
	b.become(e, rec)
	b.due(e, span-time.Since(begun), func() { b.expireTicket(e) })
	return id, nil
}

// AskChanged puts the question of the plan that an answer made of the call:
// for the calls of the ticket parent that still wait, which are then told of
// it. It folds into nothing and takes no token, since a person wanted it.
// Question.Call is not looked at. An ErrOver says that nobody waits any more.
func (b *Book) AskChanged(ctx context.Context, parent string, q Question) (string, error) {
	if err := q.check(); err != nil {
		return "", err
	}
	b.write.Lock()
	defer b.write.Unlock()
	b.mu.Lock()
	b.expire()
	e := b.entries[parent]
	var err error
	var calls []string
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case b.refusing() != nil:
		err = b.refusing()
	case e == nil:
		err = ErrUnknown
	case e.rec.Ticket.State != Changed || e.isSettled():
		err = fmt.Errorf("%w: its change is settled", ErrOver)
	default:
		for _, c := range e.rec.Ticket.Calls {
			if e.waiting[c] {
				calls = append(calls, c)
			}
		}
		if calls == nil {
			err = fmt.Errorf("%w: nobody waits for it any more", ErrOver)
		}
	}
	b.mu.Unlock()
	if err != nil {
		return "", err
	}
	id, err := b.add(&q, parent, calls)
	if err != nil {
		return "", err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.isSettled() { // in the meantime: nobody will hear of the new one
		if n := b.entries[id]; n.rec.Ticket.State == Pending {
			b.end(n, n.rec.closed(Cancelled, gaveUp, b.now()))
		}
		return "", fmt.Errorf("%w: nobody waits for it any more", ErrOver)
	}
	b.settle(e, id)
	return id, nil
}

// FailChange says that no plan could be made of a changed call. Its calls are
// told that it is changed, without a next ticket, and why.
func (b *Book) FailChange(parent, reason string) error {
	b.write.Lock()
	defer b.write.Unlock()
	b.mu.Lock()
	e := b.entries[parent]
	if e == nil || e.rec.Ticket.State != Changed || e.isSettled() {
		b.mu.Unlock()
		return fmt.Errorf("%w: it has no change that could fail", ErrOver)
	}
	next := e.rec.next()
	next.Ticket.Reason = reason
	b.end(e, next)
	b.settle(e, "")
	b.mu.Unlock()
	return b.refresh(e)
}

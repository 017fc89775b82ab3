// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"fmt"
	"slices"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/policy"
)

// Why a grant is over. Others are what Revoke was told.
const (
	expired = "expired"
	usedUp  = "used up"
)

// Use decides, with the grants as they stand at this moment; with Options.Roles
// one counts only while everybody who gave it is an approver. A grant whose uses
// are counted has one less when it returns allow, durably. During a lockdown it
// is a deny, and also where a use can't be written down.
func (b *Book) Use(s policy.Subject, rules []policy.Rule) policy.Verdict {
	b.mu.Lock()
	v, i := b.decide(s, rules)
	counted := i >= 0 && b.grants[i].Uses > 0
	if i >= 0 && !counted {
		b.grants[i].LastUsed = b.now()
	}
	b.mu.Unlock()
	if !counted {
		return v
	}
	b.write.Lock()
	defer b.write.Unlock()
	for {
		b.mu.Lock()
		v, i := b.decide(s, rules)
		if i < 0 || b.grants[i].Uses < 0 {
			b.mu.Unlock()
			return v
		}
		e, now := b.owners[i], b.now()
		old := e.rec
		next := old.regranted(func(g *policy.Grant) {
			g.LastUsed = now
			if g.Uses--; g.Uses == 0 {
				g.Revoked = usedUp
			}
		})
		b.mu.Unlock()
		done, err := b.change(e, old, next)
		if err != nil {
			return policy.Verdict{Decision: profiles.Deny, Rule: fmt.Sprintf("the use of grant %s could not be written down: %v", v.Grant, err)}
		}
		if done {
			return v
		}
	}
}

// decide also gives the place of the grant that counts, or -1. b.mu is held.
func (b *Book) decide(s policy.Subject, rules []policy.Rule) (policy.Verdict, int) {
	if err := b.refusing(); err != nil {
		return policy.Verdict{Decision: profiles.Deny, Rule: err.Error()}, -1
	}
	b.expire()
	now := b.now()
	places := b.shelf.about(&s)
	grants := make([]policy.Grant, len(places))
	for i, e := range places {
		grants[i] = b.grants[e.place]
	}
	v := policy.Decide(s, rules, grants, now)
	if v.Grant == "" {
		return v, -1
	}
	chosen := func(g policy.Grant) bool { return g.ID == v.Grant }
	roles := b.present()
	if i := slices.IndexFunc(grants, chosen); roles.lost(&grants[i]) != "" {
		v = policy.Decide(s, rules, roles.standing(grants), now)
	}
	i := slices.IndexFunc(grants, chosen)
	if i < 0 {
		return v, -1
	}
	return v, places[i].place
}

// Explain says what Use would, without using anything, and how it comes to be.
func (b *Book) Explain(s policy.Subject, rules []policy.Rule) (policy.Verdict, []string) {
	b.mu.Lock()
	b.expire()
	grants, now, err := b.present().standing(b.grants), b.now(), b.refusing()
	b.mu.Unlock()
	v, lines := policy.Explain(s, rules, grants, now)
	if err != nil {
		v = policy.Verdict{Decision: profiles.Deny, Rule: err.Error()}
		lines = append(lines, "but now: deny, by this: "+v.Rule)
	}
	return v, lines
}

// addGrant makes e's grant count. b.mu is held.
func (b *Book) addGrant(e *entry) {
	g := *e.rec.Grant
	e.place = len(b.grants)
	b.grants = append(b.grants, g)
	b.owners = append(b.owners, e)
	b.shelf.add(e)
	if b.soonest.IsZero() || g.Expires.Before(b.soonest) {
		b.soonest = g.Expires
	}
	b.due(e, g.Expires.Sub(b.now()), func() {
		if e.rec.live() {
			b.endGrant(e, expired)
		}
	})
}

// dropGrant stops e's grant from counting. b.mu is held.
func (b *Book) dropGrant(e *entry) {
	b.shelf.remove(e)
	b.owners = slices.Delete(b.owners, e.place, e.place+1)
	b.grants = slices.Delete(b.grants, e.place, e.place+1)
	for i, later := range b.owners[e.place:] {
		later.place = e.place + i
	}
	e.timer.Stop()
}

// endGrant ends e's live grant, and has that written. b.mu is held.
func (b *Book) endGrant(e *entry, why string) {
	last := b.grants[e.place].LastUsed
	b.end(e, e.rec.regranted(func(g *policy.Grant) { g.Revoked, g.LastUsed = why, last }))
}

// findSoonest looks for the next expiry. b.mu is held.
func (b *Book) findSoonest() {
	b.soonest = time.Time{}
	for i := range b.grants {
		if at := b.grants[i].Expires; b.soonest.IsZero() || at.Before(b.soonest) {
			b.soonest = at
		}
	}
}

// Grants gives the live grants, and of those that are over (Revoked says why)
// the ones whose tickets are kept; the newest first.
func (b *Book) Grants() []policy.Grant {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire()
	list := slices.Clone(b.grants)
	for _, e := range b.over {
		if g := e.rec.Grant; g != nil && !e.rec.live() {
			list = append(list, *g)
		}
	}
	for i := range list {
		list[i].By, list[i].ByUID = slices.Clone(list[i].By), slices.Clone(list[i].ByUID)
	}
	slices.SortStableFunc(list, func(a, b policy.Grant) int { return b.Created.Compare(a.Created) })
	return list
}

// Revoke ends a live grant, named by its id or a beginning of it that no other
// live one has. It counts no more from this moment, also with an error, which
// says that the disk couldn't be told.
func (b *Book) Revoke(id, reason string) (policy.Grant, error) {
	if reason == "" {
		reason = "revoked"
	}
	id = typed(id)
	b.write.Lock()
	defer b.write.Unlock()
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return policy.Grant{}, ErrClosed
	}
	b.expire()
	var found *entry
	for i, g := range b.grants {
		if !begins(g.ID, id) {
			continue
		}
		if found != nil && g.ID != id {
			b.mu.Unlock()
			return policy.Grant{}, ErrAmbiguous
		}
		found = b.owners[i]
	}
	if found == nil {
		b.mu.Unlock()
		return policy.Grant{}, fmt.Errorf("%w that counts", ErrUnknown)
	}
	b.endGrant(found, reason)
	g := *found.rec.Grant
	b.mu.Unlock()
	return g, b.refresh(found)
}

// Voided are tickets and grants that lost their effect together.
type Voided struct {
	Tickets []Ticket
	Grants  []policy.Grant
}

// VoidSkill ends the grants for a skill's digest, as when the skill has others
// bytes now: they match nothing any more, and this says so.
func (b *Book) VoidSkill(digest string) (Voided, error) {
	return b.void(nil, func(g *policy.Grant) string {
		if g.Scope.Skill == digest {
			return "the skill has changed"
		}
		return ""
	})
}

// Void makes the pending tickets void that match; reason is what their
// requesters are told.
func (b *Book) Void(reason string, match func(Ticket) bool) (Voided, error) {
	return b.void(func(e *entry) *stored {
		if match(e.rec.Ticket.clone()) {
			return e.rec.closed(Void, reason, b.now())
		}
		return nil
	}, nil)
}

// Recheck takes away what came of people who are approvers no more: their
// grants are revoked, and their answers to open tickets withdrawn. The tickets
// it gives are those that lost an answer; they stay pending. The daemon calls it when roles
// or /etc/group changed.
func (b *Book) Recheck(roles Roles) (Voided, error) {
	now := newPresent(func(uid uint32) Role {
		role, _ := roles.Of(uid)
		return role
	})
	return b.void(func(e *entry) *stored {
		next := e.rec.withdrawn(now)
		if len(next.Ticket.Answers) == len(e.rec.Ticket.Answers) {
			return nil
		}
		return next
	}, now.lost)
}

// void changes pending tickets and ends live grants, now, and then writes that.
// ticket gives what an entry becomes, or nil; grant why it ends, or "".
func (b *Book) void(ticket func(*entry) *stored, grant func(*policy.Grant) string) (Voided, error) {
	b.write.Lock()
	defer b.write.Unlock()
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return Voided{}, ErrClosed
	}
	b.expire()
	v, touched := b.voided(ticket, grant)
	b.mu.Unlock()
	var first error
	for _, e := range touched {
		if err := b.refresh(e); err != nil && first == nil {
			first = err
		}
	}
	return v, first
}

// voided is void without the writing. b.mu is held.
func (b *Book) voided(ticket func(*entry) *stored, grant func(*policy.Grant) string) (v Voided, touched []*entry) {
	if ticket != nil {
		for _, e := range slices.Clone(b.pending) {
			if next := ticket(e); next != nil {
				b.end(e, next)
				v.Tickets = append(v.Tickets, next.Ticket.clone())
				touched = append(touched, e)
			}
		}
	}
	if grant != nil {
		for _, e := range slices.Backward(slices.Clone(b.owners)) { // the last ones go cheaply
			if why := grant(e.rec.Grant); why != "" {
				b.endGrant(e, why)
				v.Grants = append(v.Grants, *e.rec.Grant)
				touched = append(touched, e)
			}
		}
	}
	return v, touched
}

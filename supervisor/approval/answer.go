// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// Who is somebody who answers. The caller knows all of it from the kernel, and
// none of it from a message.
type Who struct {
	UID  uint32
	Name string // of the uid, if it has one
	Role Role   // now, see Roles.Of
	Via  string // ApprovalSocket, AdminSocket, or the name of a helper, whose word it is
}

// The ways on which the kernel vouches for the uid. Any other is a helper's.
const (
	ApprovalSocket = "approval.sock"
	AdminSocket    = "admin.sock"
)

// String gives "uid 1000 (alice)".
func (w Who) String() string {
	if w.Name == "" {
		return fmt.Sprintf("uid %d", w.UID)
	}
	return fmt.Sprintf("uid %d (%s)", w.UID, w.Name)
}

func helper(via string) bool { return via != ApprovalSocket && via != AdminSocket }

const maxReason = 2000

// What an answer may name of paths: it is kept with its ticket.
const (
	maxRefused      = 1000
	maxRefusedBytes = 32 << 10
)

func length(list []raw.String) (n int) {
	for _, s := range list {
		n += len(s)
	}
	return n
}

// check refuses an answer that means nothing by itself.
func (a *Answer) check() error {
	wrong := ""
	switch {
	case a.Verdict != Allow && a.Verdict != Grant && a.Verdict != Deny && a.Verdict != Change:
		wrong = fmt.Sprintf("%q is no verdict: there are allow, grant, deny and change", string(a.Verdict))
	case len(a.Reason) > maxReason || !utf8.ValidString(a.Reason):
		wrong = fmt.Sprintf("the reason must be UTF-8 of at most %d bytes", maxReason)
	case a.Verdict == Grant && a.For <= 0:
		wrong = "a grant ends: say for how long it is"
	case a.Verdict == Grant && a.Uses < 0:
		wrong = "a negative number of uses"
	case a.Verdict != Grant && (a.For != 0 || a.Uses != 0 || a.Wide || a.Exact || a.Target != ""):
		wrong = "a time, a number of uses, wide, exact and a target are a grant's"
	case a.Verdict == Change && len(a.Args) == 0 && a.Workspace == nil:
		wrong = "a change says what is to be run, or in which workspace"
	case a.Verdict != Change && (len(a.Args) != 0 || a.Workspace != nil):
		wrong = "arguments and a workspace are a change's"
	case a.Verdict != Allow && len(a.Refuse) != 0:
		wrong = "paths are refused by who says yes to the others"
	case len(a.Refuse) > maxRefused || length(a.Refuse) > maxRefusedBytes:
		wrong = fmt.Sprintf("at most %d paths of %d bytes together can be refused one by one: refuse the directories that they are in, or all of it", maxRefused, maxRefusedBytes)
	}
	if wrong != "" {
		return fmt.Errorf("%w: %s", ErrInvalid, wrong)
	}
	return nil
}

// Answer takes one person's answer, and gives the ticket after it: durable
// when it returns. With an error the ticket is as it stands, if there is one;
// the error is, or wraps, ErrUnknown, ErrLocked, ErrClosed, ErrRole,
// ErrRequester, ErrOver, ErrConflict, ErrTwice, ErrFull or ErrInvalid, or is of
// the disk.
//
// A yes counts when Answer.Revision is the ticket's, a change too; a no when it
// is that or an older one. What has been answered stays answered. With
// Options.Roles the role is the lesser of Who.Role and what they say, and who
// answered before and is an approver no more has answered nothing.
func (b *Book) Answer(who Who, a Answer) (Ticket, error) {
	if err := a.check(); err != nil {
		return Ticket{}, err
	}
	b.write.Lock()
	defer b.write.Unlock()
	b.mu.Lock()
	b.expire()
	e := b.entries[typed(a.Ticket)]
	if e == nil {
		b.mu.Unlock()
		return Ticket{}, ErrUnknown
	}
	old, now, err := e.rec, b.now(), b.refusing()
	var next *stored
	if err == nil {
		next, err = b.answered(old, who, &a, now)
	}
	b.mu.Unlock()
	if err != nil {
		return old.Ticket.clone(), err
	}
	done, err := b.change(e, old, next)
	if err != nil {
		return old.Ticket.clone(), err
	}
	b.trim()
	if !done {
		b.mu.Lock()
		defer b.mu.Unlock()
		return e.rec.Ticket.clone(), e.rec.over()
	}
	return next.Ticket.clone(), nil
}

// over says what became of a ticket.
func (s *stored) over() error {
	t := &s.Ticket
	text := string(t.State)
	if n := len(t.Answers); n > 0 && (t.State == Allowed || t.State == Denied || t.State == Changed) {
		text += " by " + t.Answers[n-1].By
	} else if t.Reason != "" {
		text += ", " + t.Reason
	}
	if t.State == Pending {
		return fmt.Errorf("%w; it is at revision %d", ErrConflict, t.Revision)
	}
	return fmt.Errorf("%w: it is %s", ErrOver, text)
}

// answered gives what a ticket becomes by an answer. b.mu is held.
func (b *Book) answered(old *stored, who Who, a *Answer, now time.Time) (*stored, error) {
	t, roles := &old.Ticket, b.present()
	who.Role = min(who.Role, roles.of(who.UID))
	switch {
	case who.Via == "":
		return nil, fmt.Errorf("%w: nobody knows by which way the answer came", ErrRole)
	case who.Role < Approver:
		return nil, fmt.Errorf("%w: %s has the role %s, and it takes an approver", ErrRole, who, who.Role)
	case who.UID == old.RequesterUID && who.UID != 0:
		return nil, fmt.Errorf("%w: %s asked for this", ErrRequester, who)
	case t.State != Pending:
		return nil, old.over()
	case a.Revision > t.Revision || a.Revision < 1, a.Revision != t.Revision && a.Verdict != Deny:
		return nil, old.over()
	}
	if t.Changes != "" && a.Verdict == Change {
		return nil, fmt.Errorf("%w: the call has run: refuse the paths that are wrong, or deny it and say what is to be done instead", ErrInvalid)
	}
	if t.Changes == "" && len(a.Refuse) != 0 {
		return nil, fmt.Errorf("%w: the call has not run, and has no paths that could be refused", ErrInvalid)
	}
	next := old.withdrawn(roles)
	n := &next.Ticket
	before := n.Answers
	n.Answers = append(before, Given{
		By: who.String(), UID: who.UID, Via: who.Via, Verdict: a.Verdict, Reason: a.Reason, At: now, Refuse: a.Refuse,
	})
	next.Wishes = append(next.Wishes, wish{For: a.For, Uses: a.Uses, Wide: a.Wide, Exact: a.Exact, Target: a.Target})
	switch a.Verdict {
	case Deny:
		n.State, n.Reason, next.Closed = Denied, a.Reason, now
		return next, nil
	case Change:
		n.State, n.Reason, next.Closed = Changed, a.Reason, now
		return next, nil
	case Grant:
		if err := b.grantable(old, who, a); err != nil {
			return nil, err
		}
	}
	for _, g := range before {
		if g.UID == who.UID {
			return nil, fmt.Errorf("%w: %s has said yes already", ErrTwice, who)
		}
		if g.Via == who.Via && helper(who.Via) {
			return nil, fmt.Errorf("%w: %s has given one yes already, and its second counts as the same; answer on %s", ErrTwice, who.Via, ApprovalSocket)
		}
	}
	if yeses(n.Answers) < t.Quorum {
		return next, nil
	}
	n.State, next.Closed = Allowed, now
	b.grant(next, now)
	return next, nil
}

// yeses counts the people who said yes: distinct uids, and all of one helper once.
func yeses(answers []Given) int {
	uids, helpers := map[uint32]bool{}, map[string]bool{}
	n := 0
	for _, a := range answers {
		if a.Verdict != Allow && a.Verdict != Grant || uids[a.UID] || helper(a.Via) && helpers[a.Via] {
			continue
		}
		uids[a.UID], helpers[a.Via] = true, true
		n++
	}
	return n
}

// grantable refuses a grant that can't be, or that is not this person's to give.
func (b *Book) grantable(s *stored, who Who, a *Answer) error {
	most := b.options.GrantMax
	if who.Role >= Admin {
		most = b.options.GrantMaxAdmin
	}
	if helper(who.Via) {
		most = min(most, b.options.GrantMaxHelper)
	}
	if a.For > most {
		return fmt.Errorf("%w: %s by way of %s may grant for %v at most", ErrRole, who, who.Via, most)
	}
	size := s.size()
	for _, e := range b.owners {
		size += e.size
	}
	if len(b.grants) >= maxGrants || size > maxOver {
		return fmt.Errorf("%w: there are %d grants, and no room for more: revoke some, or allow this once", ErrFull, len(b.grants))
	}
	_, err := s.Ticket.Scope(a.Wide, a.Exact, a.Target)
	return err
}

// grant makes the grant of an allowed ticket, if all who said yes want one: for
// the shortest time, the fewest uses and the narrowest scope that any of them
// said. b.mu is held.
func (b *Book) grant(s *stored, now time.Time) {
	w := s.Wishes[0]
	for i, g := range s.Ticket.Answers {
		if g.Verdict != Grant {
			return
		}
		v := s.Wishes[i]
		w.For = min(w.For, v.For)
		if v.Uses > 0 && (w.Uses == 0 || v.Uses < w.Uses) {
			w.Uses = v.Uses
		}
		w.Wide, w.Exact = w.Wide && v.Wide, w.Exact || v.Exact
		w.Target = s.Ticket.narrower(w.Target, v.Target)
	}
	scope, err := s.Ticket.Scope(w.Wide, w.Exact, w.Target)
	if err != nil {
		return // each could be had, and all together can't: then this once
	}
	g := &policy.Grant{
		ID:    newID(grantPrefix, func(id string) bool { return b.owner(id) != nil }),
		Scope: scope, Expires: now.Add(w.For), Uses: w.Uses, Ticket: s.Ticket.ID, Created: now,
	}
	if g.Uses == 0 {
		g.Uses = -1
	}
	for i := range s.Ticket.Answers {
		a := &s.Ticket.Answers[i]
		a.Grant = g.ID
		g.By, g.ByUID = append(g.By, a.By), append(g.ByUID, a.UID)
	}
	s.Grant = g
}

// narrower gives that of two targets which comes first of the ticket's.
func (t *Ticket) narrower(a, b string) string {
	for _, target := range t.targets() {
		if target == cmp.Or(a, t.Target) || target == cmp.Or(b, t.Target) {
			return target
		}
	}
	return ""
}

// owner gives the entry of a grant, live or not, or nil. b.mu is held.
func (b *Book) owner(id string) *entry {
	for _, e := range b.entries {
		if e.rec.Grant != nil && e.rec.Grant.ID == id {
			return e
		}
	}
	return nil
}

// clone gives a copy that shares nothing that changes.
func (t *Ticket) clone() Ticket {
	c := *t
	c.Calls = append([]string(nil), t.Calls...)
	c.Facts = append([]Fact(nil), t.Facts...)
	c.Answers = append([]Given(nil), t.Answers...)
	c.Targets = append([]string(nil), t.Targets...)
	return c
}

// begins reports whether an id is what somebody typed the beginning of.
func begins(id, what string) bool { return what != "" && strings.HasPrefix(id, what) }

// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/clawsup/clawsup/supervisor/policy"
)

// format is the version of a ticket's file.
const format = 1

// stored is one ticket with its grant, as its file has it. It is a value: a
// change makes another one, and shares what didn't change.
type stored struct {
	Format       int           `json:"format"`
	Ticket       Ticket        `json:"ticket"`
	RequesterUID uint32        `json:"requester_uid"`
	Joined       int           `json:"joined"` // calls that it ever stood for
	Wishes       []wish        `json:"wishes,omitempty"`
	Grant        *policy.Grant `json:"grant,omitempty"`
	Closed       time.Time     `json:"closed,omitzero"` // when it stopped being pending
}

// wish is what an answer of a quorum wants to be granted; Wishes[i] belongs to
// Ticket.Answers[i].
type wish struct {
	For   time.Duration `json:"for,omitempty"`
	Uses  int           `json:"uses,omitempty"`
	Wide  bool          `json:"wide,omitempty"`
	Exact bool          `json:"exact,omitempty"`

	Target string `json:"target,omitempty"`
}

// next gives a copy to change, one revision on.
func (s *stored) next() *stored {
	n := *s
	n.Ticket.Revision++
	n.Ticket.Calls = slices.Clone(s.Ticket.Calls)
	n.Ticket.Answers = slices.Clone(s.Ticket.Answers)
	n.Wishes = slices.Clone(s.Wishes)
	return &n
}

// closed gives it with a state that is not pending.
func (s *stored) closed(state State, reason string, now time.Time) *stored {
	n := s.next()
	n.Ticket.State, n.Ticket.Reason, n.Closed = state, reason, now
	return n
}

// withdrawn gives a copy to change, one revision on, without the answers of who
// is an approver no more.
func (s *stored) withdrawn(p present) *stored {
	n := s.next()
	n.Ticket.Answers, n.Wishes = nil, nil
	for i, a := range s.Ticket.Answers {
		if p.approver(a.UID) {
			n.Ticket.Answers, n.Wishes = append(n.Ticket.Answers, a), append(n.Wishes, s.Wishes[i])
		}
	}
	return n
}

// regranted gives it with its grant changed.
func (s *stored) regranted(change func(*policy.Grant)) *stored {
	n, g := *s, *s.Grant
	change(&g)
	n.Grant = &g
	return &n
}

// size is about how many bytes its file has.
func (s *stored) size() int {
	text, err := json.Marshal(s)
	if err != nil {
		panic("approval: a ticket holds what JSON can't: " + err.Error()) // effects are checked, times are of this era
	}
	return len(text)
}

// live says whether its grant can still count.
func (s *stored) live() bool { return s.Grant != nil && s.Grant.Revoked == "" }

var states = []State{Pending, Allowed, Denied, Changed, Expired, Cancelled, Void}

// check refuses what no Book writes. id is what the file's name says.
func (s *stored) check(id string) error {
	t := &s.Ticket
	switch {
	case s.Format != format:
		return fmt.Errorf("format %d is not %d", s.Format, format)
	case t.ID != id:
		return fmt.Errorf("it is about ticket %q", t.ID)
	case !slices.Contains(states, t.State):
		return fmt.Errorf("unknown state %q", t.State)
	case t.Revision < 1 || t.Count != len(t.Calls) || t.Quorum < 1 || s.Joined < t.Count:
		return errors.New("its numbers contradict each other")
	case len(t.Answers) != len(s.Wishes):
		return errors.New("its answers and wishes contradict each other")
	case t.Created.IsZero() || !t.Created.Before(t.Expires):
		return errors.New("it has no time in which it could be answered")
	case (t.State == Pending) != s.Closed.IsZero():
		return errors.New("its state and its end contradict each other")
	case t.State == Allowed && yeses(t.Answers) < t.Quorum:
		return errors.New("fewer people said yes than it takes")
	case t.Plan == "":
		return errors.New("it is for no plan")
	}
	return s.checkGrant()
}

// checkGrant holds a grant to the ticket that it came of.
func (s *stored) checkGrant() error {
	g, t := s.Grant, &s.Ticket
	if g == nil {
		return nil
	}
	c := g.Scope
	want, err := t.Scope(c.Agent != "", c.Plan != "", c.Target)
	switch {
	case err != nil:
		return err
	case t.State != Allowed:
		return errors.New("it has a grant and is not allowed")
	case !isID(grantPrefix, g.ID) || g.Ticket != t.ID:
		return fmt.Errorf("it has the grant %q of ticket %q", g.ID, g.Ticket)
	case c != want:
		return errors.New("its grant is for something else")
	case len(g.By) < t.Quorum || len(g.By) != len(g.ByUID):
		return errors.New("fewer people gave its grant than it takes")
	case g.Uses == 0 && g.Revoked == "":
		return errors.New("its grant has no uses left and goes on")
	}
	for _, a := range t.Answers {
		if a.Verdict == Grant && a.Grant != g.ID {
			return errors.New("its answers gave another grant")
		}
	}
	return nil
}

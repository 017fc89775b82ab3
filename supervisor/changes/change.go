// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"time"

	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/commit"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// Change is what may be told of one change set. Its id is the call's; one that
// several calls share, or that undoes another, has an id of its own.
type Change struct {
	ID        string          `json:"id"`
	State     State           `json:"state"`
	Calls     []string        `json:"calls"`
	Requester string          `json:"requester"`
	Agent     string          `json:"agent,omitempty"`
	Session   string          `json:"session,omitempty"` // id
	Command   string          `json:"command"`           // quoted, made visible
	Workspace raw.String      `json:"workspace"`         // path
	Identity  rootfs.Identity `json:"identity"`          // of the workspace
	Owner     rootfs.Owner    `json:"owner"`             // of the workspace
	Digest    string          `json:"digest,omitempty"`  // of the set, "sha256:..."; empty while it is Writing
	Count     changeset.Count `json:"count"`
	Ticket    string          `json:"ticket,omitempty"`
	Created   time.Time       `json:"created"`
	Ended     time.Time       `json:"ended,omitzero"`    // when it was committed or discarded
	Expires   time.Time       `json:"expires,omitzero"`  // when a held one is discarded, or a committed one's trash is emptied
	Bytes     int64           `json:"bytes"`             // that it takes on the disk: layer and trash
	Trash     bool            `json:"trash,omitempty"`   // it can be undone
	By        string          `json:"by,omitempty"`      // who decided: a rule, or people
	Because   []Reason        `json:"because,omitempty"` // what policy found to ask about, or refuse
	Reason    string          `json:"reason,omitempty"`  // why it is held, or was discarded
	Undoes    string          `json:"undoes,omitempty"`
	UndoneBy  []string        `json:"undone_by,omitempty"`
	Report    *commit.Report  `json:"report,omitempty"`   // once it was committed, or that was tried
	Unlisted  int             `json:"unlisted,omitempty"` // entries that the lists of a long report have beyond those that are here
}

// State is what became of a change set.
type State string

// The states.
const (
	Writing   State = "writing"   // a call is writing, or more calls may
	Asking    State = "asking"    // people are asked
	Held      State = "held"      // nobody decided: it can be committed or discarded
	Committed State = "committed" // as its report says
	Discarded State = "discarded"
)

// Over says whether nothing more becomes of it, but that it is undone.
func (s State) Over() bool { return s == Committed || s == Discarded }

func (s State) known() bool {
	switch s {
	case Writing, Asking, Held, Committed, Discarded:
		return true
	}
	return false
}

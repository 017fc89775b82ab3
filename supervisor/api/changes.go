// SPDX-License-Identifier: Apache-2.0

package api

import (
	"github.com/clawsup/clawsup/supervisor/changes"
	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// The methods about change sets. A change set is named by its id, or a
// beginning of it that no other has.
const (
	ChangesList    = "changes.list"    // ChangesFilter → []changes.Change, newest first
	ChangesShow    = "changes.show"    // ChangesPart → ChangesEntries
	ChangesDiff    = "changes.diff"    // ChangesPath → ChangesDifference
	ChangesCommit  = "changes.commit"  // ChangesChoice → changes.Change
	ChangesDiscard = "changes.discard" // ChangesChoice without paths → changes.Change
	ChangesUndo    = "changes.undo"    // ChangesChoice → changes.Change, the one that undoes
	TrashList      = "trash.list"      // ChangesRef → []commit.Trashed
	TrashEmpty     = "trash.empty"     // TrashOrder → TrashEmptied
)

// ChangesFilter says which change sets.
type ChangesFilter struct {
	Session   string `json:"session,omitempty"`   // id
	Undecided bool   `json:"undecided,omitempty"` // only those that wait for a decision, or are still written
	Limit     int    `json:"limit,omitempty"`     // 0: 100
}

// ChangesRef names a change set.
type ChangesRef struct {
	Changes string `json:"changes"`
}

// ChangesPart asks for some of a change set's entries.
type ChangesPart struct {
	Changes string `json:"changes"`
	From    int    `json:"from,omitempty"`  // number of the first, from 0
	Limit   int    `json:"limit,omitempty"` // 0: as many as fit
}

// ChangesEntries are entries of a change set, in its order.
type ChangesEntries struct {
	Change  changes.Change    `json:"change"`
	Entries []changeset.Entry `json:"entries"`
	Total   int               `json:"total"`
}

// ChangesPath names a path in a change set.
type ChangesPath struct {
	Changes string     `json:"changes"`
	Path    raw.String `json:"path"`
}

// ChangesDifference is how a file differs, for people.
type ChangesDifference struct {
	Entry changeset.Entry `json:"entry"`
	Lines []string        `json:"lines"` // made visible, each with ' ', '-', '+' or '@' before it; of what is no text, what it is
	Cut   bool            `json:"cut,omitempty"`
}

// ChangesChoice decides about a change set: what only names and refuse doesn't.
// A path means all that is beneath it too.
type ChangesChoice struct {
	Changes string       `json:"changes"`
	Only    []raw.String `json:"only,omitempty"` // none: all
	Refuse  []raw.String `json:"refuse,omitempty"`
	Reason  string       `json:"reason,omitempty"`
	DryRun  bool         `json:"dry_run,omitempty"` // of an undo: made, shown and discarded
}

// Choice is what of it is the store's to know.
func (c *ChangesChoice) Choice() changes.Choice {
	return changes.Choice{Only: c.Only, Refuse: c.Refuse}
}

// TrashOrder says what of the trash is to go.
type TrashOrder struct {
	Changes string   `json:"changes,omitempty"` // of one
	Older   Duration `json:"older,omitempty"`   // of all that were committed longer ago than this; 0: all
}

// TrashEmptied is what came of it.
type TrashEmptied struct {
	Bytes int64 `json:"bytes"` // set free
}

// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/record"
)

// Names in a change set's directory.
const (
	lockName   = "lock"        // held by who is at work on it
	recordName = "record.json" // see entry
	imageName  = "layer.img"   // until it is decided
	setName    = "set"         // once it is no longer Writing
	commitName = "commit"      // what package commit keeps
)

// entry is what is on the disk of a change set beside its files.
type entry struct {
	Change
	Since   time.Time     `json:"since"`             // when it came to its state
	Keep    bool          `json:"keep,omitempty"`    // while it is Writing, further calls may go on with it
	Working string        `json:"working,omitempty"` // the call that is writing
	Begin   time.Time     `json:"begin,omitzero"`    // see changeset.Layer
	Slew    time.Duration `json:"slew,omitempty"`    // of the clock when it began: see slew
	Trashed int64         `json:"trashed,omitempty"` // bytes in the trash
	Trying  bool          `json:"trying,omitempty"`  // a commit began
	Ruled   bool          `json:"ruled,omitempty"`   // policy allowed it, and nobody was asked
	Paths   []raw.String  `json:"paths,omitempty"`   // of one that undoes another: what was to be undone; none: all
}

// become notes another state.
func (e *entry) become(s State, now time.Time) {
	e.State, e.Since = s, now
	if s.Over() {
		e.Ended = now
	}
}

// fill gives what is told of a change set, with what isn't on the disk as such.
func (e *entry) fill(dir string, b Bounds) Change {
	c := e.Change
	c.Bytes = e.Trashed
	if st, err := os.Lstat(filepath.Join(dir, imageName)); err == nil {
		c.Bytes += allocated(st)
	}
	switch {
	case c.State == Held, c.State == Committed && c.Trash, c.State == Writing && e.Working == "":
		c.Expires = e.Since.Add(b.Keep)
	}
	return c
}

// readEntry gives what is on the disk of a change set in dir.
func readEntry(dir string) (*entry, error) {
	e := &entry{}
	if err := record.Read(filepath.Join(dir, recordName), e); err != nil {
		return nil, err
	}
	if e.ID != filepath.Base(dir) {
		return nil, fmt.Errorf("%s: it is the record of %q", dir, clip(e.ID))
	}
	if !e.State.known() {
		return nil, fmt.Errorf("%s: unknown state %q", dir, clip(string(e.State)))
	}
	return e, nil
}

// note writes the record so that it outlives the process, but not a power loss:
// then it is the one before, or none, as the layer is.
func (e *entry) note(dir string) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if len(text) >= record.Max {
		return fmt.Errorf("%s: a record of %d bytes is more than %d", dir, len(text), record.Max)
	}
	f, err := os.CreateTemp(dir, ".new-") // as package record has it, and sweeps
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, recordName))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// keep writes the record durably.
func (e *entry) keep(dir string) error {
	return record.Write(filepath.Join(dir, recordName), e)
}

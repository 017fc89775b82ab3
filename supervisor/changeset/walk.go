// SPDX-License-Identifier: Apache-2.0

package changeset

import (
	"context"
	"errors"
	"time"
)

// Layer is what Walk reads.
type Layer struct {
	Upper  int       // directory descriptor of the layer's root, as the kernel's overlay left it, unmapped
	Lower  int       // directory descriptor of the workspace's root
	Owner  uint32    // uid of the workspace's owner, whose files are not Foreign
	Begin  time.Time // what the workspace's file system would have stamped when the call began: later changes are conflicts
	Unsure bool      // the clock was set since: everything that was there before is a Conflict
	Most   int       // entries; 0: MaxEntries
}

// MaxEntries bounds a set.
const MaxEntries = 1_000_000

// ErrTooMany says that a set would have more entries than it may.
var ErrTooMany = errors.New("the call changed more files than a change set may name")

// Walk gives the change set of a layer that nothing writes any more.
func Walk(ctx context.Context, l Layer) (*Set, error) { return nil, errors.ErrUnsupported }

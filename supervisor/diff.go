// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"fmt"

	"github.com/clawsup/clawsup/supervisor/changes"
	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Diff gives the entry of a path in a change set, and how its content differs
// in lines for people: see Difference.
func (s *Supervisor) Diff(ctx context.Context, id, path string) (e changeset.Entry, lines []string, cut bool, err error) {
	store, err := s.Changes(ctx)
	if err != nil {
		return e, nil, false, err
	}
	c, err := store.Find(id)
	if err != nil {
		return e, nil, false, err
	}
	set, err := store.Set(ctx, c.ID)
	if err != nil {
		return e, nil, false, err
	}
	// Of a path that was deleted and made anew what it became says more.
	found := false
	for i := range set.Entries {
		if string(set.Entries[i].Path) == path {
			e, found = set.Entries[i], true
		}
	}
	if !found {
		return e, nil, false, fmt.Errorf("%w: it has no path %s", changes.ErrUnknown, visible.Quote(path))
	}
	before, after, err := store.Contents(c.ID, path)
	if err != nil {
		return e, nil, false, err
	}
	if before != nil {
		defer before.Close()
	}
	if after != nil {
		defer after.Close()
	}
	lines, cut, err = s.Difference(ctx, before, after, &e)
	return e, lines, cut, err
}

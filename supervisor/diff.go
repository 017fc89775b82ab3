// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"

	"github.com/clawsup/clawsup/supervisor/changeset"
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
	e, before, after, err := store.Contents(c.ID, path)
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

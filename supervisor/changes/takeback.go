// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"context"
	"errors"

	"github.com/clawsup/clawsup/supervisor/raw"
)

// TakeBack undoes what was committed, of all paths or of some, and gives the
// change set that did it. A dry one is discarded, and can be looked at.
func (s *Store) TakeBack(ctx context.Context, id string, paths []raw.String, by string, dry bool) (Change, error) {
	c, err := s.Undo(ctx, id, paths, by)
	if err != nil {
		return Change{}, err
	}
	if dry {
		return s.Discard(ctx, c.ID, by, "it was to be seen and no more")
	}
	done, err := s.Commit(ctx, c.ID, Choice{}, by)
	if err != nil {
		_, gone := s.Discard(context.WithoutCancel(ctx), c.ID, by, "it could not be committed")
		return Change{}, errors.Join(err, gone)
	}
	return done, nil
}

// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"sync"
	"time"

	"github.com/clawsup/clawsup/supervisor/changes"
	"github.com/clawsup/clawsup/supervisor/changeset"
)

// viewed is the change set that somebody looked at last: whoever reads a large
// one asks for it part by part, and it would be read from the disk for each. One
// at a time, since a large one is large here too, and not for long.
type viewed struct {
	mu     sync.Mutex // also while it is read: two large ones at once would be twice as large
	digest string
	set    *changeset.Set
	forget *time.Timer
}

// viewedFor is how long it is kept after the last look.
const viewedFor = 10 * time.Second

// get gives the entries of a change set.
func (v *viewed) get(ctx context.Context, store *changes.Store, ch *changes.Change) (*changeset.Set, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.set != nil && ch.Digest != "" && v.digest == ch.Digest {
		v.forget.Reset(viewedFor)
		return v.set, nil
	}
	v.set = nil // before there are two
	set, err := store.Set(ctx, ch.ID)
	if err != nil || ch.Digest == "" { // a call may still write
		return set, err
	}
	v.digest, v.set = ch.Digest, set
	if v.forget != nil {
		v.forget.Stop()
	}
	v.forget = time.AfterFunc(viewedFor, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.set == set {
			v.set = nil
		}
	})
	return set, nil
}

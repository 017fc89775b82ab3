// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"context"
	"runtime"
)

// crowd bounds how many do something at one time that takes memory of this
// process in proportion to what a call did: it is root's, and others depend on it.
type crowd chan struct{}

// manyEntries is what makes a change set large: it takes some tens of megabytes
// while it is judged, committed or undone, and one after the other is.
const manyEntries = 20_000

func newCrowd(most int) crowd { return make(crowd, most) }

// walkers is how many layers are read at one time.
func walkers() crowd { return newCrowd(max(2, runtime.NumCPU())) }

// enter waits for a place, and gives what gives it back.
func (c crowd) enter(ctx context.Context) (leave func(), err error) {
	select {
	case c <- struct{}{}:
		return func() { <-c }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// heavily is for what reads the whole list of a change set.
func (p *piece) heavily(ctx context.Context) (leave func(), err error) {
	if p.Count.Entries() < manyEntries {
		return func() {}, nil
	}
	return p.store.heavy.enter(ctx)
}

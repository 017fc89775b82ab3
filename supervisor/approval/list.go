// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"fmt"
	"slices"

	"github.com/clawsup/clawsup/supervisor/policy"
)

// List gives the pending tickets, or all that are kept, the oldest first.
func (b *Book) List(all bool) []Ticket {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire()
	from := b.pending
	if all {
		from = slices.Concat(b.over, b.pending)
		slices.SortStableFunc(from, func(a, b *entry) int { return a.rec.Ticket.Created.Compare(b.rec.Ticket.Created) })
	}
	list := make([]Ticket, len(from))
	for i, e := range from {
		list[i] = e.rec.Ticket.clone()
	}
	return list
}

// Show gives the ticket with an id, or with a beginning of one that no other
// has; letters and digits that look alike may be typed for each other. The
// error is ErrUnknown or ErrAmbiguous.
func (b *Book) Show(id string) (Ticket, error) {
	id = typed(id)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire()
	if e := b.entries[id]; e != nil {
		return e.rec.Ticket.clone(), nil
	}
	var found *entry
	for _, e := range b.entries {
		if begins(e.rec.Ticket.ID, id) {
			if found != nil {
				return Ticket{}, ErrAmbiguous
			}
			found = e
		}
	}
	if found == nil {
		return Ticket{}, ErrUnknown
	}
	return found.rec.Ticket.clone(), nil
}

// GrantOf gives the grant that came of a ticket, live or not, or nil.
func (b *Book) GrantOf(ticket string) *policy.Grant {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[ticket]
	if e == nil || e.rec.Grant == nil {
		return nil
	}
	g := *e.rec.Grant
	return &g
}

// watcher is somebody who is told of changes.
type watcher struct {
	uid     uint32
	changes chan Ticket
}

// watchBuffer is how many changes a watcher may be behind.
const watchBuffer = 256

// Watch tells of each ticket when it is made and when it changes, in order,
// until ctx is done. The channel is closed then, when the book is, and when its
// reader is 256 changes behind, who then lists and watches anew. Who watches
// first and lists then misses nothing. uid is who watches: one has 8 of these
// at most, so that nobody keeps others out, and all together have 256. The
// error is, or wraps, ErrWatchers or ErrClosed.
func (b *Book) Watch(ctx context.Context, uid uint32) (<-chan Ticket, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	same := 0
	for w := range b.watchers {
		if w.uid == uid {
			same++
		}
	}
	switch {
	case b.closed:
		return nil, ErrClosed
	case same >= maxWatching:
		return nil, fmt.Errorf("%w: uid %d has %d watches; end one of them", ErrWatchers, uid, same)
	case len(b.watchers) >= maxWatchers:
		return nil, fmt.Errorf("%w: there are %d watches", ErrWatchers, len(b.watchers))
	}
	w := &watcher{uid, make(chan Ticket, watchBuffer)}
	b.watchers[w] = true
	context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.unwatch(w)
	})
	return w.changes, nil
}

// unwatch ends a watch, once. b.mu is held.
func (b *Book) unwatch(w *watcher) {
	if b.watchers[w] {
		delete(b.watchers, w)
		close(w.changes)
	}
}

// tell tells the watchers of a ticket. b.mu is held.
func (b *Book) tell(t *Ticket) {
	for w := range b.watchers {
		select {
		case w.changes <- t.clone():
		default:
			b.unwatch(w)
		}
	}
}

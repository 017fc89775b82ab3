// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/record"
)

// Options bound a Book. What is 0 is the default.
type Options struct {
	Expiry            time.Duration    // of a ticket; 10 minutes
	Burst             int              // tickets that one agent may make at once; 10
	Every             time.Duration    // then one more after each of these; 30 seconds
	Pending           int              // tickets that wait, of all; 64
	PendingPerSession int              // tickets that wait, of one session; 8
	Keep              int              // tickets that are over and kept to be shown; 1,000
	GrantMax          time.Duration    // the longest grant of an approver; 1 hour
	GrantMaxAdmin     time.Duration    // the longest grant of an admin or owner; 30 days
	GrantMaxHelper    time.Duration    // the longest grant by way of a helper, of anybody; 15 minutes
	Now               func() time.Time // the wall clock; time.Now

	// Roles gives the role that a uid has at this moment; nil: it is not asked,
	// and Recheck says who lost one. It is called while the Book is locked.
	Roles func(uid uint32) Role
}

func (o Options) withDefaults() Options {
	or := func(d *time.Duration, otherwise time.Duration) { *d = cmp.Or(max(*d, 0), otherwise) }
	count := func(n *int, otherwise int) { *n = cmp.Or(max(*n, 0), otherwise) }
	or(&o.Expiry, 10*time.Minute)
	count(&o.Burst, 10)
	or(&o.Every, 30*time.Second)
	count(&o.Pending, 64)
	count(&o.PendingPerSession, 8)
	count(&o.Keep, 1000)
	or(&o.GrantMax, time.Hour)
	or(&o.GrantMaxAdmin, 30*24*time.Hour)
	or(&o.GrantMaxHelper, 15*time.Minute)
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Bounds that nobody needs to change.
const (
	maxJoined   = 64        // calls of one ticket, over its life
	maxQuestion = 512 << 10 // bytes of a ticket's file when it is made; half of record.Max
	maxOver     = 64 << 20  // bytes of the files of tickets that are over, beside those with a live grant
	maxGrants   = 10_000    // live ones
	maxWatchers = 256       // of all
	maxWatching = 8         // of one uid
)

// Book keeps tickets and grants. Its methods may be used at the same time.
type Book struct {
	dir  string
	lock *os.File // of the directory

	// write is held over each change of a file, and taken before mu. Only the
	// fields below mu are changed without it, towards a no.
	write sync.Mutex

	lockFile sync.Mutex // held over each change of the lockdown's file

	mu       sync.Mutex // never held over a write
	options  Options
	entries  map[string]*entry // by ticket
	pending  []*entry          // the oldest first
	over     []*entry          // what ended first goes first
	overSize int               // bytes of over
	grants   []policy.Grant    // live ones; LastUsed is right here alone
	owners   []*entry          // of grants, one each
	shelf    shelf             // the same, by what they are for
	soonest  time.Time         // a live grant's expiry, none is before
	buckets  map[string]*bucket
	watchers map[*watcher]bool
	lockdown *Lockdown
	again    bool          // it was ordered once more
	stopped  chan struct{} // closed by Close
	closed   bool
	notes    []string

	background sync.WaitGroup // writes of what is known already
}

// entry is one ticket in memory.
type entry struct {
	rec     *stored
	size    int             // bytes of its file when it was made, about
	stale   bool            // its file may have another rec
	settled chan struct{}   // closed when its calls can be answered
	waiting map[string]bool // calls that have no answer yet
	place   int             // of its live grant, in Book.grants
	next    string          // of a changed one: the ticket that took its place
	timer   *time.Timer     // ends the ticket, or later its grant
	limit   time.Time       // when that is due, with a monotonic reading
}

// Open opens the book in dir, whose parent must exist and be root's alone, or
// makes an empty one. What was pending becomes void. A second Open of the same
// directory fails until Close.
func Open(dir string, o Options) (*Book, error) {
	lock, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	b := &Book{
		dir: dir, lock: lock, options: o.withDefaults(),
		entries: map[string]*entry{}, buckets: map[string]*bucket{}, shelf: shelf{}, watchers: map[*watcher]bool{},
		stopped: make(chan struct{}),
	}
	if err := b.load(); err != nil {
		lock.Close()
		return nil, err
	}
	return b, nil
}

// Configure puts other options into force. What is pending, and what was
// granted, stays as it is.
func (b *Book) Configure(o Options) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.options = o.withDefaults()
}

// Notes are what Open found that an operator should look at.
func (b *Book) Notes() []string { return slices.Clone(b.notes) }

// Counts gives how many tickets are pending and how many grants live.
func (b *Book) Counts() (tickets, grants int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire()
	return len(b.pending), len(b.grants)
}

// Close ends the book: calls that still wait are told that their ticket is
// void, watchers' channels are closed, and what was said is written down. The
// pending tickets become void at the next Open.
func (b *Book) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	close(b.stopped)
	for w := range b.watchers {
		b.unwatch(w)
	}
	for _, e := range b.entries {
		if e.timer != nil {
			e.timer.Stop()
		}
	}
	b.mu.Unlock()
	b.background.Wait()
	b.write.Lock()
	defer b.write.Unlock()
	err := b.rewrite()
	b.lock.Close()
	return err
}

// now is the wall clock's time, without a monotonic reading, so that
// comparisons are of the wall clock.
func (b *Book) now() time.Time { return b.options.Now().Round(0).UTC() }

// change makes a change durable and then known. b.write is held, and b.mu is
// not. It reports whether e still was old; if not, it has ended in between, and
// whoever ended it writes that.
func (b *Book) change(e *entry, old, next *stored) (bool, error) {
	err := b.save(next)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		// The file may have either. It is put right by whoever writes it next.
		e.stale = true
		b.later(e)
		return false, fmt.Errorf("keep ticket %s: %w", next.Ticket.ID, err)
	}
	if e.rec != old {
		return false, nil
	}
	b.become(e, next)
	return true, nil
}

// end makes a change towards a no known at once, and has it written. b.mu is held.
func (b *Book) end(e *entry, next *stored) {
	e.stale = true
	b.become(e, next)
	b.later(e)
}

// later has e's file written in the background. b.mu is held.
func (b *Book) later(e *entry) {
	if b.closed {
		return // Close does it
	}
	b.background.Go(func() {
		b.write.Lock()
		defer b.write.Unlock()
		_ = b.refresh(e) // it stays stale, and is tried again by Unlock and Close
	})
}

// refresh writes e's file if it may be another. b.write is held.
func (b *Book) refresh(e *entry) error {
	b.mu.Lock()
	rec, stale := e.rec, e.stale
	b.mu.Unlock()
	if !stale {
		return nil
	}
	if err := b.save(rec); err != nil {
		return fmt.Errorf("keep ticket %s: %w", rec.Ticket.ID, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.rec == rec {
		e.stale = false
	}
	return nil
}

// rewrite writes every file that may be another. b.write is held.
func (b *Book) rewrite() error {
	b.mu.Lock()
	var list []*entry
	for _, e := range b.entries {
		if e.stale {
			list = append(list, e)
		}
	}
	b.mu.Unlock()
	var first error
	for _, e := range list {
		if err := b.refresh(e); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// become makes next what e is, and tells who waits and who watches. b.mu is held.
func (b *Book) become(e *entry, next *stored) {
	old := e.rec
	e.rec = next
	if old != nil && old.live() && !next.live() {
		b.dropGrant(e)
	}
	switch {
	case !next.live():
	case old != nil && old.live():
		b.grants[e.place] = *next.Grant
	default:
		b.addGrant(e)
	}
	was, is := old != nil && old.Ticket.State == Pending, next.Ticket.State == Pending
	switch {
	case is && !was:
		b.entries[next.Ticket.ID] = e
		b.pending = append(b.pending, e)
	case was && !is:
		b.pending = slices.DeleteFunc(b.pending, func(p *entry) bool { return p == e })
		b.over = append(b.over, e)
		b.overSize += e.size
		if next.Ticket.State != Changed {
			b.settle(e, "")
		}
	}
	if old == nil || old.Ticket.Revision != next.Ticket.Revision {
		b.tell(&next.Ticket)
	}
}

// settle lets e's calls have their answer. b.mu is held.
func (b *Book) settle(e *entry, next string) {
	if !e.isSettled() {
		e.next = next
		close(e.settled)
		if e.timer != nil && !e.rec.live() {
			e.timer.Stop()
		}
	}
}

func (e *entry) isSettled() bool {
	select {
	case <-e.settled:
		return true
	default:
		return false
	}
}

// due has f called when a span of monotonic time has passed. b.mu is held.
func (b *Book) due(e *entry, in time.Duration, f func()) {
	if e.timer != nil {
		e.timer.Stop()
	}
	in = max(in, 0)
	e.limit = time.Now().Add(in)
	e.timer = time.AfterFunc(in, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if !b.closed {
			f()
		}
	})
}

// expire ends what is over by either clock. b.mu is held.
func (b *Book) expire() {
	now, ticks := b.now(), time.Now()
	for _, e := range slices.Clone(b.pending) {
		if !now.Before(e.rec.Ticket.Expires) || !ticks.Before(e.limit) {
			b.expireTicket(e)
		}
	}
	if len(b.grants) > 0 && !now.Before(b.soonest) {
		for _, e := range slices.Clone(b.owners) {
			if !now.Before(e.rec.Grant.Expires) {
				b.endGrant(e, expired)
			}
		}
		b.findSoonest()
	}
}

// expireTicket ends a ticket that nobody answered, or whose change nobody
// carried out. b.mu is held.
func (b *Book) expireTicket(e *entry) {
	switch e.rec.Ticket.State {
	case Pending:
		b.end(e, e.rec.closed(Expired, "nobody answered in time", b.now()))
	case Changed:
		b.settle(e, "")
	}
}

// trim forgets the tickets that have been over for longest. b.write is held,
// b.mu is not.
func (b *Book) trim() {
	b.mu.Lock()
	count, size := -b.options.Keep, b.overSize-maxOver
	for _, e := range b.over {
		if e.rec.live() {
			size -= e.size
		} else {
			count++
		}
	}
	var gone []*entry
	b.over = slices.DeleteFunc(b.over, func(e *entry) bool {
		if count <= 0 && size <= 0 || e.stale || e.rec.live() || !e.isSettled() {
			return false
		}
		gone = append(gone, e)
		count, size = count-1, size-e.size
		b.overSize -= e.size
		return true
	})
	for _, e := range gone {
		delete(b.entries, e.rec.Ticket.ID)
	}
	b.mu.Unlock()
	for _, e := range gone {
		// One that comes back after a crash is over, and harmless.
		_ = os.Remove(b.file(e.rec.Ticket.ID))
	}
}

func (b *Book) save(rec *stored) error { return record.Write(b.file(rec.Ticket.ID), rec) }

// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Options say where a log is and who signs it.
type Options struct {
	Dir     string             // made, 0700, if it doesn't exist; its parent must
	Anchor  string             // file outside Dir, in a folder that exists
	Key     ed25519.PrivateKey // see LoadKey
	Segment int64              // bytes after which a new segment begins; 0 is 64 MiB
	Since   uint64             // Open checks the chain from the segment that holds this entry on; 0: from the anchor on
}

const (
	segmentBytes = 64 << 20

	// One commit has at most so many entries, and bytes of them but for the
	// last. As many can wait besides; then Begin blocks.
	commitEntries = 256
	commitBytes   = 1 << 20
)

// Log is an open log. All methods can be used by many goroutines.
type Log struct {
	tail  *tail
	queue chan *Pending
	urge  chan struct{} // somebody waits for what was written and not synced
	ended chan struct{} // closed when the committer is done
	last  error         // what Close returns; set before ended is closed

	gate   sync.RWMutex // held for reading while something is put in queue
	closed bool         // guarded by gate
}

// Pending is an entry on its way to the disk.
type Pending struct {
	body  []byte
	hurry atomic.Bool   // somebody waits
	urge  chan struct{} // of the log
	done  chan struct{}
	seq   uint64
	err   error
}

// Open opens the log, alone: it stays locked until Close or the end of the
// process. It goes on where a crash stopped it and refuses, with an error that
// wraps *Problem, a log whose end isn't what its anchor says. It checks what was
// written since the anchor, and with Options.Since that what the anchor vouches
// for is as it was, from there on; Verify checks everything.
func Open(o Options) (*Log, error) {
	if len(o.Key) != ed25519.PrivateKeySize {
		return nil, errors.New("the log of receipts needs a key to sign with")
	}
	if o.Segment == 0 {
		o.Segment = segmentBytes
	}
	t, repairs, err := resume(o)
	if err != nil {
		return nil, fmt.Errorf("open the log of receipts: %w", err)
	}
	l := &Log{tail: t, queue: make(chan *Pending, commitEntries), urge: make(chan struct{}, 1), ended: make(chan struct{})}
	go l.commit()
	for _, r := range repairs {
		p, err := l.begin(context.Background(), r, true)
		if err == nil {
			_, err = p.Wait(context.Background())
		}
		if err != nil {
			l.Close()
			return nil, fmt.Errorf("open the log of receipts: write down what was repaired: %w", err)
		}
	}
	return l, nil
}

// Append writes an entry and returns its sequence number when it is durable.
func (l *Log) Append(ctx context.Context, r Receipt) (uint64, error) {
	if err := r.foreign(); err != nil {
		return 0, err
	}
	p, err := l.begin(ctx, r, true)
	if err != nil {
		return 0, err
	}
	return p.Wait(ctx)
}

// Begin takes an entry in. Entries are written in the order in which Begin
// took them, at once, so that they outlive the process; they are synced when
// somebody waits for one of them or for a later one, and otherwise a moment
// later. It blocks while too many are under way. An error
// (ErrReceipt, ErrClosed, ctx's) means that the entry will not be written.
func (l *Log) Begin(ctx context.Context, r Receipt) (*Pending, error) {
	if err := r.foreign(); err != nil {
		return nil, err
	}
	return l.begin(ctx, r, false)
}

func (l *Log) begin(ctx context.Context, r Receipt, hurry bool) (*Pending, error) {
	body, err := r.body()
	if err != nil {
		return nil, err
	}
	p := &Pending{body: body, urge: l.urge, done: make(chan struct{})}
	p.hurry.Store(hurry)
	l.gate.RLock()
	defer l.gate.RUnlock()
	if l.closed {
		return nil, ErrClosed
	}
	select {
	case l.queue <- p:
		return p, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Settled is closed when the entry is durable, or will not be written: Wait returns
// at once then. It does not hurry, as Wait does.
func (p *Pending) Settled() <-chan struct{} { return p.done }

// Wait returns the entry's sequence number once it is durable, or the error
// that kept it from being written. If ctx ends first, its error is
// returned and the entry may be written still.
func (p *Pending) Wait(ctx context.Context) (uint64, error) {
	select {
	case <-p.done:
		return p.seq, p.err
	default:
	}
	if !p.hurry.Swap(true) {
		select {
		case p.urge <- struct{}{}:
		default: // it is told already
		}
	}
	select {
	case <-p.done:
		return p.seq, p.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Failed says why an entry is known not to be written. It doesn't wait, and
// nobody is told to hurry: nil can mean that it is on its way.
func (p *Pending) Failed() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Close writes what was begun, and the anchor, and unlocks the log. Its error
// is the anchor's: entries tell theirs to who waits for them.
func (l *Log) Close() error {
	l.gate.Lock()
	if !l.closed {
		l.closed = true
		close(l.queue)
	}
	l.gate.Unlock()
	<-l.ended
	return l.last
}

// Anchor gives the anchor as its file has it after the commits so far, for a
// copy to be kept elsewhere. It is nil before the first commit of a new log.
func (l *Log) Anchor() *Anchor { return l.tail.written.Load() }

// wall is the clock without its monotonic part, which means nothing later.
func wall() time.Time { return time.Now().Round(0).UTC() }

// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// head is the end of the chain.
type head struct {
	seq    uint64
	hash   [sha256.Size]byte
	latest time.Time // the latest time of any entry so far
}

// tail is the end of the log on disk. It belongs to the committer once that runs.
type tail struct {
	dir     *os.File // locked
	anchor  string   // path
	key     ed25519.PrivateKey
	limit   int64            // bytes after which a segment is full
	since   uint64           // see Options
	clock   func() time.Time // UTC, without a monotonic part
	durable head

	file   *os.File // the last segment; nil before the first
	first  uint64   // its first sequence number
	size   int64    // its durable bytes
	before string   // name of the segment before it
	ragged bool     // file may have bytes behind size

	written atomic.Pointer[Anchor] // what the anchor's file has
	placing chan error             // the answer of the anchor being written; nil if none is
	placed  *Anchor                // the anchor of durable, unless it is written
}

// entry is one line in the making.
type entry struct {
	p      *Pending // nil for the line that begins a segment
	seq    uint64
	signed []byte
	line   []byte
}

// commit is the committer: it takes what came in, chains it, has it signed,
// writes it in one go, syncs it, and tells those who wait.
func (l *Log) commit() {
	defer close(l.ended)
	t := l.tail
	work := make(chan *entry)
	defer close(work)
	var signing sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		go func() {
			for e := range work {
				e.line = seal(e.signed, t.key)
				signing.Done()
			}
		}()
	}
	for first := range l.queue {
		if err := t.rotate(); err != nil {
			first.answer(0, err)
			continue
		}
		end := t.durable
		var entries []*entry
		size := 0
		chain := func(p *Pending, body []byte) {
			at, behind := t.clock(), time.Duration(0)
			if at.Before(end.latest) {
				behind = end.latest.Sub(at)
			} else {
				end.latest = at
			}
			e := &entry{p: p, seq: end.seq + 1, signed: unsigned(t.key.Public().(ed25519.PublicKey), end.hash, end.seq+1, at, behind, body)}
			end.seq, end.hash = end.seq+1, sha256.Sum256(e.signed)
			entries = append(entries, e)
			size += len(e.signed)
			signing.Add(1)
			work <- e
		}
		if t.size == 0 {
			chain(nil, t.opening())
		}
		chain(first, first.body)
		for len(entries) < commitEntries && size < commitBytes {
			p := l.next(t)
			if p == nil {
				break
			}
			chain(p, p.body)
		}
		signing.Wait()
		err := t.write(entries, end)
		for _, e := range entries {
			if e.p != nil {
				e.p.answer(e.seq, err)
			}
		}
	}
	l.last = errors.Join(t.place(), t.close())
}

// next gives an entry that can join the commit in the making, or nil if that
// should be written now. While the last commit's anchor is on its way nothing
// can be written, so that it waits for more.
func (l *Log) next(t *tail) *Pending {
	select {
	case p := <-l.queue: // nil if it is closed
		return p
	default:
	}
	if t.placing == nil {
		return nil
	}
	select {
	case p := <-l.queue:
		return p
	case err := <-t.placing:
		t.settle(err)
		return l.next(t)
	}
}

// answer tells who waits that the entry is durable as seq, or why it isn't.
func (p *Pending) answer(seq uint64, err error) {
	if p.err = err; err == nil {
		p.seq = seq
	}
	close(p.done)
}

// opening is the body of the entry that begins a segment.
func (t *tail) opening() []byte {
	r := Receipt{Kind: Administration, Rule: ruleSegment, Facts: []Fact{{"previous", t.before}}}
	body, err := r.body()
	if err != nil {
		panic(err) // a constant but for a file's name
	}
	return body
}

// rotate sees to it that there is a segment with room.
func (t *tail) rotate() error {
	if t.file != nil && t.size < t.limit {
		return nil
	}
	if err := t.mend(); err != nil {
		return err
	}
	first := t.durable.seq + 1
	next, err := openOwn(int(t.dir.Fd()), segmentName(first), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return loud("begin a segment", err)
	}
	if err := t.dir.Sync(); err != nil {
		next.Close()
		unix.Unlinkat(int(t.dir.Fd()), segmentName(first), 0)
		return loud("begin a segment", err)
	}
	if t.file != nil {
		t.before = segmentName(t.first)
		t.file.Close() // synced by the commits
	}
	t.file, t.first, t.size = next, first, 0
	return nil
}

// write makes a commit durable, or leaves the log as it was.
func (t *tail) write(entries []*entry, end head) error {
	if err := t.place(); err != nil {
		return err
	}
	if err := t.mend(); err != nil {
		return err
	}
	var all []byte
	for _, e := range entries {
		all = append(all, e.line...)
	}
	t.ragged = true
	if _, err := t.file.WriteAt(all, t.size); err != nil {
		return errors.Join(loud("write", err), t.mend())
	}
	if err := unix.Fdatasync(int(t.file.Fd())); err != nil {
		return errors.Join(loud("sync", err), t.mend())
	}
	t.ragged = false
	t.size += int64(len(all))
	t.durable = end
	t.post(&Anchor{Segment: t.first, Offset: t.size - int64(len(entries[len(entries)-1].line)), Seq: end.seq, Hash: end.hash})
	return nil
}

// post begins to write the anchor of the last durable entry.
func (t *tail) post(a *Anchor) {
	answer := make(chan error, 1)
	t.placed, t.placing = a, answer
	go func() {
		a.sign(t.key)
		err := a.replace(t.anchor)
		if err == nil {
			t.written.Store(a)
		}
		answer <- err
	}()
}

// settle takes note of how writing the anchor went.
func (t *tail) settle(err error) {
	t.placing = nil
	if err == nil {
		t.placed = nil
	}
}

// place waits until the anchor is that of the last commit. One that couldn't
// be written is tried once more.
func (t *tail) place() error {
	if t.placing != nil {
		t.settle(<-t.placing)
	}
	if t.placed == nil {
		return nil
	}
	if err := t.placed.replace(t.anchor); err != nil {
		return loud("keep the anchor", err)
	}
	t.written.Store(t.placed)
	t.placed = nil
	return nil
}

// mend cuts off what a failed write left behind the last durable line.
func (t *tail) mend() error {
	if !t.ragged {
		return nil
	}
	if err := t.file.Truncate(t.size); err != nil {
		return loud("cut off a failed write", err)
	}
	if err := t.file.Sync(); err != nil {
		return loud("cut off a failed write", err)
	}
	t.ragged = false
	return nil
}

// close lets go of the log's files, and of its lock.
func (t *tail) close() error {
	var err error
	if t.file != nil {
		err = t.file.Close()
	}
	return errors.Join(err, t.dir.Close())
}

// loud says what failed and, where the operator can act, how.
func loud(what string, err error) error {
	err = fmt.Errorf("log of receipts: %s: %w", what, err)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		err = fmt.Errorf("%w (no calls are run without receipts: make room, and they go on)", err)
	}
	return err
}

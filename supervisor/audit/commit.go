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
	key     ed25519.PrivateKey
	public  ed25519.PublicKey
	limit   int64            // bytes after which a segment is full
	since   uint64           // see Options
	clock   func() time.Time // UTC, without a monotonic part
	durable head

	file   *os.File // the last segment; nil before the first
	first  uint64   // its first sequence number
	size   int64    // its durable bytes
	before string   // name of the segment before it
	ragged bool     // file may have bytes behind size that are none of making's

	making commit // what is written and not synced
	crowd  bool   // several waited for the last commit

	anchor  slots
	written atomic.Pointer[Anchor] // what the anchor's file has
	placing chan error             // the answer of the anchor being written; nil if none is
	placed  *Anchor                // the anchor of durable, unless it is written
}

// commit is what becomes durable by one sync.
type commit struct {
	entries []*entry
	end     head  // behind the last of them
	bytes   int64 // of their lines
	last    int64 // bytes of the last line
}

// entry is one line in the making.
type entry struct {
	p      *Pending // nil for the line that begins a segment
	seq    uint64
	signed []byte
	line   []byte
}

// lazily is how long entries that nobody waits for may stay unsynced.
const lazily = 20 * time.Millisecond

// commit is the committer: it takes what came in, chains it, has it signed,
// writes it in one go, syncs it, and tells those who wait. What nobody waits
// for is written at once, and synced with what comes next: a call whose
// decision is only to be in the log when it has ended costs one sync.
func (l *Log) commit() {
	defer close(l.ended)
	t := l.tail
	sign, done := signers(t.key)
	defer done()
	late := time.NewTimer(lazily)
	late.Stop()
	for open := true; open; {
		hurry, fresh := false, false
		select {
		case p, ok := <-l.queue:
			if open = ok; ok {
				fresh = len(t.making.entries) == 0
				hurry = l.take(t, p, sign)
			}
		case <-l.urge:
			hurry = true
			if p := l.next(); p != nil {
				l.take(t, p, sign)
			}
		case <-late.C:
			hurry = true
		}
		switch {
		case len(t.making.entries) == 0:
		case hurry || !open || t.making.full():
			late.Stop()
			l.gather(t, sign)
			t.finish()
		case fresh:
			late.Reset(lazily)
		}
	}
	l.last = errors.Join(t.place(), t.close())
}

// full says whether no more should join.
func (c *commit) full() bool { return len(c.entries) >= commitEntries || c.bytes >= commitBytes }

// signers begins goroutines that seal entries side by side. sign returns when
// all of a list are sealed; done ends them.
func signers(key ed25519.PrivateKey) (sign func([]*entry), done func()) {
	work := make(chan *entry)
	var signing sync.WaitGroup
	for range runtime.GOMAXPROCS(0) - 1 {
		go func() {
			for e := range work {
				e.line = seal(e.signed, key)
				signing.Done()
			}
		}()
	}
	sign = func(entries []*entry) {
		for i, e := range entries {
			if i+1 < len(entries) { // the last one is sealed here, and so are those for which nobody has time
				signing.Add(1)
				select {
				case work <- e:
					continue
				default:
					signing.Done()
				}
			}
			e.line = seal(e.signed, key)
		}
		signing.Wait()
	}
	return sign, func() { close(work) }
}

// next gives an entry that is there already, or nil.
func (l *Log) next() *Pending {
	select {
	case p := <-l.queue: // nil if it is closed
		return p
	default:
		return nil
	}
}

// gather lets more join while the anchor of the last commit is on its way:
// before it is there, nothing can be finished. Where the last commit had but
// one entry that somebody waited for, hardly another comes, and syncing at once
// takes less time.
func (l *Log) gather(t *tail, sign func([]*entry)) {
	for t.crowd && t.placing != nil && len(t.making.entries) > 0 && !t.making.full() {
		select {
		case p, ok := <-l.queue:
			if !ok {
				return
			}
			l.take(t, p, sign)
		case err := <-t.placing:
			t.settle(err)
		}
	}
}

// take writes an entry and those that are there already. It reports whether
// somebody waits for one of them.
func (l *Log) take(t *tail, first *Pending, sign func([]*entry)) (hurry bool) {
	if err := t.rotate(); err != nil {
		first.answer(0, err)
		return false
	}
	c := &t.making
	if len(c.entries) == 0 {
		c.end = t.durable
	}
	before := len(c.entries)
	if t.size+c.bytes == 0 {
		t.chain(nil, t.opening())
	}
	size := 0
	for p := first; p != nil; p = l.next() {
		t.chain(p, p.body)
		hurry = hurry || p.hurry.Load()
		if size += len(p.body); len(c.entries) >= commitEntries || size >= commitBytes {
			break
		}
	}
	fresh := c.entries[before:]
	sign(fresh)
	if err := t.append(fresh); err != nil {
		t.fail(err)
	}
	return hurry
}

// chain puts an entry behind the last one.
func (t *tail) chain(p *Pending, body []byte) {
	c := &t.making
	at, behind := t.clock(), time.Duration(0)
	if at.Before(c.end.latest) {
		behind = c.end.latest.Sub(at)
	} else {
		c.end.latest = at
	}
	e := &entry{p: p, seq: c.end.seq + 1, signed: unsigned(t.public, c.end.hash, c.end.seq+1, at, behind, body)}
	c.end.seq, c.end.hash = e.seq, sha256.Sum256(e.signed)
	c.entries = append(c.entries, e)
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
	if t.file != nil && t.size+t.making.bytes < t.limit {
		return nil
	}
	if len(t.making.entries) > 0 {
		t.finish()
		if t.size < t.limit {
			return nil
		}
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

// append writes the last entries of the commit in the making.
func (t *tail) append(fresh []*entry) error {
	if err := t.mend(); err != nil {
		return err
	}
	lines := fresh[0].line
	if len(fresh) > 1 {
		n := 0
		for _, e := range fresh {
			n += len(e.line)
		}
		lines = make([]byte, 0, n)
		for _, e := range fresh {
			lines = append(lines, e.line...)
		}
	}
	c := &t.making
	if _, err := t.file.WriteAt(lines, t.size+c.bytes); err != nil {
		return loud("write", err)
	}
	c.bytes += int64(len(lines))
	c.last = int64(len(fresh[len(fresh)-1].line))
	return nil
}

// finish makes the commit durable, or leaves the log as it was before it, and
// tells who waits. The anchor of the one before is in its place by then: at no
// time is it further behind.
func (t *tail) finish() {
	if len(t.making.entries) == 0 { // it failed
		return
	}
	if err := unix.Fdatasync(int(t.file.Fd())); err != nil {
		t.fail(loud("sync", err))
		return
	}
	if err := t.place(); err != nil {
		t.fail(err)
		return
	}
	c := t.making
	t.making = commit{entries: t.making.entries[:0]}
	t.size += c.bytes
	t.durable = c.end
	t.post(&Anchor{Segment: t.first, Offset: t.size - c.last, Seq: c.end.seq, Hash: c.end.hash})
	waiting := 0
	for _, e := range c.entries {
		if e.p == nil {
			continue
		}
		if e.p.hurry.Load() {
			waiting++
		}
		e.p.answer(e.seq, nil)
	}
	t.crowd = waiting > 1
	clear(c.entries)
}

// fail gives the commit in the making up.
func (t *tail) fail(err error) {
	c := t.making
	t.making = commit{}
	t.ragged = true
	err = errors.Join(err, t.mend())
	for _, e := range c.entries {
		if e.p != nil {
			e.p.answer(0, err)
		}
	}
}

// post begins to write the anchor of the last durable entry.
func (t *tail) post(a *Anchor) {
	answer := make(chan error, 1)
	t.placed, t.placing = a, answer
	go func() {
		a.sign(t.key)
		err := t.anchor.write(a)
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
	if err := t.anchor.write(t.placed); err != nil {
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
	t.anchor.close()
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

// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"
)

// maxProblems bounds a Report. A log with more is as broken as it gets.
const maxProblems = 100

// Report is what Verify found.
type Report struct {
	Entries  uint64        // lines that are entries, signed by the key and spelled right
	First    uint64        // least sequence number of those
	Last     uint64        // greatest
	Latest   time.Time     // latest time of an entry
	Set      int           // entries whose clock was behind an earlier one's
	Behind   time.Duration // by how much at most
	Repairs  int           // entries about half a line that a crash left
	Anchored uint64        // sequence number of the anchor given, found and the same; 0 if not
	Problems []*Problem    // in the order found; at most 100
	More     int           // problems besides
}

// Intact says that nothing is wrong. Half a line at the end is something: an
// open log can show it, one that was closed can't.
func (r *Report) Intact() bool { return len(r.Problems) == 0 }

func (r *Report) problem(p Problem) {
	if len(r.Problems) == maxProblems {
		r.More++
		return
	}
	r.Problems = append(r.Problems, &p)
}

// seen is one line, looked at by itself.
type seen struct {
	file    string
	line    int
	leading bool // the first of its file
	fault   Fault
	detail  string

	seq    uint64
	prev   [sha256.Size]byte
	hash   [sha256.Size]byte
	time   time.Time
	behind time.Duration
	rule   string
	before string // of audit.segment: the file before
	err    error  // reading failed; nothing else is set
}

// bunch is some lines that are looked at together.
type bunch struct {
	seen []seen
	text [][]byte
	done chan struct{}
}

const bunchLines = 64 // at most 4 MiB

// Verify checks every entry of the log in dir with the public key, and its end
// with an anchor if that isn't nil. It needs nothing else, writes nothing,
// and uses memory of a fixed size. What is wrong with the log is in the Report;
// the error says that it couldn't be read. Nothing of a line is parsed before its
// signature was found good.
func Verify(dir string, public ed25519.PublicKey, anchor *Anchor) (*Report, error) {
	if len(public) != ed25519.PublicKeySize {
		return nil, errors.New("verify the log of receipts: the public key has the wrong length")
	}
	firsts, err := segments(dir)
	if err != nil {
		return nil, err
	}
	report := &Report{}
	if anchor != nil && !anchor.SignedBy(public) {
		p := Problem{Fault: Edited, File: "anchor"}
		if string(anchor.Key[:]) != string(public) && anchor.SignedBy(anchor.Key[:]) {
			p = Problem{Fault: Foreign, File: "anchor", Detail: "it is signed with " + FormatPublic(anchor.Key[:])}
		}
		report.problem(p)
		anchor = nil
	}

	order := make(chan *bunch, 2*runtime.GOMAXPROCS(0))
	work := make(chan *bunch)
	for range runtime.GOMAXPROCS(0) {
		go func() {
			for b := range work {
				for i := range b.text {
					b.seen[i].look(b.text[i], public)
				}
				close(b.done)
			}
		}()
	}
	go func() {
		defer close(order)
		defer close(work)
		feed(dir, firsts, order, work)
	}()
	w := walk{report: report, anchor: anchor, next: 1}
	for b := range order {
		<-b.done
		for i := range b.seen {
			if s := &b.seen[i]; s.err != nil {
				err = s.err
			} else {
				w.step(s)
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("verify the log of receipts: %w", err)
	}
	w.end()
	return report, nil
}

// feed reads the segments, in bunches, into order and work.
func feed(dir string, firsts []uint64, order, work chan<- *bunch) {
	b := &bunch{done: make(chan struct{})}
	flush := func() {
		if len(b.seen) > 0 {
			order <- b
			work <- b
			b = &bunch{done: make(chan struct{})}
		}
	}
	defer flush()
	add := func(s seen, text []byte) {
		b.seen, b.text = append(b.seen, s), append(b.text, text)
		if len(b.seen) == bunchLines {
			flush()
		}
	}
	for i, first := range firsts {
		name := segmentName(first)
		in, err := openLines(dir, name)
		if err != nil {
			add(seen{err: err}, nil)
			return
		}
		for {
			line, err := in.next()
			if err == io.EOF {
				break
			}
			s := seen{file: name, line: in.line, leading: in.line == 1}
			switch {
			case err == nil:
				add(s, append([]byte(nil), line...))
				continue
			case errors.Is(err, errHalf) && i == len(firsts)-1:
				s.fault, s.detail = Torn, "half a line; the next start of the supervisor cuts it off and writes that down"
			case errors.Is(err, errHalf), errors.Is(err, errLong):
				s.fault, s.detail = Edited, err.Error()
			default:
				s = seen{err: err}
			}
			add(s, nil)
			if s.err != nil {
				in.Close()
				return
			}
		}
		in.Close()
	}
}

// look judges the line by itself.
func (s *seen) look(line []byte, public ed25519.PublicKey) {
	if s.err != nil || s.fault != 0 {
		return
	}
	f, err := takeApart(line)
	if err != nil {
		s.fault, s.detail = Edited, err.Error()
		return
	}
	if !f.signedBy(public) {
		s.fault, s.detail = Edited, "the signature isn't good"
		if string(f.key[:]) != string(public) && f.signedBy(f.key[:]) {
			s.fault, s.detail = Foreign, "it is signed with "+FormatPublic(f.key[:])
		}
		return
	}
	r, err := f.receipt()
	if err != nil {
		s.fault, s.detail = Edited, err.Error()
		return
	}
	s.seq, s.prev, s.hash = f.seq, f.prev, f.hash()
	s.time, s.behind, s.rule = r.Time, r.Behind, r.Rule
	if r.Rule == ruleSegment && len(r.Facts) == 1 {
		s.before = r.Facts[0].Value
	}
}

// walk goes through the entries in the order of the files.
type walk struct {
	report *Report
	anchor *Anchor

	next    uint64            // expected: one more than the greatest number so far
	hash    [sha256.Size]byte // of entry next-1
	bad     uint64            // lines since entry next-1 that are no entry of this log's
	file    string            // of the line before
	missing []span            // in order
}

// maxSpans bounds what is remembered as missing. Past it, the last span grows
// over what lies between.
const maxSpans = 4096

type span struct{ from, to uint64 }

func (w *walk) step(s *seen) {
	r := w.report
	place := func(fault Fault, from, to uint64, detail string) {
		r.problem(Problem{Fault: fault, File: s.file, Line: s.line, From: from, To: to, Detail: detail})
	}
	before := w.file
	w.file = s.file
	if s.fault != 0 {
		// Which entry it was its place tells, not what it says.
		from := w.next + w.bad
		if s.fault != Torn {
			w.bad++
		}
		place(s.fault, from, from, s.detail)
		return
	}
	r.Entries++
	if r.First == 0 || s.seq < r.First {
		r.First = s.seq
	}
	r.Last = max(r.Last, s.seq)
	if at := s.time.Add(s.behind); at.After(r.Latest) {
		r.Latest = at
	}
	if s.behind > 0 {
		r.Set++
		r.Behind = max(r.Behind, s.behind)
	}
	if s.rule == ruleRepair {
		r.Repairs++
	}
	if w.anchor != nil && s.seq == w.anchor.Seq {
		if s.hash == w.anchor.Hash {
			r.Anchored = s.seq
		} else {
			place(Forked, s.seq, s.seq, "it isn't the entry that the anchor names")
		}
	}
	switch {
	case s.seq < w.next:
		if w.fill(s.seq) {
			place(Reordered, s.seq, s.seq, fmt.Sprintf("it stands behind entry %d", w.next-1))
		} else {
			place(Reordered, s.seq, s.seq, "its number is there twice")
		}
		return
	case s.seq > w.next:
		// Lines that are no entries stand for as many of those that aren't there.
		if from := w.next + w.bad; from >= s.seq {
			break
		} else if n := len(w.missing); n < maxSpans {
			w.missing = append(w.missing, span{from, s.seq - 1})
		} else {
			w.missing[n-1].to = s.seq - 1
		}
	case w.next > 1 && s.prev != w.hash:
		place(Forked, s.seq, s.seq, "it doesn't follow the entry before it, though both are signed")
	case w.next == 1 && s.prev != [sha256.Size]byte{}:
		place(Forked, s.seq, s.seq, "the first entry follows another")
	}
	switch inOrder := s.seq == w.next; {
	case !inOrder:
	case s.leading && s.file != segmentName(s.seq):
		place(Reordered, s.seq, s.seq, "the file's name tells another entry")
	case s.leading != (s.rule == ruleSegment):
		place(Reordered, s.seq, s.seq, "segments begin elsewhere than they did")
	case s.leading && s.before != before:
		place(Reordered, s.seq, s.seq, fmt.Sprintf("the segment before it was %q", s.before))
	}
	w.next, w.hash, w.bad = s.seq+1, s.hash, 0
}

// fill takes an entry that turned up late from those that are missing.
func (w *walk) fill(seq uint64) bool {
	for i, m := range w.missing {
		if seq < m.from || seq > m.to {
			continue
		}
		rest := append([]span(nil), w.missing[i+1:]...)
		w.missing = w.missing[:i]
		if m.from < seq {
			w.missing = append(w.missing, span{m.from, seq - 1})
		}
		if seq < m.to {
			w.missing = append(w.missing, span{seq + 1, m.to})
		}
		w.missing = append(w.missing, rest...)
		return true
	}
	return false
}

func (w *walk) end() {
	for _, m := range w.missing {
		w.report.problem(Problem{Fault: Missing, From: m.from, To: m.to})
	}
	if from := w.next + w.bad; w.anchor != nil && w.anchor.Seq >= from {
		w.report.problem(Problem{Fault: Truncated, From: from, To: w.anchor.Seq, Detail: "the anchor is ahead of the log"})
	}
}

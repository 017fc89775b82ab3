// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// chain checks, by hashes alone, that the entries from the segment that holds
// number since up to the anchored one are what they were when the anchor was
// written: the hash of each is in the entry after it, and that of the last in
// the anchor, which is signed. It takes a fraction of what Verify takes, and
// doesn't look at the entries' own signatures.
func chain(dir string, public ed25519.PublicKey, since uint64, anchor *Anchor) error {
	firsts, err := segments(dir)
	if err != nil {
		return err
	}
	c := links{dir: dir, public: public, anchor: anchor}
	for i, first := range firsts {
		if i+1 < len(firsts) && firsts[i+1] <= since {
			continue
		}
		if c.next == 0 {
			c.next = first
		}
		c.rest = firsts[i:]
		if err := c.segment(segmentName(first)); err != nil {
			return err
		}
		if c.next > anchor.Seq {
			return nil
		}
	}
	return &Problem{Fault: Truncated, From: max(c.next, 1), To: anchor.Seq, Detail: "the anchor is ahead of the log"}
}

// links is a walk along the chain.
type links struct {
	dir    string
	public ed25519.PublicKey
	anchor *Anchor
	rest   []uint64 // segments from the one at hand on

	next uint64            // expected
	hash [sha256.Size]byte // of entry next-1, if known
	any  bool              // it is
}

// segment goes through one segment, up to the anchored entry.
func (c *links) segment(name string) error {
	in, err := openLines(c.dir, name)
	if err != nil {
		return err
	}
	defer in.Close()
	wrong := func(fault Fault, from, to uint64, detail string) error {
		return &Problem{Fault: fault, File: name, Line: in.line, From: from, To: to, Detail: detail}
	}
	for c.next <= c.anchor.Seq {
		line, err := in.next()
		if err == io.EOF {
			return nil
		}
		var f frame
		if err == nil {
			f, err = takeApart(line)
		}
		switch {
		case errors.Is(err, errHalf), errors.Is(err, errLine):
			return wrong(Edited, c.next, c.next, err.Error())
		case err != nil:
			return fmt.Errorf("read %s: %w", name, err)
		case !c.follows(&f) && !f.signedBy(c.public):
			return wrong(Edited, c.next, c.next, "the signature isn't good, or another key's")
		case f.seq > c.next && !c.later(c.next):
			return wrong(Missing, c.next, f.seq-1, fmt.Sprintf("entry %d is here", f.seq))
		case f.seq != c.next:
			return wrong(Reordered, f.seq, f.seq, fmt.Sprintf("it stands where entry %d belongs", c.next))
		case f.seq == c.anchor.Seq && f.hash() != c.anchor.Hash:
			return wrong(Forked, c.next, c.next, "it isn't the entry that the anchor names")
		case !c.follows(&f):
			return wrong(Edited, max(c.next-1, 1), max(c.next-1, 1), "it isn't what the entry after it knows")
		}
		c.hash, c.any = f.hash(), true
		c.next++
	}
	return nil
}

// follows says whether an entry is the next, as far as the one before it and
// the anchor tell.
func (c *links) follows(f *frame) bool {
	return f.seq == c.next && (f.prev == c.hash || !c.any && c.next > 1) && (f.seq != c.anchor.Seq || f.hash() == c.anchor.Hash)
}

// later says whether an entry stands further on.
func (c *links) later(seq uint64) bool {
	for _, first := range c.rest {
		in, err := openLines(c.dir, segmentName(first))
		if err != nil {
			return false
		}
		found := false
		for err = nil; err != io.EOF && !found; {
			var line []byte
			if line, err = in.next(); err == nil {
				f, bad := takeApart(line)
				found = bad == nil && f.seq == seq
			}
			if errors.Is(err, errHalf) {
				break
			}
		}
		in.Close()
		if found {
			return true
		}
	}
	return false
}

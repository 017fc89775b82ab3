// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// slotSize is the length of a line in the anchor's file, with the spaces that
// fill it and its line feed: a block of the usual file systems and disks, so
// that writing one touches nothing of the other. What differs between two
// anchors is within the first 512 bytes, which a disk writes whole or not at all.
const slotSize = 4096

// slots is the anchor's file. It has two lines, and each anchor is written over
// the older of them: the file never grows, no name changes, and whatever moment
// a crash finds, one of the two is whole. To make a file anew for each anchor
// would take several times as long, in a file system's tables above all.
type slots struct {
	path string
	file *os.File // nil: not opened yet
	next int      // which of the two is the older
	line []byte   // for one of them
}

// write makes an anchor durable.
func (s *slots) write(a *Anchor) error {
	if !s.there() {
		return s.renew(a)
	}
	if err := s.put(a); err != nil {
		s.close()
		return err
	}
	return nil
}

// there says whether the file is the one that has the name. An operator may
// have moved it away.
func (s *slots) there() bool {
	var named, ours unix.Stat_t
	return s.file != nil && unix.Lstat(s.path, &named) == nil && unix.Fstat(int(s.file.Fd()), &ours) == nil &&
		named.Dev == ours.Dev && named.Ino == ours.Ino
}

func (s *slots) put(a *Anchor) error {
	if _, err := s.file.WriteAt(s.fill(a), int64(s.next)*slotSize); err != nil {
		return fmt.Errorf("anchor of the receipts: %w", err)
	}
	if err := unix.Fdatasync(int(s.file.Fd())); err != nil {
		return fmt.Errorf("sync the anchor of the receipts: %w", err)
	}
	s.next = 1 - s.next
	return nil
}

// fill gives a line of the file; nil: an empty one.
func (s *slots) fill(a *Anchor) []byte {
	s.line = slices.Grow(s.line[:0], slotSize)
	if a != nil {
		s.line = a.line(s.line)
	}
	for len(s.line) < slotSize-1 {
		s.line = append(s.line, ' ')
	}
	s.line = append(s.line, '\n')
	return s.line
}

// renew makes the file, with one anchor: whole, or not at all. It syncs the
// bytes, so that a crash can't leave an empty file; it doesn't sync the name,
// since an older anchor is a good one.
func (s *slots) renew(a *Anchor) error {
	s.close()
	next := s.path + ".new"
	if err := os.Remove(next); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("anchor of the receipts: %w", err)
	}
	f, err := openOwn(unix.AT_FDCWD, next, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return fmt.Errorf("anchor of the receipts: %w", err)
	}
	s.file = f
	if _, err = f.WriteAt(s.fill(nil), slotSize); err == nil {
		err = s.put(a)
	}
	if err == nil {
		err = os.Rename(next, s.path)
	}
	if err != nil {
		s.close()
		return fmt.Errorf("anchor of the receipts: %w", err)
	}
	return nil
}

func (s *slots) close() {
	if s.file != nil {
		s.file.Close() // synced by put
	}
	s.file, s.next = nil, 0
}

// ReadAnchor reads an anchor's file: the newer of the two that are in it, or
// the one in a copy that was printed. What is no anchor, as what a crash left of
// one that was being written, counts only if there is no other; one that isn't
// as it was signed is given before any other, so that it is noticed. An error
// that is fs.ErrNotExist says that there is none.
func ReadAnchor(path string) (*Anchor, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("anchor of the receipts: %w", err)
	}
	defer f.Close()
	// While a log is written, a reader can see half of the old and half of the
	// new line, and hardly ever a second time.
	for tries := 1; ; tries++ {
		text, err := io.ReadAll(io.NewSectionReader(f, 0, 2*slotSize+maxAnchor))
		if err != nil {
			return nil, fmt.Errorf("anchor of the receipts: %w", err)
		}
		a, err := newest(text)
		if err != nil {
			return nil, fmt.Errorf("anchor of the receipts %q: %w", path, err)
		}
		if tries == 3 || a.SignedBy(a.Key[:]) {
			return a, nil
		}
	}
}

// newest gives the anchor that counts of a file's text.
func newest(text []byte) (*Anchor, error) {
	if len(text) <= maxAnchor {
		return ParseAnchor(text)
	}
	var best *Anchor
	var wrong error
	for part := range bytes.Lines(text) {
		part = bytes.TrimRight(part, " \n")
		if len(part) == 0 {
			continue
		}
		a, err := ParseAnchor(part)
		if err != nil {
			wrong = errors.Join(wrong, err)
			continue
		}
		if !a.SignedBy(a.Key[:]) {
			return a, nil
		}
		if best == nil || a.Seq > best.Seq {
			best = a
		}
	}
	switch {
	case best != nil:
		return best, nil
	case wrong != nil:
		return nil, wrong
	}
	return nil, errors.New("this is not an anchor: it is empty")
}

// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/rootfs"
)

// Files of a commit in its directory.
const (
	journalName = "journal"
	reportName  = "report"
	landedName  = "landed"
	trashName   = "trash"
)

// record is one line of a journal. One field is set.
type record struct {
	Head   *head   `json:"head,omitempty"`   // the first
	Left   *left   `json:"left,omitempty"`   // an entry that was left before anything was done
	Item   *item   `json:"item,omitempty"`   // one that is to be applied; they count from 0
	Opened *opened `json:"opened,omitempty"` // a directory that is about to be given rights
	Plan   bool    `json:"plan,omitempty"`   // all items are there
	Staged *staged `json:"staged,omitempty"` // what was made for an item
	Over   *over   `json:"over,omitempty"`   // an item that could not be made
	Ready  bool    `json:"ready,omitempty"`  // all is made; from here on there is no way back
	Done   bool    `json:"done,omitempty"`
}

type head struct {
	Version int          `json:"version"`
	Name    string       `json:"name"` // of hidden names
	Root    inode        `json:"root"`
	Owner   rootfs.Owner `json:"owner"`
}

type staged struct {
	Item int   `json:"item"`
	ID   inode `json:"id"`
}

type over struct {
	Item int  `json:"item"`
	Left left `json:"left"`
}

// version is that of the files that this package writes.
const version = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal makes a line of a value: a checksum of 8 hexadecimal digits, a space,
// JSON.
func seal(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	line := fmt.Appendf(make([]byte, 0, len(text)+10), "%08x ", crc32.Checksum(text, castagnoli))
	return append(append(line, text...), '\n'), nil
}

// unseal reads a line of seal, without its end.
func unseal(line []byte, v any) error {
	if len(line) < 9 || line[8] != ' ' {
		return errors.New("the line has no checksum")
	}
	sum, err := strconv.ParseUint(string(line[:8]), 16, 32)
	if err != nil || uint32(sum) != crc32.Checksum(line[9:], castagnoli) {
		return errors.New("the line's checksum is wrong")
	}
	return json.Unmarshal(line[9:], v)
}

// lines calls do for each whole line. The first that is torn ends it: nothing
// after it has ever been acted upon, since every record that matters was
// fsynced with all before it.
func lines(r io.Reader, do func(line []byte) (whole bool, err error)) error {
	in := bufio.NewReaderSize(r, 1<<16)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		whole, err := do(bytes.TrimSuffix(line, []byte{'\n'}))
		if err != nil || !whole {
			return err
		}
	}
}

// journal is one that is written.
type journal struct {
	file    *os.File
	pending []byte
}

func newJournal(dir *os.File) (*journal, error) {
	about("open")
	fd, err := unix.Openat(int(dir.Fd()), journalName, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_APPEND|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if errors.Is(err, unix.EEXIST) {
		return nil, errors.New("a commit was begun in this directory already; recover it first")
	}
	if err != nil {
		return nil, fmt.Errorf("make the journal: %w", err)
	}
	return &journal{file: os.NewFile(uintptr(fd), journalName)}, nil
}

// add appends a record; flush, and the journal is on the disk up to it.
func (j *journal) add(r record, flush bool) error {
	line, err := seal(r)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	j.pending = append(j.pending, line...)
	if !flush && len(j.pending) < 1<<20 {
		return nil
	}
	if err := appendTo(j.file, j.pending); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	j.pending = j.pending[:0]
	if !flush {
		return nil
	}
	if err := fsync(int(j.file.Fd())); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// history is what a journal says.
type history struct {
	head   head
	gone   []left
	items  []item
	over   map[int]left
	opened []opened
	plan   bool
	ready  bool
	done   bool
	size   int64 // bytes of whole lines
}

// readJournal gives nil where the journal has no beginning.
func readJournal(r io.Reader) (*history, error) {
	h := &history{over: map[int]left{}}
	begun := false
	err := lines(r, func(line []byte) (bool, error) {
		var rec record
		if err := unseal(line, &rec); err != nil {
			return false, nil
		}
		h.size += int64(len(line)) + 1
		if !begun {
			if rec.Head == nil {
				return false, errors.New("it does not begin as a journal")
			}
			if rec.Head.Version != version {
				return false, fmt.Errorf("it has version %d; this program knows %d", rec.Head.Version, version)
			}
			begun, h.head = true, *rec.Head
			return true, nil
		}
		return true, h.take(&rec)
	})
	if err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	if !begun {
		return nil, nil
	}
	return h, nil
}

func (h *history) take(r *record) error {
	known := func(i int) error {
		if i < 0 || i >= len(h.items) {
			return fmt.Errorf("there is no item %d", i)
		}
		return nil
	}
	switch {
	case r.Left != nil:
		h.gone = append(h.gone, *r.Left)
	case r.Item != nil:
		if r.Item.Within < -1 || r.Item.Within >= len(h.items) {
			return fmt.Errorf("item %d is within %d", len(h.items), r.Item.Within)
		}
		h.items = append(h.items, *r.Item)
	case r.Opened != nil:
		h.opened = append(h.opened, *r.Opened)
	case r.Staged != nil:
		if err := known(r.Staged.Item); err != nil {
			return err
		}
		h.items[r.Staged.Item].Staged = r.Staged.ID
	case r.Over != nil:
		if err := known(r.Over.Item); err != nil {
			return err
		}
		h.over[r.Over.Item] = r.Over.Left
	case r.Plan:
		h.plan = true
	case r.Ready:
		h.ready = true
	case r.Done:
		h.done = true
	default:
		return errors.New("a record says nothing")
	}
	return nil
}

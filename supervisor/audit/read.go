// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Read gives the entries of the log in dir from sequence number from on, one
// at a time, in the order in which they stand. It checks how they are spelled but
// neither signatures nor the chain: that is Verify's. It stops at the
// first error, and at half a line at the end without one, so that it can be
// called again, with the next number, to follow a log that grows.
func Read(dir string, from uint64) iter.Seq2[Receipt, error] {
	return func(yield func(Receipt, error) bool) {
		firsts, err := segments(dir)
		if err != nil {
			yield(Receipt{}, err)
			return
		}
		for i, first := range firsts {
			if i+1 < len(firsts) && firsts[i+1] <= from {
				continue
			}
			if !readSegment(dir, segmentName(first), from, yield) {
				return
			}
		}
	}
}

// readSegment says whether to go on.
func readSegment(dir, name string, from uint64, yield func(Receipt, error) bool) bool {
	in, err := openLines(dir, name)
	if err != nil {
		yield(Receipt{}, err)
		return false
	}
	defer in.Close()
	for {
		line, err := in.next()
		if err == io.EOF || errors.Is(err, errHalf) {
			return true
		}
		var f frame
		if err == nil {
			f, err = takeApart(line)
		}
		if err == nil && f.seq < from {
			continue
		}
		var r Receipt
		if err == nil {
			r, err = f.receipt()
		}
		if err != nil {
			yield(Receipt{}, fmt.Errorf("%s line %d: %w", name, in.line, err))
			return false
		}
		if !yield(r, nil) {
			return false
		}
	}
}

// lines reads a segment line by line.
type lines struct {
	*os.File
	in   *bufio.Reader
	line int // number of the last line, from 1
}

var (
	errHalf = errors.New("the last line has no end")
	errLong = fmt.Errorf("%w: over %d bytes", errLine, MaxLine)
)

func openLines(dir, name string) (*lines, error) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return &lines{File: f, in: bufio.NewReaderSize(f, MaxLine)}, nil
}

// next gives a line without its line feed, good until the next call; errLong
// for a line that is passed over, errHalf for what has no line feed, io.EOF.
func (l *lines) next() ([]byte, error) {
	l.line++
	line, err := l.in.ReadSlice('\n')
	long := false
	for err == bufio.ErrBufferFull {
		long = true
		line, err = l.in.ReadSlice('\n')
	}
	switch {
	case err == io.EOF && len(line) == 0 && !long:
		return nil, io.EOF
	case err == io.EOF:
		return nil, errHalf
	case err != nil:
		return nil, err
	case long:
		return nil, errLong
	}
	return line[:len(line)-1], nil
}

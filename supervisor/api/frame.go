// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// MaxFrame is the size of the longest frame in bytes, its newline not
	// counted. It holds the longest command line and environment that a
	// sandbox takes, in base64, and keeps what a stranger can make the daemon
	// hold small.
	MaxFrame = 1 << 20

	// streams is how many descriptors a frame has, if it has any: stdin,
	// stdout and stderr.
	streams = 3

	// firstBuffer is what a connection's reader begins with, and goes back to:
	// most frames are shorter, and a waiting connection should cost little.
	firstBuffer = 4 << 10
)

// sender is who sent bytes, as the kernel says (SCM_CREDENTIALS, unix(7)).
type sender = unix.Ucred

// splitter makes frames of what is received, without a system call of its own.
// The order is: space, took, and next until there is none.
type splitter struct {
	buf     []byte // what was received; of this
	start   int    // here begins the frame that is next
	scanned int    // up to here there is no newline in it
	end     int    // here ends what was received

	from  sender // of the bytes from start on
	files []int  // descriptors that belong to no frame yet
	early int    // so many of them came before the last bytes did
}

// line is one frame as it came.
type line struct {
	text  []byte // without its newline; good until the next call of space
	from  sender
	early int // descriptors that can only be this frame's
	last  bool
}

// space gives where to receive: at least one byte, and never more than makes
// a frame too long. It says by how much the buffer grew, or shrank.
func (s *splitter) space() (room []byte, grown int) {
	before := len(s.buf)
	if s.start == s.end && before != firstBuffer {
		s.buf, s.start, s.scanned, s.end = make([]byte, firstBuffer), 0, 0, 0
	}
	if s.start > 0 {
		s.end = copy(s.buf, s.buf[s.start:s.end])
		s.scanned -= s.start
		s.start = 0
	}
	if s.end == len(s.buf) {
		s.buf = append(make([]byte, 0, min(2*len(s.buf), MaxFrame+1)), s.buf...)
		s.buf = s.buf[:cap(s.buf)]
	}
	return s.buf[s.end:], len(s.buf) - before
}

// took says what was received into the space: so many bytes, from one sender,
// with these descriptors. After an error the stream is of no more use.
func (s *splitter) took(n int, from sender, files []int) error {
	if s.start < s.end && s.from != from {
		closeAll(files)
		return &Error{Code: CodeRequest, Message: "a frame came from two senders",
			Hint: "each frame must be written by one process"}
	}
	// those of a frame whose end came with the beginning of the next, and its own
	if len(s.files)+len(files) > 2*streams {
		closeAll(files)
		return &Error{Code: CodeRequest, Message: "too many descriptors came", Hint: "a frame has three, or none"}
	}
	s.from = from
	s.early = len(s.files)
	s.files = append(s.files, files...)
	s.end += n
	return nil
}

// next gives the next whole frame. Without one, there may be more to receive.
func (s *splitter) next() (line, bool, error) {
	i := bytes.IndexByte(s.buf[s.scanned:s.end], '\n')
	if i < 0 {
		s.scanned = s.end
		if s.end-s.start > MaxFrame {
			return line{}, false, &Error{Code: CodeRequest, Message: fmt.Sprintf("a frame has more than %d bytes", MaxFrame),
				Hint: "a frame ends with a newline; long input belongs into a descriptor"}
		}
		return line{}, false, nil
	}
	newline := s.scanned + i
	if newline-s.start > MaxFrame {
		return line{}, false, &Error{Code: CodeRequest, Message: fmt.Sprintf("a frame has more than %d bytes", MaxFrame)}
	}
	l := line{text: s.buf[s.start:newline], from: s.from, early: s.early, last: newline+1 == s.end}
	s.start, s.scanned, s.early = newline+1, newline+1, 0
	return l, true, nil
}

// claim gives a frame the descriptors it says it has. The kernel ends a
// receive after bytes that descriptors ride on (unix(7)), so what came before
// the last receive can only belong to the first frame that ends in it, and
// what is left when nothing else was received can belong to nothing.
func (s *splitter) claim(l line, n int) ([]int, error) {
	left := len(s.files) - n
	if n != 0 && n != streams || left < 0 || n < l.early || l.last && left > 0 {
		came := len(s.files)
		s.drop()
		return nil, &Error{Code: CodeRequest, Message: fmt.Sprintf("the frame says %d files, and %d came with it", n, came),
			Hint: `descriptors ride on the bytes of their frame, which says "files": 3`}
	}
	files := s.files[:n:n]
	s.files = s.files[n:]
	return files, nil
}

// drop closes the descriptors that belong to no frame.
func (s *splitter) drop() {
	closeAll(s.files)
	s.files, s.early = nil, 0
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

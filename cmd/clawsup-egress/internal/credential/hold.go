// SPDX-License-Identifier: Apache-2.0

package credential

import "io"

// holding reads a stream through a scan, and gives every byte as soon as it is
// known whether it is part of a needle.
type holding struct {
	from  io.ReadCloser
	scan  *scan
	match func(piece []byte, needle, from, to int) error // may change the piece; an error ends the stream

	base  int64  // offset of held
	held  []byte // may begin a needle
	ready []byte // out of room, when what is asked for is too little for held
	room  []byte
	err   error // when ready and held are gone
}

const (
	leastRead = 512     // bytes to read at a time into what the caller gave
	ownRead   = 4 << 10 // bytes to read at a time otherwise
	emptyMost = 100     // reads that give nothing, one after the other
)

func (h *holding) Close() error { return h.from.Close() }

func (h *holding) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for empty := 0; empty < emptyMost; {
		if len(h.ready) > 0 {
			n := copy(p, h.ready)
			h.ready = h.ready[n:]
			return n, nil
		}
		if h.err != nil {
			return 0, h.err
		}
		if len(p) >= len(h.held)+leastRead {
			if n, read := h.next(p); n > 0 {
				return n, nil
			} else if read == 0 {
				empty++
			}
			continue
		}
		if need := len(h.held) + ownRead; len(h.room) < need {
			h.room = make([]byte, 2*need)
		}
		n, read := h.next(h.room)
		h.ready = h.room[:n]
		if read == 0 {
			empty++
		}
	}
	return 0, io.ErrNoProgress
}

// next reads once into b, behind what is held, and gives how much of b can go
// on, and how much was read.
func (h *holding) next(b []byte) (ready, read int) {
	held := copy(b, h.held)
	read, err := h.from.Read(b[held:])
	piece := b[:held+read]
	var bad error
	h.scan.feed(piece, h.base, held, func(needle, from, to int) {
		if bad == nil {
			bad = h.match(piece, needle, from, to)
		}
	})
	if bad != nil {
		h.err, h.held = bad, nil
		return 0, read
	}
	ready = len(piece)
	if err != nil {
		h.err = err // and what was held is no needle
	} else {
		ready = int(h.scan.hold() - h.base)
	}
	h.held = append(h.held[:0], piece[ready:]...)
	h.base += int64(ready)
	return ready, read
}

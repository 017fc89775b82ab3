// SPDX-License-Identifier: Apache-2.0

package boxed

import (
	"sync"
	"sync/atomic"
)

// Bytes are copied in and out of a buffer, and not moved by splice(2): what that
// saves in copies it loses to pages that are counted and handed on one by one.
// Between two sockets of the loopback it moved a quarter less, for a fifth more
// CPU (cmd/bench, part egress). The larger the buffer, the fewer processes are
// woken for the same bytes.
const (
	largeSize = 1 << 20
	// mostLarge bounds those that are in use: a peer that does not read holds one.
	mostLarge = 32
	// smallSize is that of the others, one for each direction that has bytes at most.
	smallSize = 32 << 10
)

// buffer is what is on its way in one direction.
type buffer struct {
	bytes []byte
	kind  *kind
}

// kind is where buffers of one size come from. What nobody needs is the
// collector's.
type kind struct {
	size  int
	most  int64 // in use; 0: no bound but that of connections
	inUse atomic.Int64
	spare sync.Pool
}

var (
	large = kind{size: largeSize, most: mostLarge}
	small = kind{size: smallSize}
)

// takeBuffer gives a large one, if there is one.
func takeBuffer() *buffer {
	if b := large.take(); b != nil {
		return b
	}
	return small.take()
}

// take gives one, nil if there are too many.
func (k *kind) take() *buffer {
	if k.inUse.Add(1) > k.most && k.most > 0 {
		k.inUse.Add(-1)
		return nil
	}
	if b, ok := k.spare.Get().(*buffer); ok {
		return b
	}
	return &buffer{make([]byte, k.size), k}
}

func (b *buffer) give() {
	b.kind.spare.Put(b)
	b.kind.inUse.Add(-1)
}

// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Value is the value of a secret in memory of its own, outside the Go heap: the
// collector makes no copy of it, it is never swapped out (mlock(2)), in no dump
// (MADV_DONTDUMP), and empty in a child (MADV_WIPEONFORK). One goroutine uses it
// at a time.
type Value struct {
	region []byte
	n      int
}

// newValue makes room for MaxValue bytes and one more.
func newValue() (*Value, error) {
	page := unix.Getpagesize()
	region, err := unix.Mmap(-1, 0, (MaxValue/page+1)*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("memory for a secret: mmap: %w", err)
	}
	if err := unix.Mlock(region); err != nil {
		_ = unix.Munmap(region)
		return nil, fmt.Errorf("memory for a secret can't be locked: mlock: %w; the unit needs LimitMEMLOCK=infinity", err)
	}
	for _, advice := range []int{unix.MADV_DONTDUMP, unix.MADV_WIPEONFORK} {
		if err := unix.Madvise(region, advice); err != nil {
			_ = unix.Munmap(region)
			return nil, fmt.Errorf("memory for a secret: madvise: %w", err)
		}
	}
	return &Value{region: region}, nil
}

// Bytes are the value, until Close. Who copies them answers for the copy.
func (v *Value) Bytes() []byte { return v.region[:v.n] }

// Close wipes the value and gives the memory back. Then it is empty.
func (v *Value) Close() {
	if v.region == nil {
		return
	}
	clear(v.region)
	_ = unix.Munmap(v.region) // it is a mapping of ours: nothing can be wrong with it
	v.region, v.n = nil, 0
}

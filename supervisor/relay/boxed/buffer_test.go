// SPDX-License-Identifier: Apache-2.0

package boxed

import "testing"

// TestBuffersAreBounded: who is beyond the bound of large ones gets a small one,
// and what was given back is to be had again.
func TestBuffersAreBounded(t *testing.T) {
	var held []*buffer
	for range mostLarge {
		held = append(held, takeBuffer())
	}
	for _, b := range held {
		if len(b.bytes) != largeSize {
			t.Fatalf("%d bytes", len(b.bytes))
		}
	}
	more := takeBuffer()
	if len(more.bytes) != smallSize {
		t.Errorf("beyond the bound: %d bytes", len(more.bytes))
	}
	more.give()
	for _, b := range held {
		b.give()
	}
	again := takeBuffer()
	defer again.give()
	if len(again.bytes) != largeSize {
		t.Errorf("with all given back: %d bytes", len(again.bytes))
	}
}

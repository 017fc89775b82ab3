// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"sync"
	"testing"
)

// TestBoxesAreMadeSideBySide: a process that is started for one box must not
// get in the way of another that is being built.
func TestBoxesAreMadeSideBySide(t *testing.T) {
	h := testHost(t)
	rounds := 8
	if testing.Short() {
		rounds = 1
	}
	for range rounds {
		var all sync.WaitGroup
		for range 24 {
			all.Go(func() {
				box, err := h.Prepare(t.Context(), testSpec(t, h))
				if err != nil {
					t.Error(err)
					return
				}
				if err := box.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
}

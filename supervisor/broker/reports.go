// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"slices"
	"sync"

	"github.com/clawsup/clawsup/runtime/layer"
)

// maxReports bounds how many kinds of reports are known. There are as many as
// profiles that differ in their layers.
const maxReports = 64

// reports are those of all calls, each kind once: thousands of results are kept.
type reports struct {
	mu    sync.Mutex
	known [][]layer.Report // mu
}

// same gives the one that equals r.
func (all *reports) same(r []layer.Report) []layer.Report {
	all.mu.Lock()
	defer all.mu.Unlock()
	for _, k := range all.known {
		if slices.Equal(k, r) {
			return k
		}
	}
	if len(all.known) == maxReports {
		all.known = slices.Delete(all.known, 0, 1)
	}
	all.known = append(all.known, r)
	return r
}

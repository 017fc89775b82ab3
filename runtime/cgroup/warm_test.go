// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"os"
	"testing"
)

// TestWarmMovesNobody: this process is afterwards where it was.
func TestWarmMovesNobody(t *testing.T) {
	h, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	h.Warm()
	after, err := os.ReadFile("/proc/self/cgroup")
	if err != nil || string(after) != string(before) {
		t.Errorf("moved from\n%s to\n%s%v", before, after, err)
	}
}

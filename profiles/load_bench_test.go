// SPDX-License-Identifier: Apache-2.0

package profiles

import "testing"

// BenchmarkLoad loads the built-in profile with the longest chain.
func BenchmarkLoad(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Load("strict", nil); err != nil {
			b.Fatal(err)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package secrets

import "testing"

// BenchmarkValue is what a request with a secret waits for.
func BenchmarkValue(b *testing.B) {
	s := openStore(b, state(b))
	set(b, s, model("a"), value)
	b.ReportAllocs()
	for b.Loop() {
		v, err := s.Value("a")
		if err != nil {
			b.Fatal(err)
		}
		v.Close()
	}
}

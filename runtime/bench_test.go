// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"testing"
)

// BenchmarkCold is a whole sandbox: prepared, given /bin/true, closed.
func BenchmarkCold(b *testing.B) {
	h := testHost(b)
	spec := testSpec(b, h)
	for b.Loop() {
		if o := runCall(b, h, spec, testCall("/bin/true"), ""); o.Status != Exited || o.ExitCode != 0 {
			b.Fatalf("%+v", o.Result)
		}
	}
}

// BenchmarkPrepare is what a pool would do ahead of demand.
func BenchmarkPrepare(b *testing.B) {
	h := testHost(b)
	spec := testSpec(b, h)
	for b.Loop() {
		box, err := h.Prepare(context.Background(), spec)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := box.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkGive is a call in a box that waits: what a pool leaves on the path.
func BenchmarkGive(b *testing.B) {
	h := testHost(b)
	spec := testSpec(b, h)
	for b.Loop() {
		b.StopTimer()
		box, err := h.Prepare(context.Background(), spec)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if o := giveCall(b, box, testCall("/bin/true"), ""); o.Status != Exited || o.ExitCode != 0 {
			b.Fatalf("%+v", o.Result)
		}
		b.StopTimer()
		if err := box.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

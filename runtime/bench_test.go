// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"sync"
	"testing"
)

// mustTrue fails unless the call of true went well.
func mustTrue(b *testing.B, o output) {
	if o.Status != Exited || o.ExitCode != 0 {
		b.Fatalf("%+v", o.Result)
	}
}

// BenchmarkCold is a whole sandbox from nothing: template, box, /bin/true, close.
func BenchmarkCold(b *testing.B) {
	h := testHost(b)
	spec := testSpec(b, h)
	b.ReportAllocs()
	for b.Loop() {
		mustTrue(b, runCall(b, h, spec, testCall("/bin/true"), ""))
	}
}

// benchTemplate is one that ends with the benchmark.
func benchTemplate(b *testing.B) (*Host, *Template, Spec) {
	h := testHost(b)
	spec := testSpec(b, h)
	t, err := h.Template(context.Background(), spec)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = t.Close() })
	return h, t, spec
}

func mustPrepare(b *testing.B, t *Template, spec Spec) *Sandbox {
	box, err := t.Prepare(context.Background(), spec)
	if err != nil {
		b.Fatal(err)
	}
	return box
}

func mustClose(b *testing.B, box *Sandbox) {
	if err := box.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkTemplate is what the first call of a profile waits for.
func BenchmarkTemplate(b *testing.B) {
	h := testHost(b)
	spec := testSpec(b, h)
	b.ReportAllocs()
	for b.Loop() {
		t, err := h.Template(context.Background(), spec)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		_ = t.Close()
		b.StartTimer()
	}
}

// BenchmarkPrepare is what a pool does ahead of demand.
func BenchmarkPrepare(b *testing.B) {
	_, t, spec := benchTemplate(b)
	b.ReportAllocs()
	for b.Loop() {
		box := mustPrepare(b, t, spec)
		b.StopTimer()
		mustClose(b, box)
		b.StartTimer()
	}
}

// BenchmarkGive is a call in a box that waits: what a pool leaves on the path.
func BenchmarkGive(b *testing.B) {
	_, t, spec := benchTemplate(b)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		box := mustPrepare(b, t, spec)
		b.StartTimer()
		mustTrue(b, giveCall(b, box, testCall("/bin/true"), ""))
		b.StopTimer()
		mustClose(b, box)
		b.StartTimer()
	}
}

// BenchmarkWhole is everything that a call costs once its template is there.
func BenchmarkWhole(b *testing.B) {
	_, t, spec := benchTemplate(b)
	b.ReportAllocs()
	for b.Loop() {
		box := mustPrepare(b, t, spec)
		mustTrue(b, giveCall(b, box, testCall("/bin/true"), ""))
		mustClose(b, box)
	}
}

// BenchmarkWholeFour is the same from four sides.
func BenchmarkWholeFour(b *testing.B) {
	_, t, spec := benchTemplate(b)
	b.ReportAllocs()
	work := make(chan struct{})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range work {
				box := mustPrepare(b, t, spec)
				mustTrue(b, giveCall(b, box, testCall("/bin/true"), ""))
				mustClose(b, box)
			}
		})
	}
	for b.Loop() {
		work <- struct{}{}
	}
	close(work)
	all.Wait()
}

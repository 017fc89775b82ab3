// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"testing"
)

// BenchmarkNothing is what a call that changes nothing pays, without its box.
func BenchmarkNothing(b *testing.B) {
	w := newWorld(b, "a")
	start := w.start()
	for b.Loop() {
		start.ID = mint()
		work, err := w.store.Begin(b.Context(), start)
		must(b, err)
		must(b, errFrom(work.End(b.Context())))
	}
}

// BenchmarkMount is the same with the overlay.
func BenchmarkMount(b *testing.B) {
	w := newWorld(b, "a")
	for b.Loop() {
		w.call(nil, func(string) error { return nil })
	}
}

// BenchmarkCommit is one file from the beginning of the call to the end of the
// commit, the disk's part included.
func BenchmarkCommit(b *testing.B) {
	w := newWorld(b, "a")
	for b.Loop() {
		c := w.call(nil, put("a", mint()))
		w.judge(c, Question{})
		w.commit(c.ID, Choice{})
	}
}

// BenchmarkJudge is of entries one by one.
func BenchmarkJudge(b *testing.B) {
	var names []string
	for range 1000 {
		names = append(names, "packages/application/src/"+mint()+".ts")
	}
	set := created(names...)
	t := &trial{question: Question{Rules: rules()}, guard: guardOf(b, set, b.TempDir())}
	b.ReportMetric(float64(len(names)), "entries/op")
	for b.Loop() {
		t.all(b.Context(), set)
	}
}

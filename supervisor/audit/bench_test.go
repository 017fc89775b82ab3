// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

func typical() Receipt {
	zero := 0
	digest := "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	return Receipt{Kind: Outcome, Call: "01JD0000000000000000000000", Plan: digest, Profile: digest, Requester: "agent main uid 990",
		Effect: "exec", Decision: "allow", Rule: "profile default", Status: "exited", Exit: &zero, Usage: &Usage{1e9, 1e8, 1e7, 1 << 24, 3, 4096, 100}}
}

// BenchmarkAppend is the throughput with so many goroutines, each waiting for its entry.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 8, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := open(b, options(b))
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			var group sync.WaitGroup
			for range n {
				group.Go(func() {
					for left.Add(-1) >= 0 {
						if _, err := l.Append(context.Background(), typical()); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			group.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	o := options(b)
	l := open(b, o)
	const entries = 5000
	var last *Pending
	for range entries {
		p, err := l.Begin(context.Background(), typical())
		if err != nil {
			b.Fatal(err)
		}
		last = p
	}
	if _, err := last.Wait(context.Background()); err != nil {
		b.Fatal(err)
	}
	closeLog(b, l)
	for b.Loop() {
		intact(b, o)
	}
	b.ReportMetric(float64(b.N)*entries/b.Elapsed().Seconds(), "entries/s")
}

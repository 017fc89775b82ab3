// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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
			b.ReportAllocs()
			before := cpuTime(b)
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
			b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N)/1000, "cpu-us/op")
		})
	}
}

// cpuTime is what the process has used of the processors so far.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCall is the two entries of one call: nobody waits for the first.
func BenchmarkCall(b *testing.B) {
	l := open(b, options(b))
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		if _, err := l.Begin(context.Background(), typical()); err != nil {
			b.Fatal(err)
		}
		if _, err := l.Append(context.Background(), typical()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N)/1000, "cpu-us/op")
}

// BenchmarkLine is one entry without the disk: spelled, hashed and signed.
func BenchmarkLine(b *testing.B) {
	key := testKey(1)
	r := typical()
	b.ReportAllocs()
	for b.Loop() {
		body, err := r.body()
		if err != nil {
			b.Fatal(err)
		}
		signed := unsigned(public(key), [32]byte{}, 1, time.Time{}, 0, body)
		sha256.Sum256(signed)
		seal(signed, key)
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

// BenchmarkOpen is a start on a log of so many entries in segments of 1 MiB,
// of which the last few matter.
func BenchmarkOpen(b *testing.B) {
	for _, entries := range []int{1000, 10_000, 40_000} {
		b.Run(fmt.Sprint(entries), func(b *testing.B) {
			o := options(b)
			o.Segment = 1 << 20
			l := open(b, o)
			var last *Pending
			for range entries {
				p, err := l.Begin(context.Background(), typical())
				if err != nil {
					b.Fatal(err)
				}
				last = p
			}
			seq, err := last.Wait(context.Background())
			if err != nil {
				b.Fatal(err)
			}
			closeLog(b, l)
			o.Since = seq - 100
			for b.Loop() {
				again, err := Open(o)
				if err != nil {
					b.Fatal(err)
				}
				closeLog(b, again)
			}
		})
	}
}

// SPDX-License-Identifier: Apache-2.0

package changeset

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// fill makes many files of a few bytes in a directory, a thousand in each one.
func fill(b *testing.B, dir string, files int) {
	b.Helper()
	for i := range files {
		d := filepath.Join(dir, strconv.Itoa(i/1000))
		if i%1000 == 0 {
			must(b, os.MkdirAll(d, 0o755))
		}
		must(b, os.WriteFile(filepath.Join(d, "file"+strconv.Itoa(i)), []byte(strconv.Itoa(i)), 0o644))
	}
}

// heap is how much of the heap is in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A workspace of 200,000 files, three of which the call changed.
func BenchmarkWalkThreeOf200000(b *testing.B) {
	s := prepare(b, "")
	fill(b, s.lower, 200_000)
	s.begin = tick(b, s.lower)
	s.call("echo x >>0/file1; rm 100/file100001; echo n >199/new")
	b.ResetTimer()
	for b.Loop() {
		set, err := s.try(nil)
		must(b, err)
		if len(set.Entries) != 3 {
			b.Fatal(shorts(set))
		}
	}
}

// benchmarkSet walks a layer, writes the set and reads it again.
func benchmarkSet(b *testing.B, s *stage, entries int) {
	b.Helper()
	before := heap()
	var set *Set
	b.Run("walk", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var err error
			set = nil
			set, err = s.try(nil)
			must(b, err)
		}
		if len(set.Entries) != entries {
			b.Fatal(len(set.Entries))
		}
		b.ReportMetric(float64(heap()-before)/float64(entries), "heap-B/entry")
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*entries), "ns/entry")
	})
	var text bytes.Buffer
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			text.Reset()
			must(b, set.Encode(&text))
		}
		b.ReportMetric(float64(text.Len())/float64(entries), "B/entry")
	})
	b.Run("decode", func(b *testing.B) {
		for b.Loop() {
			_, err := Decode(bytes.NewReader(text.Bytes()))
			must(b, err)
		}
	})
	b.Run("lines", func(b *testing.B) {
		for b.Loop() {
			set.Lines()
		}
	})
}

func BenchmarkCreated(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 900_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := prepare(b, "")
			fill(b, s.upper, n) // as the call would have
			for i := range n / 1000 {
				must(b, unix.Setxattr(filepath.Join(s.upper, strconv.Itoa(i)), markOpaque, []byte("y"), 0))
			}
			benchmarkSet(b, s, n+n/1000)
		})
	}
}

func BenchmarkDeleted(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := prepare(b, "")
			fill(b, s.lower, n)
			s.begin = tick(b, s.lower)
			s.call("rm -r *")
			benchmarkSet(b, s, n+n/1000)
		})
	}
}

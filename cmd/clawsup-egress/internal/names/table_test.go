// SPDX-License-Identifier: Apache-2.0

package names

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
)

func TestTableBindsForGood(t *testing.T) {
	for _, first := range []uint32{0, 1, slots - 1, slots - MaxNames/2} { // also across the end of the range
		table := NewTable()
		table.first = first
		seen := map[netip.Addr]string{}
		for i := range MaxNames {
			name := fmt.Sprintf("h%d.example", i)
			a, err := table.Address(name)
			if err != nil {
				t.Fatal(err)
			}
			if other, ok := seen[a]; ok {
				t.Fatalf("%s is of %s and of %s", a, other, name)
			}
			seen[a] = name
			if !Range.Contains(a) || a == Resolver || a == Range.Addr() {
				t.Fatalf("%s has %s", name, a)
			}
		}
		if a, err := table.Address("one.more.example"); !errors.Is(err, ErrFull) {
			t.Errorf("one more name has %s, %v", a, err)
		}
		for a, name := range seen {
			if again, err := table.Address(name); err != nil || again != a {
				t.Fatalf("%s had %s, now %s, %v", name, a, again, err)
			}
			if got, ok := table.Name(a); !ok || got != name {
				t.Fatalf("%s is of %q, want %q", a, got, name)
			}
		}
	}
}

func TestTableIsBoundedInBytes(t *testing.T) {
	table := NewTable()
	long := strings.Repeat("a", 60) + "." + strings.Repeat("b", 60) + "." + strings.Repeat("c", 60) + "." + strings.Repeat("d", 60)
	n := 0
	for ; n <= MaxNames; n++ {
		if _, err := table.Address(fmt.Sprintf("%s.h%d", long, n)); err != nil {
			if !errors.Is(err, ErrFull) {
				t.Error(err)
			}
			break
		}
	}
	if n*len(long) > MaxNameBytes || n < MaxNameBytes/253 {
		t.Errorf("%d long names", n)
	}
}

func TestTableKnowsNoOtherAddress(t *testing.T) {
	table := NewTable()
	if _, err := table.Address("a.example"); err != nil {
		t.Fatal(err)
	}
	found := 0
	for a := Range.Addr(); Range.Contains(a); a = a.Next() {
		if _, ok := table.Name(a); ok {
			found++
		}
	}
	if found != 1 {
		t.Errorf("%d addresses have a name, of which there is one", found)
	}
	for _, s := range []string{"198.17.255.255", "198.20.0.0", "0.0.0.0", "::ffff:198.18.0.5", "::1", "8.8.8.8"} {
		if name, ok := table.Name(netip.MustParseAddr(s)); ok {
			t.Errorf("%s is of %s", s, name)
		}
	}
	if _, ok := table.Name(netip.Addr{}); ok {
		t.Error("no address has a name")
	}
}

func TestTablesStartAnywhere(t *testing.T) {
	starts := map[uint32]bool{}
	for range 8 {
		starts[NewTable().first] = true
	}
	if len(starts) == 1 { // by chance once in 2^119
		t.Error("they all start with the same address")
	}
}

func TestTableFromManySides(t *testing.T) {
	table := NewTable()
	var wg sync.WaitGroup
	got := make([][100]netip.Addr, 8)
	for w := range got {
		wg.Go(func() {
			for i := range got[w] {
				a, err := table.Address(fmt.Sprintf("h%d.example", i))
				if name, ok := table.Name(a); err != nil || !ok || name != fmt.Sprintf("h%d.example", i) {
					t.Errorf("%s, %s, %v", a, name, err)
				}
				got[w][i] = a
			}
		})
	}
	wg.Wait()
	for w := range got {
		if got[w] != got[0] {
			t.Error("two saw different addresses for a name")
		}
	}
}

func BenchmarkFullTable(b *testing.B) {
	name := func(i int) string { return fmt.Sprintf("%056d.example", i) } // 64 bytes
	var before, after runtime.MemStats
	var table *Table
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		table = NewTable()
		for i := range MaxNames {
			if _, err := table.Address(name(i)); err != nil {
				b.Fatal(err)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc), "bytes/table")
	runtime.KeepAlive(table)
}

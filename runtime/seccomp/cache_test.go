// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/clawsup/clawsup/runtime/kept"
)

func TestCachedIsCompiled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "filters")
	groups := []string{string(Loopback)}
	want, err := Compile(groups)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string) {
		t.Helper()
		got, err := Cached(dir, groups)
		if err != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Errorf("%s: %d instructions, %v", what, got.Len(), err)
		}
	}
	check("nothing there")
	check("there")
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	file := filepath.Join(dir, files[0].Name())
	if err := kept.Write(file, []byte("no filter")); err != nil {
		t.Fatal(err)
	}
	check("something else there")
	if err := os.Truncate(file, 100); err != nil {
		t.Fatal(err)
	}
	check("damaged")
	if got, ok := kept.Read(file, 1<<20); !ok || !bytes.Equal(got, want.Bytes()) {
		t.Error("it was not made anew")
	}
}

// TestSourceTellsFiltersApart: no two sets of groups share a file.
func TestSourceTellsFiltersApart(t *testing.T) {
	seen := map[string]string{}
	for _, g := range Groups() {
		set, err := groupSet([]string{string(g.Name)})
		if err != nil {
			t.Fatal(err)
		}
		name := source(effective(set))
		if other, ok := seen[name]; ok {
			t.Errorf("%s and %s are kept in one file", g.Name, other)
		}
		seen[name] = string(g.Name)
	}
}

func BenchmarkCached(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		if _, err := Cached(dir, []string{string(Loopback)}); err != nil {
			b.Fatal(err)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
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
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	file := filepath.Join(dir, files[0].Name())
	if f, ok := readFilter(file); !ok || !bytes.Equal(f.bpf, want.bpf) {
		t.Error("what was kept is not what was compiled")
	}
	check("there")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// Each of these is refused and made anew.
	for what, spoil := range map[string]func() error{
		"a bit flipped": func() error {
			b := bytes.Clone(whole)
			b[len(b)/2] ^= 1
			return os.WriteFile(file, b, 0o600)
		},
		"cut off":        func() error { return os.Truncate(file, int64(len(whole))/2) },
		"empty":          func() error { return os.Truncate(file, 0) },
		"too long":       func() error { return os.Truncate(file, 1<<20) },
		"others write":   func() error { return os.Chmod(file, 0o666) },
		"somebody's":     func() error { return os.Chown(file, 65534, 65534) },
		"a link":         func() error { return replace(file, func() error { return os.Symlink("/etc/passwd", file) }) },
		"a directory":    func() error { return replace(file, func() error { return os.Mkdir(file, 0o755) }) },
		"not there":      func() error { return os.Remove(file) },
		"nothing at all": func() error { return os.RemoveAll(dir) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if _, ok := readFilter(file); ok {
			t.Errorf("%s: taken", what)
		}
		check(what)
		_ = os.RemoveAll(dir)
		check("again")
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

func replace(file string, with func() error) error {
	if err := os.Remove(file); err != nil {
		return err
	}
	return with()
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

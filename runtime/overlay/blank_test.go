// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// An empty image is made once for each size, and again when it is no good.
func TestBlanks(t *testing.T) {
	m, dir := testMaker(t), t.TempDir()
	blanks := func() (inodes []uint64) {
		t.Helper()
		entries, err := os.ReadDir(m.Blanks)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			var st unix.Stat_t
			if err := unix.Stat(filepath.Join(m.Blanks, e.Name()), &st); err != nil {
				t.Fatal(err)
			}
			if st.Mode != unix.S_IFREG|0o600 {
				t.Errorf("%s has mode %o", e.Name(), st.Mode)
			}
			inodes = append(inodes, st.Ino)
		}
		return inodes
	}
	n := 0
	make := func(size Size) {
		t.Helper()
		n++
		l, err := m.Make(filepath.Join(dir, fmt.Sprint(n)), size, owner)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Discard(); err != nil {
			t.Fatal(err)
		}
	}
	make(small)
	first := blanks()
	make(small)
	if got := blanks(); len(got) != 1 || got[0] != first[0] {
		t.Errorf("the second layer of a size makes %v of %v", got, first)
	}
	for what, spoil := range map[string]func(f *os.File) error{
		"cut short":   func(f *os.File) error { return f.Truncate(100) },
		"overwritten": func(f *os.File) error { _, err := f.WriteAt([]byte("x"), 0); return err },
		"unclean":     func(f *os.File) error { _, err := f.WriteAt([]byte{2}, 1024+0x3a); return err },
		"opened":      func(f *os.File) error { return writeMark(f, small, "boot") },
		"of another":  func(f *os.File) error { return writeMark(f, Size{1, 1}, "") },
	} {
		name := filepath.Join(m.Blanks, fmt.Sprintf("empty-%d-%d", small.Bytes, small.Files))
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(spoil(f), f.Close()); err != nil {
			t.Fatal(err)
		}
		make(small)
		if f, err = openBlank(name, small); err != nil {
			t.Errorf("after one that was %s: %v", what, err)
		} else if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	// What a killed process left is removed, and there are never many.
	if err := os.WriteFile(filepath.Join(m.Blanks, "new-123.img"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range int64(blanksKept + 3) {
		make(Size{Bytes: 1 << 20, Files: 10 + i})
	}
	if got := len(blanks()); got != blanksKept {
		t.Errorf("%d empty images are kept, not %d", got, blanksKept)
	}
	if _, err := os.Stat(filepath.Join(m.Blanks, "new-123.img")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a leftover: %v", err)
	}
}

// A copy of what a sparse file holds is the same file.
func TestCopyExtents(t *testing.T) {
	dir := t.TempDir()
	from, err := os.Create(filepath.Join(dir, "from"))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.Create(filepath.Join(dir, "to"))
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	const size = 16 << 20
	if err := errors.Join(from.Truncate(size), to.Truncate(size)); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, 5000, 1 << 20, 10<<20 - 1, size - 3} {
		piece := make([]byte, min(300_000, size-at))
		for i := range piece {
			piece[i] = byte(i%251 + 1)
		}
		if _, err := from.WriteAt(piece, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := copyExtents(to, from); err != nil {
		t.Fatal(err)
	}
	var all [2][]byte
	for i, f := range []*os.File{from, to} {
		if all[i], err = io.ReadAll(io.NewSectionReader(f, 0, size+1)); err != nil {
			t.Fatal(err)
		}
	}
	if string(all[0]) != string(all[1]) {
		t.Error("the copy is another")
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(to.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	if st.Blocks*512 > 4<<20 {
		t.Errorf("the copy takes %d bytes", st.Blocks*512)
	}
}

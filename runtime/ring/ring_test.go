// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func open(t testing.TB) [2]*os.File {
	t.Helper()
	var files [2]*os.File
	dir := t.TempDir()
	for i, name := range []string{"0", "1"} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		files[i] = f
	}
	return files
}

func content(t testing.TB, files [2]*os.File, max int64) []byte {
	t.Helper()
	at, err := Newer(files, max)
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, f := range []*os.File{files[1-at], files[at]} {
		b, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(b)) > max {
			t.Fatalf("%d bytes in a file of %d", len(b), max)
		}
		all = append(all, b...)
	}
	return all
}

// TestEveryPieceSize: whatever the pieces and however often the writer is
// replaced, the end of what was written is there.
func TestEveryPieceSize(t *testing.T) {
	const most = 10
	for size := 1; size <= 3*most; size++ {
		for _, renew := range []bool{false, true} {
			files := open(t)
			var written []byte
			w, err := NewWriter(files, most)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 40 {
				piece := bytes.Repeat([]byte{byte('A' + i)}, size)
				written = append(written, piece...)
				if n, err := w.Write(piece); n != size || err != nil {
					t.Fatal(n, err)
				}
				if renew {
					if w, err = NewWriter(files, most); err != nil {
						t.Fatal(err)
					}
				}
				got := content(t, files, most)
				if !bytes.HasSuffix(written, got) || len(got) < min(len(written), most) {
					t.Fatalf("pieces of %d, renewed %v: %q is not the end of %q", size, renew, got, written)
				}
			}
		}
	}
}

// TestNewer where no writer has left it as it should be.
func TestNewer(t *testing.T) {
	for _, test := range []struct {
		sizes [2]int64
		later int
		want  int
	}{
		{[2]int64{0, 0}, 1, 0}, {[2]int64{3, 0}, 1, 0}, {[2]int64{0, 3}, 0, 1},
		{[2]int64{10, 0}, 0, 1}, {[2]int64{10, 5}, 0, 1}, {[2]int64{5, 10}, 1, 0},
		{[2]int64{5, 6}, 0, 0}, {[2]int64{5, 6}, 1, 1}, {[2]int64{10, 10}, 1, 1}, {[2]int64{20, 10}, 0, 0},
	} {
		files := open(t)
		for i, f := range files {
			if err := f.Truncate(test.sizes[i]); err != nil {
				t.Fatal(err)
			}
			when := time.Unix(1000, 0)
			if i == test.later {
				when = time.Unix(2000, 0)
			}
			if err := os.Chtimes(f.Name(), when, when); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := Newer(files, 10); got != test.want || err != nil {
			t.Errorf("%v, later %d: %d %v", test.sizes, test.later, got, err)
		}
	}
}

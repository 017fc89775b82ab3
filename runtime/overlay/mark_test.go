// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzMark: whatever an image begins with, it is refused or is a layer's.
func FuzzMark(f *testing.F) {
	image, err := os.Create(filepath.Join(f.TempDir(), "image"))
	if err != nil {
		f.Fatal(err)
	}
	defer image.Close()
	begin := make([]byte, markSize)
	copy(begin[1024+0x38:], "\x53\xef\x01\x00")
	if _, err := image.WriteAt(begin, 0); err != nil {
		f.Fatal(err)
	}
	for _, boot := range []string{"", "01234567-89ab-cdef-0123-456789abcdef"} {
		if err := writeMark(image, small, boot); err != nil {
			f.Fatal(err)
		}
		m, clean, err := readMark(image)
		if err != nil || !clean || m.Size != small || m.boot() != boot {
			f.Fatalf("%+v, %v, %v", m, clean, err)
		}
		if _, err := image.ReadAt(begin, 0); err != nil {
			f.Fatal(err)
		}
		f.Add(append([]byte{}, begin...))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, _, err := parseMark(b)
		if err != nil {
			return
		}
		if err := m.Size.check(); err != nil {
			t.Error(err)
		}
		if len(m.boot()) > len(m.Boot) || string(b[:len(magic)]) != string(magic[:]) {
			t.Errorf("%+v", m)
		}
	})
}

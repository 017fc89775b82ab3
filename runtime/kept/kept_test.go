// SPDX-License-Identifier: Apache-2.0

package kept

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReadTakesOnlyWhatWasWritten(t *testing.T) {
	want := bytes.Repeat([]byte("content "), 100)
	for what, spoil := range map[string]func(file string, whole []byte) error{
		"a bit flipped": func(file string, whole []byte) error {
			whole[len(whole)/2] ^= 1
			return os.WriteFile(file, whole, 0o600)
		},
		"cut off":      func(file string, whole []byte) error { return os.Truncate(file, int64(len(whole))/2) },
		"empty":        func(file string, _ []byte) error { return os.Truncate(file, 0) },
		"grown":        func(file string, _ []byte) error { return os.Truncate(file, 1<<20) },
		"others write": func(file string, _ []byte) error { return os.Chmod(file, 0o666) },
		"somebody's":   func(file string, _ []byte) error { return os.Chown(file, 65534, 65534) },
		"a link": func(file string, _ []byte) error {
			return errors.Join(os.Rename(file, file+"2"), os.Symlink(file+"2", file))
		},
		"a directory": func(file string, _ []byte) error { return errors.Join(os.Remove(file), os.Mkdir(file, 0o755)) },
		"a FIFO":      func(file string, _ []byte) error { return errors.Join(os.Remove(file), unix.Mkfifo(file, 0o600)) },
		"not there":   func(file string, _ []byte) error { return os.Remove(file) },
	} {
		t.Run(what, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "dir", "file")
			if err := Write(file, want); err != nil {
				t.Fatal(err)
			}
			if got, ok := Read(file, len(want)); !ok || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes, %v", len(got), ok)
			}
			if _, ok := Read(file, len(want)-1); ok {
				t.Error("more than the limit was taken")
			}
			whole, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := spoil(file, whole); err != nil {
				t.Fatal(err)
			}
			if got, ok := Read(file, 2<<20); ok {
				t.Errorf("taken: %d bytes", len(got))
			}
		})
	}
}

func TestWritersSideBySide(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			if err := Write(file, bytes.Repeat([]byte{byte(i)}, 1000)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got, ok := Read(file, 1000); !ok || len(got) != 1000 || bytes.Count(got, got[:1]) != 1000 {
		t.Errorf("%d bytes, %v", len(got), ok)
	}
	if entries, err := os.ReadDir(filepath.Dir(file)); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}

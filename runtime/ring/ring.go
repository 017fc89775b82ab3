// SPDX-License-Identifier: Apache-2.0

// Package ring is a log in two files that never hold more than so many bytes
// each: when one is full the other is emptied, and writing goes on there. So
// at least the last Max bytes are kept, at most twice as many, and nobody has
// to rotate anything.
//
// A file that is not full is the newer one; Newer tells which. The other is
// either full, and older, or empty.
//
// There is one writer at a time and any number of readers, who know by a
// file's size shrinking that it was emptied.
package ring

import "os"

// Writer writes. The files are regular ones, opened for writing and not for
// appending.
type Writer struct {
	files [2]*os.File
	max   int64
	at    int   // the newer file
	size  int64 // of it
}

// NewWriter goes on where the last writer stopped. max is the bytes in one
// file, at least 1.
func NewWriter(files [2]*os.File, max int64) (*Writer, error) {
	at, size, err := newer(files, max)
	if err != nil {
		return nil, err
	}
	w := &Writer{files, max, at, size}
	if size >= max {
		w.turn()
	}
	return w, nil
}

// Newer tells which file the last bytes are in.
func Newer(files [2]*os.File, max int64) (int, error) {
	at, _, err := newer(files, max)
	return at, err
}

// newer goes by what a Writer leaves: one file less than full, the other full
// or, at first, the second and empty. Where it isn't so, because the bound was
// changed or a writer was killed while it turned, the times tell.
func newer(files [2]*os.File, max int64) (at int, size int64, err error) {
	var info [2]os.FileInfo
	for i, f := range files {
		if info[i], err = f.Stat(); err != nil {
			return 0, 0, err
		}
	}
	full := func(i int) bool { return info[i].Size() >= max }
	switch {
	case full(0) != full(1):
		if full(0) {
			at = 1
		}
	case info[0].Size() == 0 || info[1].Size() == 0:
		if info[0].Size() == 0 && info[1].Size() > 0 {
			at = 1
		}
	case info[1].ModTime().After(info[0].ModTime()):
		at = 1
	}
	return at, info[at].Size(), nil
}

// Write takes b. What the file system refuses, because the disk is full, is
// dropped, and so is nothing else: it never fails.
func (w *Writer) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		part := rest[:min(int64(len(rest)), w.max-w.size)]
		n, err := w.files[w.at].WriteAt(part, w.size)
		w.size += int64(max(n, 0))
		if w.size >= w.max {
			w.turn()
		}
		rest = rest[max(n, 0):]
		if err != nil {
			break
		}
	}
	return len(b), nil
}

// turn goes on in the other file.
func (w *Writer) turn() {
	w.at, w.size = 1-w.at, 0
	_ = w.files[w.at].Truncate(0) // needs no room; what can't be emptied is written over
}

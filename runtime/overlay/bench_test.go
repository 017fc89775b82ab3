// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// typical is a layer as profiles ask for it.
var typical = Size{Bytes: 1 << 30, Files: 100_000}

// bench runs one layer's life again and again.
func bench(b *testing.B, life func(l *Layer, lower int)) {
	m, dir := testMaker(b), b.TempDir()
	lower, err := unix.Open(workspace(b, openDir(b), "echo old > file"), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(lower)
	for i := 0; b.Loop(); i++ {
		l, err := m.Make(filepath.Join(dir, fmt.Sprint(i)), typical, owner)
		if err != nil {
			b.Fatal(err)
		}
		life(l, lower)
		if err := l.Discard(); err != nil {
			b.Fatal(err)
		}
	}
}

func mounted(b *testing.B, l *Layer, lower int, f func(root *os.Root)) {
	tree, err := l.Mount(lower, owner, tool)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(tree)
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", tree))
	if err != nil {
		b.Fatal(err)
	}
	f(root)
	if err := root.Close(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkMake(b *testing.B) { bench(b, func(*Layer, int) {}) }

func BenchmarkMount(b *testing.B) {
	bench(b, func(l *Layer, lower int) { mounted(b, l, lower, func(*os.Root) {}) })
}

// A call that writes three files, whose change set is read.
func BenchmarkThreeFiles(b *testing.B) {
	bench(b, func(l *Layer, lower int) {
		mounted(b, l, lower, func(root *os.Root) {
			for i := range 3 {
				if err := root.WriteFile(fmt.Sprint(i), []byte("new"), 0o644); err != nil {
					b.Fatal(err)
				}
			}
		})
		f, err := l.Upper()
		if err != nil {
			b.Fatal(err)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	})
}

// A layer that is kept: written to the disk, and opened again.
func BenchmarkCloseAndOpen(b *testing.B) {
	bench(b, func(l *Layer, lower int) {
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
		again, err := l.maker.Open(l.image)
		if err != nil {
			b.Fatal(err)
		}
		l.root, l.device = again.root, again.device
	})
}

// What Upper and Discard take after a call that wrote much.
func BenchmarkHundredMegabytes(b *testing.B) {
	content := make([]byte, 1<<20)
	bench(b, func(l *Layer, lower int) {
		b.StopTimer()
		mounted(b, l, lower, func(root *os.Root) {
			f, err := root.Create("big")
			if err != nil {
				b.Fatal(err)
			}
			for range 100 {
				if _, err := f.Write(content); err != nil {
					b.Fatal(err)
				}
			}
			if err := f.Close(); err != nil {
				b.Fatal(err)
			}
		})
		b.StartTimer()
		f, err := l.Upper()
		if err != nil {
			b.Fatal(err)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	})
}

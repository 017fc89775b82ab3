// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// The bounds hold to the last block and inode, whatever they are.
func TestBounds(t *testing.T) {
	m, w := testMaker(t), workspace(t, openDir(t), ":")
	for _, size := range []Size{
		{Bytes: 1, Files: 1},
		{Bytes: 4096, Files: 2},
		{Bytes: 1<<20 + 1, Files: 10},
		{Bytes: 100 << 20, Files: 1000},
		{Bytes: 1 << 20, Files: 50_000}, // more files than blocks
		{Bytes: 1 << 30, Files: 100_000},
		{Bytes: 10<<30 + 4096, Files: 1_234_567},
		{Bytes: 100 << 30, Files: 10_000_000},
	} {
		t.Run(fmt.Sprintf("%d,%d", size.Bytes, size.Files), func(t *testing.T) {
			l := makeLayer(t, m, size)
			tree := mount(t, l, w, owner, tool)
			defer unix.Close(tree)
			if used, err := l.Used(); err != nil || used != (Size{}) {
				t.Errorf("it begins with %v used: %v", used, err)
			}
			fd, err := unix.Openat(tree, "big", unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			// With the maps of the file, if they need blocks.
			whole := size.blocks() * block
			for at, piece := int64(0), whole; piece >= block; {
				if err := unix.Fallocate(fd, 0, at, piece); err == nil {
					at += piece
				} else if errors.Is(err, unix.ENOSPC) {
					piece = piece / 2 &^ (block - 1)
				} else {
					t.Fatal(err)
				}
			}
			var st unix.Stat_t
			if err := unix.Fstat(fd, &st); err != nil {
				t.Fatal(err)
			}
			if st.Blocks*512 != whole || st.Size < whole-whole>>20-block {
				t.Errorf("a file could have %d bytes with its maps, without them %d", st.Blocks*512, st.Size)
			}
			if used, err := l.Used(); err != nil || used != (Size{Bytes: whole, Files: 1}) {
				t.Errorf("%v is used: %v", used, err)
			}
		})
	}
}

// As a tool meets them.
func TestToolMeetsBounds(t *testing.T) {
	m := testMaker(t)
	size := Size{Bytes: 8 << 20, Files: 200}
	w := workspace(t, openDir(t), "head -c 3000000 /dev/zero | tr '\\0' x > old")
	l := makeLayer(t, m, size)
	// Every byte of 8 MiB, less what the directory takes once it has a block.
	out := inside(t, l, w, "head -c 100M /dev/urandom > big 2>&1 || true; stat -c %s big; rm big")
	if got := lastNumber(t, out); got != size.Bytes {
		t.Errorf("%d bytes could be written, not %d: %s", got, size.Bytes, out)
	}
	// Inodes: of all kinds, links and whiteouts apart.
	out = inside(t, l, w, `i=0; while mkdir d$i && touch d$i/f && ln -s x d$i/l; do ln d$i/f d$i/h; i=$((i+1)); done 2>/dev/null
		find . -mindepth 1 ! -name h ! -name old | wc -l; rm -r d* old`)
	if got := lastNumber(t, out); got != size.Files {
		t.Errorf("%d files could be made, not %d", got, size.Files)
	}
	// A file of the workspace counts whole when it is touched.
	l2 := makeLayer(t, m, Size{Bytes: 2 << 20, Files: 10})
	inside(t, l2, w, "! echo more >> old 2>/dev/null; ! chmod 600 old 2>/dev/null; tail -c 2 old | grep -q xx; echo small > new")
	// Holes count nothing; only the largest file that ext4 knows is a bound.
	l3 := makeLayer(t, m, Size{Bytes: 1 << 20, Files: 10})
	inside(t, l3, w, "truncate -s 10T sparse; echo end >> sparse; ! truncate -s 17T sparse 2>/dev/null")
	if used, err := l3.Used(); err != nil || used.Bytes > 64<<10 {
		t.Errorf("a file of holes uses %v: %v", used, err)
	}
	if got, want := upper(t, l3, "stat -c %s sparse; tail -c 4 sparse"), fmt.Sprint(10<<40+4, "\nend\n"); got != want {
		t.Errorf("it is %q, not %q", got, want)
	}
}

func lastNumber(t *testing.T, out string) int64 {
	t.Helper()
	last := ""
	for line := range splitLines(out) {
		last = line
	}
	n, err := strconv.ParseInt(last, 10, 64)
	if err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	return n
}

// A layer takes the disk that its content takes, not its bound.
func TestSparse(t *testing.T) {
	m := testMaker(t)
	l := makeLayer(t, m, Size{Bytes: 100 << 30, Files: 1_000_000})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(l.image, &st); err != nil {
		t.Fatal(err)
	}
	if taken := st.Blocks * 512; taken > 8<<20 {
		t.Errorf("an empty layer of 100 GiB takes %d bytes", taken)
	}
}

func TestSizeIsChecked(t *testing.T) {
	m, dir := testMaker(t), t.TempDir()
	for _, size := range []Size{{}, {1, 0}, {0, 1}, {-1, 1}, {1, -1}, {maxBytes + 1, 1}, {1, maxFiles + 1}, {1<<63 - 1, 1<<63 - 1}} {
		if _, err := m.Make(dir+"/x", size, owner); err == nil {
			t.Errorf("%v makes a layer", size)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("%v is left: %v", entries, err)
	}
}

// The largest that there may be can be.
func TestLargest(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	for _, size := range []Size{{maxBytes, 1000}, {1 << 20, maxFiles}} {
		f, err := format(t.TempDir(), size)
		if err != nil {
			t.Errorf("%v: %v", size, err)
			continue
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The end of a layer's device is out of reach, and empty.
func TestTail(t *testing.T) {
	m, w := testMaker(t), workspace(t, openDir(t), ":")
	l := makeLayer(t, m, Size{Bytes: 1 << 20, Files: 10})
	inside(t, l, w, "! head -c 10M /dev/zero | tr '\\0' x > full 2>/dev/null")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(l.image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	end, err := f.Seek(-tail, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(f)
	if err != nil || !bytes.Equal(got, make([]byte, tail)) {
		t.Errorf("after %d bytes of the image there is something: %v", end, err)
	}
}

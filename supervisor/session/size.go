// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// maxEntries and maxLevels bound what is walked. A tree beyond them counts as
// too large.
const (
	maxEntries = 1 << 20
	maxLevels  = 1024
)

// tooLarge is the size of a tree that nobody counts to its end.
const tooLarge = 1 << 62

// size gives the bytes that a tree takes on its disk. What is in it was
// written by strangers: it goes from descriptor to descriptor, follows no link
// and opens nothing but directories.
func size(dir string) (int64, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	w := &walk{left: maxEntries}
	if err := w.directory(os.NewFile(uintptr(fd), dir), 0); err != nil {
		return 0, err
	}
	return w.bytes, nil
}

type walk struct {
	bytes int64
	left  int
}

// directory counts what d holds, and closes it.
func (w *walk) directory(d *os.File, level int) error {
	defer d.Close()
	if level > maxLevels {
		w.bytes, w.left = tooLarge, 0
	}
	for w.left > 0 {
		names, err := d.Readdirnames(1024)
		for _, name := range names {
			if err := w.entry(d, name, level); err != nil {
				return err
			}
		}
		if err != nil || len(names) == 0 { // io.EOF
			return nil
		}
	}
	return nil
}

func (w *walk) entry(d *os.File, name string, level int) error {
	if w.left--; w.left <= 0 {
		w.bytes = tooLarge
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(d.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("%s: %w", d.Name(), err)
	}
	w.bytes += st.Blocks * 512 // stat(2): in units of 512 bytes
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	fd, err := unix.Openat(int(d.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", d.Name(), err)
	}
	return w.directory(os.NewFile(uintptr(fd), name), level+1)
}

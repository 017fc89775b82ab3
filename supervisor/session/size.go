// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/tree"
)

// maxEntries and maxLevels bound what is walked; a descriptor is held for each
// level. A tree beyond them counts as too large.
const (
	maxEntries = 1 << 20
	maxLevels  = 256
)

// tooLarge is the size of a tree that nobody counts to its end.
const tooLarge = 1 << 62

// minEntry is what an entry counts for at least, in bytes. One without a block
// of its own still takes an inode and a name: on ext4 some hundred bytes of
// tables that every file of the host shares, and that run out before the blocks
// do (mke2fs(8) makes one inode for 16 KiB).
const minEntry = 1 << 10

// errTooLarge ends a walk.
var errTooLarge = errors.New("too large")

// size gives the bytes that trees take on their disk together. What is in them was
// written by strangers, and may change meanwhile: it goes from descriptor to
// descriptor, never up, follows no link and opens nothing but directories.
func size(ctx context.Context, dirs ...string) (int64, error) {
	w := &walk{ctx: ctx}
	for _, dir := range dirs {
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return 0, &os.PathError{Op: "open", Path: dir, Err: err}
		}
		err = w.directory(os.NewFile(uintptr(fd), dir), 1)
		if errors.Is(err, errTooLarge) {
			return tooLarge, nil
		}
		if err != nil {
			return 0, fmt.Errorf("%s: %w", dir, err)
		}
	}
	return w.bytes, nil
}

type walk struct {
	ctx     context.Context
	bytes   int64
	entries int
}

// directory counts what d holds, and closes it.
func (w *walk) directory(d *os.File, level int) error {
	defer d.Close()
	if level > maxLevels {
		return errTooLarge
	}
	for {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		names, err := d.Readdirnames(1024)
		for _, name := range names {
			if err := w.entry(d, name, level); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, unix.ENOENT) { // at its end, or removed meanwhile
			return nil
		}
		if err != nil {
			return fmt.Errorf("list: %w", err)
		}
	}
}

func (w *walk) entry(d *os.File, name string, level int) error {
	if w.entries++; w.entries > maxEntries {
		return errTooLarge
	}
	var st unix.Stat_t
	err := unix.Fstatat(int(d.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil // removed meanwhile
	}
	if err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	w.bytes += max(st.Blocks*512, minEntry) // stat(2): in units of 512 bytes
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	fd, err := unix.Openat2(int(d.Fd()), name, tree.Beneath(unix.O_RDONLY|unix.O_DIRECTORY))
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.EXDEV):
		return nil // removed or replaced meanwhile, or mounted there
	case err != nil:
		return fmt.Errorf("open: %w", err)
	}
	return w.directory(os.NewFile(uintptr(fd), name), level+1)
}

// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// bury removes the directory name of dir with all that it holds. It is root's
// own, mode 0700, and so are the names in it; what lies below is anybody's,
// who may have nested it deeper than there are descriptors. So nothing
// recurses: every directory found is moved up into the grave itself under a
// number, until there is nothing left to move.
func bury(dir int, name string) error {
	fail := func(err error) error { return fmt.Errorf("remove %q: %w", name, err) }
	grave, err := unix.Openat2(dir, name, beneath(unix.O_RDONLY|unix.O_DIRECTORY))
	if err != nil {
		return fail(err)
	}
	defer unix.Close(grave)
	moved := 0
	for empty := false; !empty; {
		empty = true
		err := each(grave, func(entry string) error {
			empty = false
			err := unix.Unlinkat(grave, entry, 0)
			if errors.Is(err, unix.EISDIR) {
				err = dissolve(grave, entry, &moved)
			}
			return err
		})
		if err != nil {
			return fail(err)
		}
	}
	if err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR); err != nil {
		return fail(err)
	}
	return nil
}

// dissolve removes one directory of the grave. Those in it stay, in the grave.
func dissolve(grave int, name string, moved *int) error {
	fd, err := unix.Openat2(grave, name, beneath(unix.O_RDONLY|unix.O_DIRECTORY))
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for {
		err := each(fd, func(entry string) error {
			err := unix.Unlinkat(fd, entry, 0)
			if !errors.Is(err, unix.EISDIR) {
				return err
			}
			for {
				*moved++
				err := unix.Renameat2(fd, entry, grave, strconv.Itoa(*moved), unix.RENAME_NOREPLACE)
				if !errors.Is(err, unix.EEXIST) { // of an attempt before
					return err
				}
			}
		})
		if err != nil {
			return err
		}
		// What is removed while a directory is read may hide a name from that reading.
		if err := unix.Unlinkat(grave, name, unix.AT_REMOVEDIR); !errors.Is(err, unix.ENOTEMPTY) {
			return err
		}
	}
}

// each calls do for every name of a directory.
func each(fd int, do func(name string) error) error {
	again, err := reopen(fd, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	list := os.NewFile(uintptr(again), "directory")
	defer list.Close()
	for {
		names, err := list.Readdirnames(512)
		for _, name := range names {
			if err := do(name); err != nil {
				return fmt.Errorf("%s: %w", strconv.QuoteToASCII(name), err)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list: %w", err)
		}
	}
}

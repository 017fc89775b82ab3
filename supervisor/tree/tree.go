// SPDX-License-Identifier: Apache-2.0

// Package tree reads and removes directory trees that strangers wrote. It goes
// from descriptor to descriptor, one name at a time, and never joins names to
// paths.
//
//	err := tree.Each(dir, func(name string) error { ... })   // the names of a directory
//	err := tree.Remove(ctx, parent, "leaving-1")             // one of them, with all that it holds
//
// # Remove
//
// A process nests directories deeper than any other has descriptors: mkdir(2),
// rename(2), and again, a hundred thousand times in some seconds. So nothing
// recurses. Every directory that is found is moved up into the one that is to
// go, under a number, until there is none left to move: three descriptors,
// however deep and however wide the tree is, and time in proportion to its
// entries.
//
// # Limits
//
// Nobody else may write in the tree meanwhile: a program that makes entries as
// fast as they are removed is only ended by the context. What is mounted in the
// tree is an error, and stays.
package tree

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Beneath is how a name in a stranger's directory is opened with openat2(2):
// it leads to nothing above, through no link, and onto no other file system.
func Beneath(flags int) *unix.OpenHow {
	return &unix.OpenHow{
		Flags:   uint64(flags) | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}
}

// Each calls do for every name of the directory fd, which may be one of
// O_PATH, in no order. Names that come or go meanwhile may be told or not. An
// error of do ends it, with the name.
func Each(fd int, do func(name string) error) error {
	again, err := unix.Openat2(fd, ".", Beneath(unix.O_RDONLY|unix.O_DIRECTORY))
	if err != nil {
		return fmt.Errorf("open: %w", err)
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

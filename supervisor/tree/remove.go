// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// Remove removes the directory name of dir with all that it holds. It is
// root's own, mode 0700, and so are the names in it; what lies below is
// anybody's. It ends early when ctx does: what is left then is a smaller tree
// that another Remove takes up.
func Remove(ctx context.Context, dir int, name string) error {
	fail := func(err error) error { return fmt.Errorf("remove %q: %w", name, err) }
	fd, err := unix.Openat2(dir, name, Beneath(unix.O_RDONLY|unix.O_DIRECTORY))
	if err != nil {
		return fail(err)
	}
	defer unix.Close(fd)
	g := &grave{ctx: ctx, fd: fd}
	for empty := false; !empty; {
		empty = true
		err := Each(fd, func(entry string) error {
			empty = false
			return g.remove(fd, entry, g.dissolve)
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

// grave is the directory that is to go.
type grave struct {
	ctx   context.Context
	fd    int
	moved int // directories that came up so far
}

// remove unlinks one entry of a directory, or does with it what is to be done
// with a directory.
func (g *grave) remove(fd int, entry string, directory func(entry string) error) error {
	if err := g.ctx.Err(); err != nil {
		return err
	}
	err := unix.Unlinkat(fd, entry, 0)
	if errors.Is(err, unix.EISDIR) {
		return directory(entry)
	}
	return err
}

// dissolve removes one directory of the grave. Those in it stay, in the grave.
func (g *grave) dissolve(name string) error {
	fd, err := unix.Openat2(g.fd, name, Beneath(unix.O_RDONLY|unix.O_DIRECTORY))
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for {
		err := Each(fd, func(entry string) error {
			return g.remove(fd, entry, func(entry string) error { return g.raise(fd, entry) })
		})
		if err != nil {
			return err
		}
		// What is removed while a directory is read may hide a name from that reading.
		if err := unix.Unlinkat(g.fd, name, unix.AT_REMOVEDIR); !errors.Is(err, unix.ENOTEMPTY) {
			return err
		}
	}
}

// raise moves a directory up into the grave, under a number that is free there.
func (g *grave) raise(fd int, entry string) error {
	for {
		g.moved++
		err := unix.Renameat2(fd, entry, g.fd, strconv.Itoa(g.moved), unix.RENAME_NOREPLACE)
		if !errors.Is(err, unix.EEXIST) { // of an attempt before
			return err
		}
	}
}

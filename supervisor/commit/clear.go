// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/tree"
)

// clear removes what has a name in a directory, with all that is in it. It is
// tree.Remove for one who has no more than an owner's rights: directories that
// forbid it are given them. Nothing recurses: directories that are found move
// up, under numbers.
func (w *work) clear(dir int, name string) error {
	err := unlink(dir, name, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) {
		return err
	}
	top, err := w.unlock(dir, name)
	if err != nil {
		return err
	}
	defer unix.Close(top)
	raised := 0
	raise := func(from int, entry string) error {
		fd, err := w.unlock(from, entry) // one that moves must be writable itself
		if err != nil {
			return err
		}
		_ = unix.Close(fd)
		for {
			raised++
			if err := move(from, entry, top, strconv.Itoa(raised)); !errors.Is(err, unix.EEXIST) {
				return err
			}
		}
	}
	dissolve := func(from int, entry string) error {
		fd, err := w.unlock(from, entry)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return w.empty(fd, from, entry, raise)
	}
	return w.empty(top, dir, name, dissolve)
}

// empty removes all in a directory, doing what is to be done with those in it,
// and then the directory.
func (w *work) empty(fd, in int, name string, directory func(from int, entry string) error) error {
	for {
		err := tree.Each(fd, func(entry string) error {
			err := unlink(fd, entry, 0)
			if errors.Is(err, unix.EISDIR) {
				return directory(fd, entry)
			}
			return err
		})
		if err != nil {
			return err
		}
		// What is removed while a directory is read may hide a name from that reading.
		if err := unlink(in, name, unix.AT_REMOVEDIR); !errors.Is(err, unix.ENOTEMPTY) {
			return err
		}
	}
}

// unlock opens a directory, with all rights for its owner.
func (w *work) unlock(dir int, name string) (int, error) {
	fd, err := unix.Openat2(dir, name, tree.Beneath(unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW))
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && !w.place.may(&st, all) {
		err = chmod(fd, st.Mode&0o7777|0o700)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

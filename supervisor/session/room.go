// SPDX-License-Identifier: Apache-2.0

package session

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/profiles"
)

// inodeShare is how many bytes of the reserve stand for an inode: as many as
// ext4 has for each (mke2fs(8)). A million empty files fill a disk as well.
const inodeShare = 16 << 10

// Room says whether there is as much free on the sessions' file system as
// Bounds.Reserve wants, in blocks and in inodes. An *Error says that there
// isn't: then whoever keeps the store stops the calls that write in sessions,
// and Use begins none.
func (s *Store) Room() error {
	s.mu.Lock()
	reserve := s.options.Reserve
	s.mu.Unlock()
	err := room(s.dir, reserve)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = err
	return err
}

func room(dir string, reserve int64) error {
	if reserve == 0 {
		return nil
	}
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	for errors.Is(err, unix.EINTR) {
		err = unix.Statfs(dir, &st)
	}
	if err != nil {
		return refuse("the free space of the sessions' file system can't be told: %v", err)
	}
	return enough(&st, reserve)
}

// enough judges what statfs(2) said. Blocks and inodes that only root may take
// count as taken.
func enough(st *unix.Statfs_t, reserve int64) error {
	unit := st.Frsize
	if unit == 0 {
		unit = st.Bsize
	}
	if free := int64(st.Bavail) * unit; free < reserve {
		return refuse("the sessions' file system has %s free, less than the reserve of %s: remove sessions or make room (reserve in [sessions])",
			profiles.Bytes(free), profiles.Bytes(reserve))
	}
	// Where a file system has few from the beginning, a part of those; some
	// count none at all.
	if least := min(uint64(reserve/inodeShare), st.Files/16); st.Ffree < least {
		return refuse("the sessions' file system has %d inodes free, less than the reserve of %d: remove sessions or make room (reserve in [sessions])", st.Ffree, least)
	}
	return nil
}

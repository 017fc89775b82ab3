// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// slotIDs is how many host uids, and gids, belong to one slot. Two are
// mapped: the box's 0 and the tool's. The rest keeps neighbours apart.
const slotIDs = 2048

// slot is one box's claim to a uid range, a cgroup name and a directory. It
// is a lock on a file: the kernel gives it back when its holder dies, however
// it dies, and that is how a leftover is told from a living box.
type slot struct {
	number int
	lock   *os.File
	dir    string // state of the container; exists only while the slot is held
}

func leafName(number int) string { return fmt.Sprintf("box-%04d", number) }

// hostID is the host's uid or gid for one of the box.
func (h *Host) hostID(s *slot, id int) int { return h.config.UIDBase + s.number*slotIDs + id }

// claim takes the first free slot and clears what its last holder left.
func (h *Host) claim(ctx context.Context) (*slot, error) {
	for n := range h.config.Slots {
		s, err := h.try(n)
		if err != nil {
			return nil, err
		}
		if s == nil {
			continue
		}
		if _, err := os.Lstat(s.dir); err == nil {
			if err := h.clear(ctx, s); err != nil {
				return nil, errors.Join(err, s.release())
			}
		}
		return s, nil
	}
	return nil, fmt.Errorf("all %d boxes are in use", h.config.Slots)
}

// try takes slot n, or gives nil if it is held.
func (h *Host) try(n int) (*slot, error) {
	name := filepath.Join(h.slotDir(), leafName(n))
	lock, err := os.OpenFile(name+".lock", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, lock.Close()
	}
	if err != nil {
		return nil, errors.Join(&os.PathError{Op: "flock", Path: lock.Name(), Err: err}, lock.Close())
	}
	return &slot{number: n, lock: lock, dir: name}, nil
}

// release gives the slot back. The lock file stays: removing it would let
// two processes hold different files of one name.
func (s *slot) release() error { return s.lock.Close() }

// clear removes what a dead holder left in a slot that is held now.
func (h *Host) clear(ctx context.Context, s *slot) error {
	name := leafName(s.number)
	if err := h.parent.Sweep(ctx, func(leaf string) bool { return leaf != name }); err != nil {
		return err
	}
	return os.RemoveAll(s.dir)
}

// Sweep removes what killed processes left: processes, groups, directories.
// Boxes whose holder lives are left alone.
func (h *Host) Sweep(ctx context.Context) error {
	held := map[string]*slot{}
	defer func() {
		for _, s := range held {
			_ = s.release()
		}
	}()
	entries, err := os.ReadDir(h.slotDir())
	if err != nil {
		return failed(StepCleanup, err)
	}
	for _, e := range entries {
		number, err := strconv.Atoi(strings.TrimPrefix(e.Name(), "box-"))
		if err != nil || !e.IsDir() || leafName(number) != e.Name() {
			continue
		}
		s, err := h.try(number)
		if err != nil {
			return failed(StepCleanup, err)
		}
		if s != nil {
			held[e.Name()] = s
		}
	}
	if len(held) == 0 {
		return nil
	}
	if err := h.parent.Sweep(ctx, func(leaf string) bool { return held[leaf] == nil }); err != nil {
		return failed(StepCleanup, err)
	}
	for _, s := range held {
		if err := os.RemoveAll(s.dir); err != nil {
			return failed(StepCleanup, err)
		}
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// SlotIDs is how many host uids, and gids, belong to one slot: slot n has
// those from Config.UIDBase + n*SlotIDs on. Two are mapped: the box's 0 and
// the tool's. The rest keeps neighbours apart.
const SlotIDs = 2048

// clearLimit bounds the removal of one dead box. It takes milliseconds, or
// for ever if one of its processes waits for a disk that doesn't answer;
// whoever wants a box now must not wait with it.
const clearLimit = 2 * time.Second

// slot is one box's claim to a uid range, a cgroup name and a directory. It
// is a lock on a file: the kernel gives it back when its holder dies, however
// it dies, and that is how a leftover is told from a living box.
type slot struct {
	number int
	lock   *os.File
	dir    string // state of the container; exists only while the slot is held
}

func slotName(number int) string { return fmt.Sprintf("box-%04d", number) }

// leafName is the name of a slot's group. It says whose slot that is.
func (h *Host) leafName(number int) string { return fmt.Sprintf("box-%s-%04d", h.mark, number) }

// hostID is the host's uid or gid for one of the box.
func (h *Host) hostID(s *slot, id int) int { return h.config.UIDBase + s.number*SlotIDs + id }

// claim takes the first free slot and clears what its last holder left. It
// passes over slots in which something is stuck.
func (h *Host) claim(ctx context.Context) (*slot, error) {
	stuck := h.parent.Stuck()
	for n := range h.config.Slots {
		if stuck[h.leafName(n)] != nil {
			continue
		}
		s, err := h.try(n)
		if err != nil {
			return nil, err
		}
		if s == nil {
			continue
		}
		err = h.clear(ctx, s)
		if err == nil {
			return s, nil
		}
		if err := errors.Join(ctx.Err(), s.release()); err != nil {
			return nil, err
		}
		if stuck = h.parent.Stuck(); stuck[h.leafName(n)] == nil {
			return nil, err
		}
	}
	if len(stuck) > 0 {
		return nil, fmt.Errorf("all %d boxes are in use, %d of them by what could not be removed: %s",
			h.config.Slots, len(stuck), strings.Join(h.Stuck(), "; "))
	}
	return nil, fmt.Errorf("all %d boxes are in use", h.config.Slots)
}

// try takes slot n, or gives nil if it is held.
func (h *Host) try(n int) (*slot, error) {
	name := filepath.Join(h.slotDir(), slotName(n))
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

// unlock is release where others may have copies of the descriptor: the lock
// belongs to all of them (flock(2)).
func (s *slot) unlock() error {
	err := control(s.lock, func(fd int) error { return unix.Flock(fd, unix.LOCK_UN) })
	return errors.Join(err, s.lock.Close())
}

// clear removes what a dead holder left in a slot that is held now. Either
// may be there without the other: a group that could not be removed then, or
// a directory whose group was never made.
func (h *Host) clear(ctx context.Context, s *slot) error {
	ctx, cancel := context.WithTimeout(ctx, clearLimit)
	defer cancel()
	if err := h.parent.Remove(ctx, h.leafName(s.number)); err != nil {
		return err
	}
	return os.RemoveAll(s.dir)
}

// Stuck says of each dead box that could not be removed what is in the way,
// one line per box. Its slot is not used until a Sweep, or the next process,
// gets it removed; nothing else depends on it.
func (h *Host) Stuck() []string {
	var lines []string
	for name, err := range h.parent.Stuck() {
		lines = append(lines, fmt.Sprintf("%s: %v", name, err))
	}
	slices.Sort(lines)
	return lines
}

// Sweep removes what killed processes left: processes, groups, directories.
// Boxes whose holder lives are left alone. A box that can't be removed within
// two seconds is no error: it goes on Stuck's list.
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
		if err != nil || !e.IsDir() || slotName(number) != e.Name() {
			continue
		}
		s, err := h.try(number)
		if err != nil {
			return failed(StepCleanup, err)
		}
		if s != nil {
			held[h.leafName(number)] = s
		}
	}
	if len(held) == 0 {
		return nil
	}
	if err := h.parent.Sweep(ctx, clearLimit, func(leaf string) bool { return held[leaf] == nil }); err != nil {
		return failed(StepCleanup, err)
	}
	stuck := h.parent.Stuck()
	for name, s := range held {
		if stuck[name] != nil {
			continue
		}
		if err := os.RemoveAll(s.dir); err != nil {
			return failed(StepCleanup, err)
		}
	}
	return nil
}

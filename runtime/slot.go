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
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/cgroup"
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
	dir    string // state of the box; exists only while the slot is held
	mine   *numbers
}

// numbers are the slots that this process holds, so that it needn't ask the
// kernel about them.
type numbers struct {
	mu   sync.Mutex
	held map[int]bool
}

// next takes the first number from n on that isn't held.
func (h *numbers) next(n int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.held[n] {
		n++
	}
	h.held[n] = true
	return n
}

func (h *numbers) take(n int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held[n] {
		return false
	}
	h.held[n] = true
	return true
}

func (h *numbers) give(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.held, n)
}

func slotName(number int) string { return fmt.Sprintf("box-%04d", number) }

// leafName is the name of a slot's group. It says whose slot that is.
func (h *Host) leafName(number int) string { return fmt.Sprintf("box-%s-%04d", h.mark, number) }

// hostID is the host's uid or gid for one of the box.
func (h *Host) hostID(s *slot, id int) int { return h.config.UIDBase + s.number*SlotIDs + id }

// claim takes the first free slot, clears what its last holder left, and makes
// its directory. It passes over slots in which something is stuck.
func (h *Host) claim(ctx context.Context) (*slot, error) {
	stuck := h.parent.Stuck()
	n := h.mine.next(0)
	for ; n < h.config.Slots; n = h.mine.next(n + 1) {
		if stuck[h.leafName(n)] != nil {
			h.mine.give(n)
			continue
		}
		s, err := h.lock(n)
		if err != nil {
			return nil, err
		}
		if s == nil {
			continue
		}
		if err = unix.Mkdir(s.dir, 0o711); errors.Is(err, unix.EEXIST) {
			if err = h.clear(ctx, s); err == nil {
				err = unix.Mkdir(s.dir, 0o711)
			}
		}
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
	h.mine.give(n)
	if len(stuck) > 0 {
		return nil, fmt.Errorf("%w, %d of them by what could not be removed: %s", h.noSlot(), len(stuck), strings.Join(h.Stuck(), "; "))
	}
	return nil, h.noSlot()
}

// ErrNoSlot says that there are as many boxes as there may be.
var ErrNoSlot = errors.New("all boxes are in use")

func (h *Host) noSlot() error {
	return fmt.Errorf("%w: there may be %d (slots)", ErrNoSlot, h.config.Slots)
}

// makeLeaf makes a slot's group by create, a method of its parent. One that a
// dead holder left without its directory is removed first.
func (h *Host) makeLeaf(ctx context.Context, s *slot, create func(string, cgroup.Limits) (*cgroup.Leaf, error), limits cgroup.Limits) (*cgroup.Leaf, error) {
	leaf, err := create(h.leafName(s.number), limits)
	if !errors.Is(err, os.ErrExist) {
		return leaf, err
	}
	ctx, cancel := context.WithTimeout(ctx, clearLimit)
	defer cancel()
	if err := h.parent.Remove(ctx, h.leafName(s.number)); err != nil {
		return nil, err
	}
	return create(h.leafName(s.number), limits)
}

// try takes slot n, or gives nil if it is held.
func (h *Host) try(n int) (*slot, error) {
	if !h.mine.take(n) {
		return nil, nil
	}
	return h.lock(n)
}

// lock takes slot n, which is this process's own to take. If another one holds
// it, or it can't be had, that ends.
func (h *Host) lock(n int) (s *slot, err error) {
	defer func() {
		if s == nil {
			h.mine.give(n)
		}
	}()
	name := filepath.Join(h.slotDir(), slotName(n))
	fd, err := unix.Open(name+".lock", unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name + ".lock", Err: err}
	}
	err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, unix.Close(fd)
	}
	if err != nil {
		return nil, errors.Join(&os.PathError{Op: "flock", Path: name + ".lock", Err: err}, unix.Close(fd))
	}
	return &slot{number: n, lock: os.NewFile(uintptr(fd), name+".lock"), dir: name, mine: h.mine}, nil
}

// release gives the slot back. The lock file stays: removing it would let
// two processes hold different files of one name.
func (s *slot) release() error {
	err := s.lock.Close()
	s.mine.give(s.number)
	return err
}

// unlock is release where others may have copies of the descriptor: the lock
// belongs to all of them (flock(2)).
func (s *slot) unlock() error {
	err := control(s.lock, func(fd int) error { return unix.Flock(fd, unix.LOCK_UN) })
	return errors.Join(err, s.release())
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

// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/rootfs"
)

// userns is a user namespace that is held.
type userns = os.File

// swapsKept bounds the namespaces that are kept: pairs are few, a workspace's
// owner with the ids of one slot after another.
const swapsKept = 64

// swaps keeps the user namespaces of the latest mappings. Making one starts a
// process.
type swaps struct {
	mu   sync.Mutex
	kept []swap // guarded by mu; the latest used is the last
}

type swap struct {
	owner, tool rootfs.Owner
	space       *userns
}

// get gives a descriptor of one's own for the namespace of a pair.
func (s *swaps) get(owner, tool rootfs.Owner, program string) (*userns, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.kept, func(k swap) bool { return k.owner == owner && k.tool == tool })
	if at >= 0 {
		found := s.kept[at]
		s.kept = append(slices.Delete(s.kept, at, at+1), found)
	} else {
		space, err := newUserns(owner, tool, program)
		if err != nil {
			return nil, err
		}
		if len(s.kept) == swapsKept {
			_ = s.kept[0].space.Close()
			s.kept = slices.Delete(s.kept, 0, 1)
		}
		s.kept = append(s.kept, swap{owner, tool, space})
	}
	space := s.kept[len(s.kept)-1].space
	fd, err := unix.FcntlInt(space.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("hold a user namespace: %w", err)
	}
	return os.NewFile(uintptr(fd), space.Name()), nil
}

func (s *swaps) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, k := range s.kept {
		errs = append(errs, k.space.Close())
	}
	s.kept = nil
	return errors.Join(errs...)
}

// newUserns makes one.
func newUserns(owner, tool rootfs.Owner, program string) (*userns, error) {
	space, err := rootfs.Swap(owner, tool, program)
	if errors.Is(err, unix.EPERM) {
		return nil, &Refusal{Err: err, Do: "allow the service CAP_SETFCAP, without which nobody may map root"}
	}
	return space, err
}

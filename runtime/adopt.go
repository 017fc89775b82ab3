// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/wire"
)

// Adopt takes over a service that another process has started, by the copies
// of its Files that were kept, in any order. It has ended by now, or has not;
// Done tells. On success the files are the service's; on an error they are
// still the caller's, and closing them, and whatever copies there are, ends
// the box, which the next Open then removes.
//
// A control socket that was lost means that PID 1 has ended: such a service
// ends at once, out of memory if that is why, else with an error of the
// sandbox.
func (h *Host) Adopt(files ...*os.File) (*Service, error) {
	v := &Service{host: h, link: &link{}, done: make(chan struct{})}
	var lock, socket *os.File
	for _, f := range files {
		to, err := kindOf(f, &lock, &socket, &v.netns)
		if err != nil {
			return nil, failed(StepSlot, err)
		}
		if *to != nil {
			return nil, failed(StepSlot, fmt.Errorf("%s: there is one of its kind already: adopt one service at a time", f.Name()))
		}
		*to = f
	}
	if lock == nil {
		return nil, failed(StepSlot, errors.New("the lock of its slot is missing"))
	}
	var err error
	if v.slot, err = h.slotOf(lock); err != nil {
		return nil, failed(StepSlot, err)
	}
	b, err := os.ReadFile(filepath.Join(v.slot.dir, recordFile))
	if err == nil {
		err = json.Unmarshal(b, &v.record)
	}
	if err == nil && v.record.Protocol != wire.Control {
		err = fmt.Errorf("it was started by a version of clawsup that speaks version %d with its services, and this is %d", v.record.Protocol, wire.Control)
	}
	if err != nil {
		return nil, failed(StepSlot, fmt.Errorf("%s is no service that could be adopted: %w", slotName(v.slot.number), err))
	}
	if v.leaf, err = h.parent.Find(h.leafName(v.slot.number)); err != nil {
		return nil, failed(StepCgroup, err)
	}
	if socket != nil {
		if err := v.connect(socket); err != nil {
			v.leaf.Release()
			return nil, failed(StepCall, err)
		}
		_ = socket.Close()
	}
	v.attend()
	return v, nil
}

// kindOf tells which of a service's files f is.
func kindOf(f *os.File, lock, socket, netns **os.File) (**os.File, error) {
	var to **os.File
	err := control(f, func(fd int) error {
		var st unix.Stat_t
		var fs unix.Statfs_t
		if err := errors.Join(unix.Fstat(fd, &st), unix.Fstatfs(fd, &fs)); err != nil {
			return err
		}
		switch {
		case fs.Type == unix.NSFS_MAGIC:
			to = netns
		case st.Mode&unix.S_IFMT == unix.S_IFSOCK:
			to = socket
		case st.Mode&unix.S_IFMT == unix.S_IFREG:
			to = lock
		default:
			return fmt.Errorf("%s is nothing that a service has", f.Name())
		}
		return nil
	})
	return to, err
}

// connect goes on with a copy of the control socket.
func (v *Service) connect(socket *os.File) error {
	l, err := copyLink(socket)
	if err != nil {
		return err
	}
	if v.told, err = l.ask(); err != nil {
		return errors.Join(err, l.close())
	}
	v.link = l
	return nil
}

// copyLink makes a link of a copy of f's descriptor: f may be one that Go's
// poller doesn't know.
func copyLink(f *os.File) (*link, error) {
	fd := -1
	err := control(f, func(own int) (err error) {
		if kind, err := unix.GetsockoptInt(own, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_SEQPACKET {
			return errors.New("the socket is no control socket")
		}
		fd, err = unix.FcntlInt(uintptr(own), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	return openLink(fd)
}

// slotOf finds the slot that an open lock file is of. The lock must be held
// through this very descriptor, by whoever else has a copy of it.
func (h *Host) slotOf(lock *os.File) (*slot, error) {
	var own, named unix.Stat_t
	name := ""
	err := control(lock, func(fd int) (err error) {
		if name, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err != nil {
			return err
		}
		if err := unix.Fstat(fd, &own); err != nil {
			return err
		}
		// Whoever holds it gets it again; anybody else is told.
		if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
			return fmt.Errorf("%s: somebody else holds this slot: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(strings.TrimPrefix(strings.TrimSuffix(filepath.Base(name), ".lock"), "box-"))
	if err != nil || slotName(number)+".lock" != filepath.Base(name) || number < 0 || number >= h.config.Slots {
		return nil, fmt.Errorf("%s is no lock of a slot", name)
	}
	dir := filepath.Join(h.slotDir(), slotName(number))
	if err := unix.Lstat(dir+".lock", &named); err != nil || named.Dev != own.Dev || named.Ino != own.Ino {
		return nil, fmt.Errorf("%s is not the lock of a slot in %s", name, h.slotDir())
	}
	h.mine.take(number)
	return &slot{number: number, lock: lock, dir: dir, mine: h.mine}, nil
}

// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/rootfs"
)

// ledNetwork is what a result says of the network of NetworkEgress.
const ledNetwork = "a network namespace of its own, that has no interface and leads to clawsup-egress alone"

// inNetwork runs f on a thread that is in a network namespace, and that ends
// afterwards. ns is the namespace, or a pidfd of a process in it (setns(2)).
func inNetwork(ns *os.File, f func() error) error {
	return rootfs.OnOwnThread(func() error {
		if err := control(ns, func(fd int) error { return unix.Setns(fd, unix.CLONE_NEWNET) }); err != nil {
			return fmt.Errorf("enter the box's network: %w", err)
		}
		return f()
	})
}

// InNetwork runs f on a thread that is in the box's network namespace, as
// Service.InNetwork does. It may be called from Prepare on, also while Run is
// running; once the box has ended it is an error.
func (s *Sandbox) InNetwork(f func() error) error { return inNetwork(s.init.file, f) }

// InNetwork runs f on a thread that is in the box's network namespace, from
// Host.Berth to Serve or Close: before anything of the service runs.
func (s *Berth) InNetwork(f func() error) error {
	pid, err := s.process.Pid()
	if err != nil {
		return err
	}
	// It waits in the box and isn't waited for: the number is still its own.
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return err
	}
	defer ns.Close()
	return inNetwork(ns, f)
}

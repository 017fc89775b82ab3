// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/rootfs"
)

// Check tries whether the kernel has what Lead needs, in a network namespace
// that is gone when it returns. The caller has CAP_SYS_ADMIN and CAP_NET_ADMIN.
func Check() error {
	return rootfs.OnOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare a network namespace: %w", err)
		}
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err != nil {
			return fmt.Errorf("bring lo up: %w", err)
		}
		ends, err := Lead(nil)
		if err != nil {
			return err
		}
		return ends.Close()
	})
}

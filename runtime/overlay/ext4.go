// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// block is what the layers' file systems count in, in bytes.
const block = 4096

// mountExt4 gives a mount, attached nowhere, of the file system on a device. All
// mounts of one device are of one file system.
func mountExt4(device string) (tree int, err error) {
	c, err := newFscontext("ext4")
	if err != nil {
		return -1, err
	}
	defer c.close()
	for _, o := range []option{
		{"source", device},
		{"errors", "remount-ro"}, // rather than to go on with a file system that contradicts itself
		{"noinit_itable", ""},    // what was never used is not cleared in the background
		{"nobarrier", ""},        // Close flushes the image once, and nothing before matters
	} {
		if err := c.set(o); err != nil {
			return -1, err
		}
	}
	return c.mount(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOATIME)
}

// shutdown has a file system forget what it has not written yet, and refuse
// everything from now on (EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH,
// fs/ext4/ext4.h).
func shutdown(root *os.File) error {
	const request, flag = 0x8004587d, 2
	how := uint32(flag)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, root.Fd(), request, uintptr(unsafe.Pointer(&how))); errno != 0 {
		return fmt.Errorf("shut a layer's file system down: %w", errno)
	}
	return nil
}

// fscontext is a file system that is being configured (fsopen(2)).
type fscontext struct {
	kind string
	fd   int
}

// option is a file system's; without a value it is a flag.
type option struct{ key, value string }

func newFscontext(kind string) (*fscontext, error) {
	fd, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, explainKind(kind, err)
	}
	return &fscontext{kind, fd}, nil
}

func (c *fscontext) close() { _ = unix.Close(c.fd) }

func (c *fscontext) set(o option) error {
	var err error
	if o.value == "" {
		err = unix.FsconfigSetFlag(c.fd, o.key)
	} else {
		err = unix.FsconfigSetString(c.fd, o.key, o.value)
	}
	if err != nil {
		return c.fail(o.key, err)
	}
	return nil
}

func (c *fscontext) mount(attributes int) (tree int, err error) {
	if err := unix.FsconfigCreate(c.fd); err != nil {
		return -1, c.fail("mount", err)
	}
	tree, err = unix.Fsmount(c.fd, unix.FSMOUNT_CLOEXEC, attributes)
	if err != nil {
		return -1, c.fail("fsmount", err)
	}
	return tree, nil
}

// fail adds what the kernel says beyond the number: one line a read, with its
// level before it.
func (c *fscontext) fail(what string, err error) error {
	var said []string
	line := make([]byte, 512)
	for len(said) < 8 {
		n, end := unix.Read(c.fd, line)
		if end != nil || n <= 0 {
			break
		}
		_, text, _ := strings.Cut(strings.TrimSpace(string(line[:n])), " ")
		said = append(said, text)
	}
	if len(said) == 0 {
		return fmt.Errorf("%s: %s: %w", c.kind, what, err)
	}
	return fmt.Errorf("%s: %s: %w (%s)", c.kind, what, err, strings.Join(said, "; "))
}

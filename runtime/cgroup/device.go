// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Device is a block device by number.
type Device struct{ Major, Minor uint32 }

// String returns "major:minor", as the kernel writes it.
func (d Device) String() string {
	return strconv.FormatUint(uint64(d.Major), 10) + ":" + strconv.FormatUint(uint64(d.Minor), 10)
}

// DevicesBehind returns the block device that holds the file system of path: the whole disk where that is a partition,
// since the kernel throttles only whole disks. Where the file system has a number of no device (btrfs), it is the one
// that the mount names. File systems without a block device (tmpfs, overlay, network) give none and no error.
func DevicesBehind(path string) ([]Device, error) {
	var st unix.Stat_t
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("device behind %s: %w", path, err)
	}
	defer unix.Close(fd)
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("device behind %s: %w", path, err)
	}
	number := st.Dev
	if unix.Major(number) == 0 {
		source, err := mountSource(fd)
		if err != nil {
			return nil, fmt.Errorf("device behind %s: %w", path, err)
		}
		// Not every source is a path, and a path need not exist here: then no device can be known.
		if !strings.HasPrefix(source, "/") || unix.Stat(source, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
			return nil, nil
		}
		number = st.Rdev
	}
	d, err := wholeDisk("/sys/dev/block", Device{unix.Major(number), unix.Minor(number)})
	if err != nil {
		return nil, fmt.Errorf("device behind %s: %w", path, err)
	}
	return []Device{d}, nil
}

// mountSource returns the source of the mount that an open file lies on.
func mountSource(fd int) (string, error) {
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return "", err
	}
	id := 0
	for line := range strings.Lines(string(info)) {
		if v, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			if id, err = strconv.Atoi(strings.TrimSpace(v)); err != nil {
				return "", err
			}
		}
	}
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) { return m.ID != id, m.ID == id })
	if err != nil {
		return "", err
	}
	if len(mounts) == 0 {
		return "", nil // a mount outside this namespace
	}
	return mounts[0].Source, nil
}

// wholeDisk returns d, or the disk that d is a partition of. sys is /sys/dev/block, whose entries are links to the
// devices; the directory of a partition lies in that of its disk.
func wholeDisk(sys string, d Device) (Device, error) {
	entry := sys + "/" + d.String()
	_, err := os.Stat(entry + "/partition")
	if errors.Is(err, os.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return Device{}, err
	}
	text, err := os.ReadFile(entry + "/../dev") // the kernel follows the link first; cleaning the path would not
	if err != nil {
		return Device{}, err
	}
	var whole Device
	if _, err := fmt.Sscanf(string(text), "%d:%d", &whole.Major, &whole.Minor); err != nil {
		return Device{}, fmt.Errorf("%s/../dev: %w", entry, err)
	}
	return whole, nil
}

// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"strings"
)

// lift takes the leaf's own limits of processor time and of input and output away, so that its processes can die.
// Requests that the disk's limit held back are let go with it. Files that don't exist limit nothing.
func (l *Leaf) lift() error {
	var errs []error
	set := func(dir, file, text string) {
		if err := write(dir, file, text); err != nil && !gone(err) {
			errs = append(errs, err)
		}
	}
	if dir, ok := l.dir(CPU); ok {
		if l.host.Version == V2 {
			set(dir, "cpu.max", "max")
		} else {
			set(dir, "cpu.cfs_quota_us", "-1")
		}
	}
	dir, ok := l.dir(IO)
	if !ok {
		return errors.Join(errs...)
	}
	// Each file has one line per limited device, "MAJ:MIN" first, and takes one at a time.
	none := map[string]string{"blkio.throttle.read_bps_device": " 0", "blkio.throttle.write_bps_device": " 0"}
	if l.host.Version == V2 {
		none = map[string]string{"io.max": " rbps=max wbps=max"}
	}
	for file, unlimited := range none {
		text, err := read(dir, file)
		if err != nil && !gone(err) {
			errs = append(errs, err)
		}
		for line := range strings.Lines(text) {
			if device, _, _ := strings.Cut(line, " "); strings.Contains(device, ":") {
				set(dir, file, device+unlimited)
			}
		}
	}
	return errors.Join(errs...)
}

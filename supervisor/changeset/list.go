// SPDX-License-Identifier: Apache-2.0

package changeset

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// The head of a linux_dirent64 (getdents64(2)): d_ino and d_off of 8 bytes
// each, d_reclen of 2, d_type of 1.
const (
	direntLength = 16
	direntType   = 18
	direntName   = 19
)

// list calls do for each name in a directory, from where its descriptor stands,
// with the type as the file system tells it: unix.DT_UNKNOWN where it doesn't.
func (w *walker) list(fd int, do func(name []byte, kind byte)) error {
	for {
		n, err := unix.Getdents(fd, w.names)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("list: %w", err)
		}
		if n == 0 {
			return nil
		}
		if err := w.ctx.Err(); err != nil {
			return err
		}
		for b := w.names[:n]; len(b) > direntName; {
			length := int(binary.NativeEndian.Uint16(b[direntLength:]))
			if length <= direntName || length > len(b) {
				return fmt.Errorf("list: an entry of %d bytes", length)
			}
			name, _, _ := bytes.Cut(b[direntName:length], []byte{0})
			if s := string(name); s != "." && s != ".." {
				do(name, b[direntType])
			}
			b = b[length:]
		}
	}
}

// sorted gives the names in a directory in their order.
func (w *walker) sorted(fd int) ([]string, error) {
	var names []string
	err := w.list(fd, func(name []byte, _ byte) { names = append(names, string(name)) })
	slices.Sort(names)
	return names, err
}

// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/tree"
)

// Bounds of what roam looks at.
const (
	mostMoved = 20_000 // names
	deepMoved = 64     // directories in one another
)

// roam calls do for all that is in a directory of the workspace, with the
// directory that it is in and the path below the first, which begins with a slash. An error of do ends it; it is one where
// there is more than the bounds allow.
func roam(fd int, do func(dir int, below string, st *unix.Stat_t) error) error {
	left := mostMoved
	var in func(fd int, below string, depth int) error
	in = func(fd int, below string, depth int) error {
		return tree.Each(fd, func(name string) error {
			if left--; left < 0 || depth > deepMoved {
				return fmt.Errorf("it holds more than %d names, or more than %d levels", mostMoved, deepMoved)
			}
			var st unix.Stat_t
			if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return err
			}
			at := below + "/" + name
			if err := do(fd, at, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
				return err
			}
			child, err := unix.Openat2(fd, name, tree.Beneath(unix.O_PATH|unix.O_DIRECTORY))
			if err != nil {
				return err
			}
			defer unix.Close(child)
			return in(child, at, depth+1)
		})
	}
	return in(fd, "", 0)
}

// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/tree"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// upper is the content of a layer, in which every path is what it became.
type upper struct{ dir *os.File }

// Open gives the file that an entry tells of.
func (u upper) Open(e *changeset.Entry) (*os.File, error) {
	f, st, err := openFile(int(u.dir.Fd()), string(e.Path))
	if err != nil {
		return nil, err
	}
	if st.Size != e.After.Size || st.Mtim.Nano() != e.After.Modified {
		return nil, errors.Join(fmt.Errorf("%s: the layer's file is another than was listed", visible.Quote(clip(string(e.Path)))), f.Close())
	}
	return f, nil
}

// openFile opens a regular file beneath a directory.
func openFile(dir int, path string) (*os.File, *unix.Stat_t, error) {
	fail := func(err error) (*os.File, *unix.Stat_t, error) {
		return nil, nil, fmt.Errorf("open %s: %w", visible.Quote(clip(path)), err)
	}
	fd, err := openBeneath(dir, path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err != nil {
		return fail(err)
	}
	f := os.NewFile(uintptr(fd), base(path))
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fail(errors.Join(err, f.Close()))
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fail(errors.Join(errNotRegular, f.Close()))
	}
	return f, &st, nil
}

var errNotRegular = errors.New("it is no regular file")

// step bounds what of a path is resolved at a time: a path may be longer than
// the kernel takes (path_resolution(7), PATH_MAX).
const step = 2048

// openBeneath opens a path in a directory through no link and onto no other
// mount.
func openBeneath(dir int, path string, flags int) (int, error) {
	at := dir
	defer func() {
		if at != dir {
			_ = unix.Close(at)
		}
	}()
	for len(path) > step {
		cut := step
		for cut > 0 && path[cut] != '/' {
			cut--
		}
		if cut == 0 {
			return -1, unix.ENAMETOOLONG
		}
		next, err := unix.Openat2(at, path[:cut], tree.Beneath(unix.O_PATH|unix.O_DIRECTORY))
		if err != nil {
			return -1, err
		}
		if at != dir {
			_ = unix.Close(at)
		}
		at, path = next, path[cut+1:]
	}
	return unix.Openat2(at, path, tree.Beneath(flags))
}

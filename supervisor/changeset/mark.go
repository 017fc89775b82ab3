// SPDX-License-Identifier: Apache-2.0

package changeset

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/visible"
)

// What the kernel's overlay leaves on files of the upper layer.
const (
	markPrefix   = "trusted.overlay."
	markOpaque   = markPrefix + "opaque"
	markRedirect = markPrefix + "redirect"
	markOrigin   = markPrefix + "origin"
)

// whiteout says whether a file of the upper layer stands for one that is gone.
func whiteout(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

// stand is how a directory of the layer stands over the workspace.
type stand uint8

const (
	byName     stand = iota // over what has its name
	redirected              // over another directory
	opaque                  // over nothing; nor does what is in it, but by a redirect
)

// origin tells it, and the redirect's path.
func (w *walker) origin(q, parent place) (how stand, path string, err error) {
	value, err := w.xattr(q.upper, markOpaque)
	if err != nil || string(value) == "y" {
		return opaque, "", err
	}
	value, err = w.xattr(q.upper, markRedirect)
	if err != nil || value == nil {
		if parent.opaque {
			return opaque, "", err
		}
		return byName, "", err
	}
	path, absolute := strings.CutPrefix(string(value), "/")
	if !absolute {
		if strings.Contains(path, "/") || parent.lower < 0 {
			path = "" // no name, or of nothing
		} else if path, err = join(parent.was, path); err != nil {
			return redirected, "", err
		}
	}
	if !proper(path) {
		return redirected, "", fmt.Errorf("the overlay's redirect leads to %s", visible.Quote(string(value)))
	}
	return redirected, path, nil
}

// went says whether the file of the workspace that one of the upper layer was
// copied from is gone, or was changed or moved, by the kernel's note: a struct
// ovl_fb of fs/overlayfs/overlayfs.h, which is a file handle with a head.
func (w *walker) went(origin []byte) bool {
	const (
		magic  = 0xfb
		kind   = 4
		handle = 5 + 16 // after the file system's UUID
	)
	if len(origin) <= handle || origin[0] != 0 || origin[1] != magic || int(origin[2]) != len(origin) {
		return false // nothing is known where the file system has no handles
	}
	fd, err := unix.OpenByHandleAt(w.lower, unix.NewFileHandle(int32(origin[kind]), origin[handle:]), unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return errors.Is(err, unix.ESTALE)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return false
	}
	return st.Nlink == 0 || w.late(st.Ctim.Nano())
}

// xattr gives a short attribute, nil where there is none.
func (w *walker) xattr(fd int, name string) ([]byte, error) {
	n, err := unix.Fgetxattr(fd, name, w.value)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return w.value[:n], nil
}

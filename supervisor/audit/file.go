// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/record"
)

const (
	segmentPrefix = "receipts-"
	segmentSuffix = ".log"
	tornSuffix    = ".torn"
)

func segmentName(first uint64) string {
	return fmt.Sprintf("%s%020d%s", segmentPrefix, first, segmentSuffix)
}

func tornName(head uint64) string { return fmt.Sprintf("%s%020d%s", segmentPrefix, head, tornSuffix) }

// segments gives the first sequence numbers that the names in a folder tell,
// in order. Other files are no business of the log's.
func segments(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list the log of receipts: %w", err)
	}
	var all []uint64
	for _, e := range entries {
		digits, _ := strings.CutPrefix(e.Name(), segmentPrefix)
		digits, _ = strings.CutSuffix(digits, segmentSuffix)
		first, err := strconv.ParseUint(digits, 10, 64)
		if err == nil && e.Name() == segmentName(first) && e.Type().IsRegular() {
			all = append(all, first)
		}
	}
	slices.Sort(all)
	return all, nil
}

// openOwn opens a regular file that is root's and that nobody else may touch;
// one that it makes is such a file. A symbolic link is an error.
func openOwn(dir int, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	if err := checkOwn(fd, name, unix.S_IFREG); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func checkOwn(fd int, name string, kind uint32) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &fs.PathError{Op: "fstat", Path: name, Err: err}
	}
	if st.Mode&unix.S_IFMT != kind {
		return fmt.Errorf("%q is not the kind of file it should be", name)
	}
	if st.Uid != 0 || st.Mode&0o077 != 0 {
		return fmt.Errorf("%q (owner %d, mode %04o) must be root's and closed to everybody else: look at what is in it before you change that", name, st.Uid, st.Mode&0o7777)
	}
	return nil
}

// openDir opens, or makes, the log's folder, and locks it until the descriptor is closed.
func openDir(path string) (*os.File, error) {
	switch err := os.Mkdir(path, 0o700); {
	case err == nil:
		if err := record.SyncDir(filepath.Dir(path)); err != nil {
			return nil, err
		}
	case !os.IsExist(err):
		return nil, fmt.Errorf("make the log of receipts: %w", err)
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the log of receipts %q: %w", path, err)
	}
	dir := os.NewFile(uintptr(fd), path)
	if err := checkOwn(fd, path, unix.S_IFDIR); err != nil {
		dir.Close()
		return nil, err
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		dir.Close()
		return nil, fmt.Errorf("lock the log of receipts %q (is another supervisor writing it?): %w", path, err)
	}
	return dir, nil
}

// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Every system call of this package that changes something is made here, so
// that a test can end the process before any of them.

// before is called with a call's name ahead of it; tests set it.
var before func(call string)

func about(call string) {
	if before != nil {
		before(call)
	}
}

func create(dir int, name string) (int, error) {
	about("open")
	return unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
}

func mkdir(dir int, name string) error {
	about("mkdir")
	return unix.Mkdirat(dir, name, 0o700)
}

func symlink(target string, dir int, name string) error {
	about("symlink")
	return unix.Symlinkat(target, dir, name)
}

func link(from int, name string, to int, other string) error {
	about("link")
	return unix.Linkat(from, name, to, other, 0)
}

// linkOpen gives an open file a name, which it may have lost: it is this file
// and no other.
func linkOpen(fd, dir int, name string) error {
	about("link")
	return unix.Linkat(unix.AT_FDCWD, proc(fd), dir, name, unix.AT_SYMLINK_FOLLOW)
}

func unlink(dir int, name string, flags int) error {
	about("unlink")
	return unix.Unlinkat(dir, name, flags)
}

// move renames where nothing is.
func move(from int, name string, to int, other string) error {
	about("rename")
	return unix.Renameat2(from, name, to, other, unix.RENAME_NOREPLACE)
}

func exchange(dir int, name, other string) error {
	about("exchange")
	return unix.Renameat2(dir, name, dir, other, unix.RENAME_EXCHANGE)
}

func pwrite(fd int, b []byte, off int64) error {
	about("write")
	for len(b) > 0 {
		n, err := unix.Pwrite(fd, b, off)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}

func truncate(fd int, size int64) error {
	about("truncate")
	return unix.Ftruncate(fd, size)
}

func clone(to, from int) error {
	about("clone")
	return unix.IoctlFileClone(to, from)
}

// chmod, setXattr and removeXattr take descriptors of O_PATH too, by way of
// proc(5): it lets a thread pass to the descriptors of its own process.
func chmod(fd int, mode uint32) error {
	about("chmod")
	return unix.Chmod(proc(fd), mode)
}

func setXattr(fd int, name string, value []byte) error {
	about("setxattr")
	return unix.Setxattr(proc(fd), name, value, 0)
}

func removeXattr(fd int, name string) error {
	about("removexattr")
	return unix.Removexattr(proc(fd), name)
}

func proc(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// stamp sets the mtime, nanoseconds since 1970, and leaves the atime.
func stamp(dir int, name string, mtime int64) error {
	about("utimes")
	second := mtime / 1e9
	nano := mtime % 1e9
	if nano < 0 {
		second, nano = second-1, nano+1e9
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: second, Nsec: nano}}
	return unix.UtimesNanoAt(dir, name, times, unix.AT_SYMLINK_NOFOLLOW)
}

func chown(f *os.File, uid, gid int) error {
	about("chown")
	return f.Chown(uid, gid)
}

func fsync(fd int) error {
	about("fsync")
	return unix.Fsync(fd)
}

func syncfs(fd int) error {
	about("syncfs")
	return unix.Syncfs(fd)
}

func appendTo(f *os.File, b []byte) error {
	about("append")
	_, err := f.Write(b)
	return err
}

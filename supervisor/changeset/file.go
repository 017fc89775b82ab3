// SPDX-License-Identifier: Apache-2.0

package changeset

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/tree"
)

// file is what one of the two trees has at a path.
type file struct {
	State
	mode    uint32  // all of st_mode
	rdev    uint64  // of a device
	target  string  // of a symbolic link
	others  []Xattr // that are not carried
	beyond  bool    // it has more user.* attributes than are carried
	armed   bool    // it has file capabilities
	origin  []byte  // the overlay's note of what it was copied from
	hollow  bool    // it has more holes than are read
	restive bool    // it is another now than when it was looked at
}

const prefix = "sha256:"

var (
	errGone  = errors.New("it is gone")
	errHoles = errors.New("more holes than are read")
)

// look gives the status of a name. Where there is none ok is false.
func look(dir int, name string) (st unix.Stat_t, ok bool, err error) {
	err = unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return st, false, nil
	}
	if err != nil {
		return st, false, fmt.Errorf("stat: %w", err)
	}
	return st, true, nil
}

// enter opens a name, which was a directory or a file a moment ago. What can't
// be opened as such any more is as good as gone.
func enter(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat2(dir, name, tree.Beneath(flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY))
		switch {
		case err == nil:
			return fd, nil
		case err == unix.EINTR:
		case slices.Contains(lost, err):
			return -1, fmt.Errorf("%w: %w", errGone, err)
		default:
			return -1, fmt.Errorf("open: %w", err)
		}
	}
}

// lost are errors of opening what somebody took away, or made another: openat2(2),
// and of O_NONBLOCK where another program has a lease on it, fcntl(2).
var lost = []error{unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.ENXIO, unix.EXDEV, unix.EAGAIN}

// directory opens a directory.
func directory(dir int, name string) (int, error) {
	return enter(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
}

// plain is what a status alone tells of a file.
func plain(st *unix.Stat_t) file {
	f := file{mode: st.Mode, rdev: st.Rdev, State: State{
		Type: Special, Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid,
		Modified: st.Mtim.Nano(), Links: uint32(min(st.Nlink, 1<<32-1)),
		Identity: Identity{Dev: st.Dev, Ino: st.Ino, Ctime: st.Ctim.Nano()},
	}}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		f.Type, f.Size = Regular, st.Size
	case unix.S_IFDIR:
		f.Type = Directory
	case unix.S_IFLNK:
		f.Type = Symlink
	}
	return f
}

// read gives what a directory has at a name, with its content's digest; of a
// directory only what its status tells. It fails with errGone where there is
// something else by now.
func (w *walker) read(dir int, name string, st *unix.Stat_t) (file, error) {
	f := plain(st)
	switch f.Type {
	case Regular:
		return w.regular(dir, name, st)
	case Symlink:
		n, err := unix.Readlinkat(dir, name, w.value)
		if err != nil || n == len(w.value) {
			if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
				return f, fmt.Errorf("%w: %w", errGone, err)
			}
			return f, fmt.Errorf("read a link of %d bytes: %w", n, err)
		}
		f.target, f.Size = string(w.value[:n]), int64(n)
		w.hash.Reset()
		w.hash.Write(w.value[:n])
		f.Digest = w.digest()
		now, ok, err := look(dir, name)
		f.restive = !ok || now.Ino != st.Ino || now.Ctim != st.Ctim
		return f, err
	}
	return f, nil
}

// regular reads a regular file.
func (w *walker) regular(dir int, name string, was *unix.Stat_t) (file, error) {
	fd, err := enter(dir, name, unix.O_RDONLY)
	if err != nil {
		return file{}, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return file{}, fmt.Errorf("stat: %w", err)
	}
	f := plain(&st)
	if f.Type != Regular {
		return f, errGone
	}
	if err := w.attributes(fd, &f); err != nil {
		return f, err
	}
	switch n, err := w.content(fd, &st); {
	case errors.Is(err, errHoles):
		f.hollow = true
	case err != nil:
		return f, err
	default:
		f.Digest, f.restive = w.digest(), n != st.Size
	}
	var now unix.Stat_t
	if err := unix.Fstat(fd, &now); err != nil {
		return f, fmt.Errorf("stat: %w", err)
	}
	f.restive = f.restive || now.Ctim != st.Ctim || st.Ino != was.Ino || st.Dev != was.Dev
	return f, nil
}

// digest gives that of what was hashed.
func (w *walker) digest() string {
	var text [len(prefix) + 64]byte
	var sum [32]byte
	copy(text[:], prefix)
	hex.Encode(text[len(prefix):], w.hash.Sum(sum[:0]))
	if string(text[:]) == nothing {
		return nothing
	}
	return string(text[:])
}

// nothing is the digest of no bytes, which many files have.
const nothing = prefix + "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// content hashes a file's bytes, holes as the zeros they are read as, and gives
// how many there were.
func (w *walker) content(fd int, st *unix.Stat_t) (int64, error) {
	w.hash.Reset()
	var at int64
	sparse := st.Blocks*512 < st.Size // stat(2): blocks of 512 bytes
	for at < st.Size {
		end := st.Size
		if sparse {
			data, err := unix.Seek(fd, at, unix.SEEK_DATA)
			if errors.Is(err, unix.ENXIO) { // lseek(2): nothing but a hole up to the end
				data, err = st.Size, nil
			}
			if err != nil {
				return at, fmt.Errorf("seek: %w", err)
			}
			data = min(data, st.Size)
			if err := w.zeros(data - at); err != nil {
				return at, err
			}
			if at = data; at == end {
				break
			}
			if end, err = unix.Seek(fd, at, unix.SEEK_HOLE); err != nil {
				return at, fmt.Errorf("seek: %w", err)
			}
			end = min(end, st.Size)
		}
		for at < end {
			if err := w.ctx.Err(); err != nil {
				return at, err
			}
			n, err := unix.Pread(fd, w.block[:min(int64(len(w.block)), end-at)], at)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return at, fmt.Errorf("read: %w", err)
			}
			if n == 0 { // it was cut meanwhile
				return at, nil
			}
			w.hash.Write(w.block[:n])
			at += int64(n)
		}
	}
	return at, nil
}

// zeros hashes a hole.
func (w *walker) zeros(n int64) error {
	if n > w.holes {
		return errHoles
	}
	w.holes -= n
	for n > 0 {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		part := min(n, int64(len(zero)))
		w.hash.Write(zero[:part])
		n -= part
	}
	return nil
}

var zero [256 << 10]byte

// given are attributes that the kernel gives to files by itself.
var given = []string{"security.selinux", "security.ima", "security.evm"}

// attributes reads those of an open file: xattr(7), and acl(5) as an attribute.
func (w *walker) attributes(fd int, f *file) error {
	n, err := unix.Flistxattr(fd, w.labels)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("attributes: %w", err)
	}
	if n == 0 {
		return nil
	}
	names := strings.Split(strings.TrimSuffix(string(w.labels[:n]), "\x00"), "\x00")
	slices.Sort(names)
	left := MaxXattrs
	for _, name := range names {
		switch {
		case strings.HasPrefix(name, markPrefix) && name != markOrigin, slices.Contains(given, name):
			continue
		case name == "security.capability":
			f.armed = true
			continue
		}
		value, err := w.xattr(fd, name)
		if err != nil {
			return err
		}
		switch {
		case value == nil: // taken away meanwhile
		case name == markOrigin:
			f.origin = bytes.Clone(value)
		case !strings.HasPrefix(name, userPrefix):
			f.others = append(f.others, Xattr{raw.String(name), bytes.Clone(value)})
		case len(name)+len(value) > left:
			left, f.beyond = 0, true
		default:
			left -= len(name) + len(value)
			f.Xattrs = append(f.Xattrs, Xattr{raw.String(name), bytes.Clone(value)})
		}
	}
	return nil
}

const userPrefix = "user."

func sameXattr(a, b Xattr) bool { return a.Name == b.Name && bytes.Equal(a.Value, b.Value) }

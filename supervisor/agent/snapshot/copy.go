// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/tree"
)

// BoundError says which bound a tree is over.
type BoundError struct{ Bounds Bounds }

func (e *BoundError) Error() string {
	text := fmt.Sprintf("it holds more than %d entries", e.Bounds.Entries)
	if e.Bounds.Bytes > 0 {
		text += fmt.Sprintf(" or %s of data", profiles.Bytes(e.Bounds.Bytes))
	}
	return text
}

// copier is a copy that is being made.
type copier struct {
	ctx    context.Context
	bounds Bounds
	count  Count
	plain  bool // the two file systems don't share blocks
	dry    bool // count, and copy nothing
}

// copyTree copies what the directory from holds into the empty directory to,
// which is root's own and which nobody else can reach, and then gives to the
// owner, mode and time of from. from may be anybody's.
func copyTree(ctx context.Context, from, to int, bounds Bounds) (Count, error) {
	t := &copier{ctx: ctx, bounds: bounds}
	err := t.directory(from, to, 0)
	return t.count, err
}

// Measure counts what a copy of the state directory would hold. What is over the
// bounds is a *BoundError.
func Measure(ctx context.Context, state string, bounds Bounds) (Count, error) {
	fd, err := openDir(state, unix.O_PATH)
	if err != nil {
		return Count{}, err
	}
	defer unix.Close(fd)
	t := &copier{ctx: ctx, bounds: bounds, dry: true}
	err = t.directory(fd, -1, 0)
	return t.count, err
}

// directory copies the entries, and last of all the directory's own facts: to
// stays root's until everything in it is there.
func (t *copier) directory(from, to, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return fmt.Errorf("fstat: %w", err)
	}
	err := tree.Each(from, func(name string) error { return t.entry(from, to, name, depth) })
	if errors.Is(err, os.ErrNotExist) { // removed while it was read
		t.count.Gone++
		err = nil
	}
	if err != nil || t.dry {
		return err
	}
	return settle(to, &st)
}

// entry copies one name.
func (t *copier) entry(from, to int, name string, depth int) error {
	if err := t.ctx.Err(); err != nil {
		return err
	}
	fd, err := unix.Openat2(from, name, tree.Beneath(unix.O_PATH|unix.O_NOFOLLOW))
	switch {
	case errors.Is(err, unix.EXDEV):
		t.count.Mounted++
		return nil
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESTALE):
		t.count.Gone++
		return nil
	case err != nil:
		return fmt.Errorf("open: %w", err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("fstat: %w", err)
	}
	kind := st.Mode & unix.S_IFMT
	switch kind {
	case unix.S_IFREG, unix.S_IFLNK:
	case unix.S_IFDIR:
		if depth+1 >= MaxDepth {
			t.count.Deep++
			return nil
		}
	default:
		t.count.Special++
		return nil
	}
	if t.count.Entries++; t.count.Entries > t.bounds.Entries {
		return &BoundError{t.bounds}
	}
	switch {
	case t.dry && kind == unix.S_IFDIR:
		return t.directory(fd, -1, depth+1)
	case t.dry:
		return t.take(min(st.Size, st.Blocks*512))
	case kind == unix.S_IFLNK:
		return t.link(fd, to, name, &st)
	case kind == unix.S_IFDIR:
		if err := unix.Mkdirat(to, name, 0o700); err != nil {
			return fmt.Errorf("mkdir: %w", err)
		}
		// The new tree is root's own: what was made is what is opened.
		made, err := unix.Openat2(to, name, tree.Beneath(unix.O_RDONLY|unix.O_DIRECTORY))
		if err != nil {
			return fmt.Errorf("open copy: %w", err)
		}
		defer unix.Close(made)
		return t.directory(fd, made, depth+1)
	}
	return t.file(fd, to, name, &st)
}

// link makes the same link. What it says is never looked at.
func (t *copier) link(fd, to int, name string, st *unix.Stat_t) error {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return fmt.Errorf("readlink: %w", err)
	}
	if err := unix.Symlinkat(string(buf[:n]), to, name); err != nil {
		return fmt.Errorf("symlink: %w", err)
	}
	if err := unix.Fchownat(to, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("chown: %w", err)
	}
	return times(to, name, st)
}

// file copies a regular one.
func (t *copier) file(fd, to int, name string, st *unix.Stat_t) error {
	from, err := reopen(fd, unix.O_RDONLY|unix.O_NONBLOCK) // a lease makes nobody wait
	if err != nil {
		return err
	}
	defer unix.Close(from)
	made, err := unix.Openat2(to, name, &unix.OpenHow{
		Flags: unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_CLOEXEC, Mode: 0o600,
		Resolve: tree.Beneath(0).Resolve,
	})
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	defer unix.Close(made)
	if err := t.data(from, made, st); err != nil {
		return err
	}
	if err := settle(made, st); err != nil {
		return err
	}
	return nil
}

// data copies bytes: all at once as shared blocks, or extent by extent.
func (t *copier) data(from, to int, st *unix.Stat_t) error {
	if !t.plain && st.Size > 0 {
		err := unix.IoctlFileClone(to, from)
		if err == nil {
			return t.take(st.Blocks * 512)
		}
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			return fmt.Errorf("clone: %w", err)
		}
		t.plain = true // EOPNOTSUPP, EXDEV and their kind: it won't for the next one either
	}
	for at := int64(0); at < st.Size; {
		begin, err := unix.Seek(from, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // nothing but a hole from here on
			break
		}
		if err != nil {
			return fmt.Errorf("seek: %w", err)
		}
		end, err := unix.Seek(from, begin, unix.SEEK_HOLE)
		if err != nil {
			return fmt.Errorf("seek: %w", err)
		}
		// What is appended meanwhile is not followed: it might never end.
		if end = min(end, st.Size); begin >= end {
			break
		}
		if err := t.extent(from, to, begin, end); err != nil {
			return err
		}
		at = end
	}
	if err := unix.Ftruncate(to, st.Size); err != nil {
		return fmt.Errorf("truncate: %w", err)
	}
	return nil
}

// chunk is how much is copied before the context and the bounds are looked at again.
const chunk = 8 << 20

func (t *copier) extent(from, to int, begin, end int64) error {
	in, out := begin, begin
	for in < end {
		if err := t.ctx.Err(); err != nil {
			return err
		}
		n, err := unix.CopyFileRange(from, &in, to, &out, int(min(end-in, chunk)), 0)
		if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
			return t.bytes(from, to, in, end)
		}
		if err != nil {
			return fmt.Errorf("copy: %w", err)
		}
		if n == 0 { // cut short meanwhile
			return nil
		}
		if err := t.take(int64(n)); err != nil {
			return err
		}
	}
	return nil
}

// bytes copies where the kernel does not by itself.
func (t *copier) bytes(from, to int, at, end int64) error {
	buf := make([]byte, 256<<10)
	for at < end {
		if err := t.ctx.Err(); err != nil {
			return err
		}
		n, err := unix.Pread(from, buf[:min(int64(len(buf)), end-at)], at)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if n == 0 {
			return nil
		}
		if err := t.take(int64(n)); err != nil {
			return err
		}
		for b := buf[:n]; len(b) > 0; {
			n, err := unix.Pwrite(to, b, at)
			if err != nil && !errors.Is(err, unix.EINTR) {
				return fmt.Errorf("write: %w", err)
			}
			b, at = b[max(n, 0):], at+int64(max(n, 0))
		}
	}
	return nil
}

func (t *copier) take(n int64) error {
	t.count.Bytes += n
	if t.bounds.Bytes > 0 && t.count.Bytes > t.bounds.Bytes {
		return &BoundError{t.bounds}
	}
	return nil
}

// reopen opens the very file that an O_PATH descriptor stands for.
func reopen(fd, flags int) (int, error) {
	again, err := unix.Open("/proc/self/fd/"+strconv.Itoa(fd), flags|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return -1, fmt.Errorf("open: %w", err)
	}
	return again, nil
}

// settle gives a new file or directory the facts of the old one, without
// set-user-id and set-group-id. The owner comes first: a change of it clears bits.
func settle(fd int, st *unix.Stat_t) error {
	if err := unix.Fchown(fd, int(st.Uid), int(st.Gid)); err != nil {
		return fmt.Errorf("chown: %w", err)
	}
	if err := unix.Fchmod(fd, st.Mode&0o1777); err != nil {
		return fmt.Errorf("chmod: %w", err)
	}
	return times(fd, "", st)
}

// times sets the last change. An empty name means fd itself.
func times(fd int, name string, st *unix.Stat_t) error {
	flags := unix.AT_SYMLINK_NOFOLLOW
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	if err := unix.UtimesNanoAt(fd, name, []unix.Timespec{{Nsec: unix.UTIME_OMIT}, st.Mtim}, flags); err != nil {
		return fmt.Errorf("utimensat: %w", err)
	}
	return nil
}

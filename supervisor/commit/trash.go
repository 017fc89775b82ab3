// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/tree"
)

// Trashed is one thing in the trash of a change set.
type Trashed struct {
	Path raw.String     `json:"path"` // where it was
	Type changeset.Type `json:"type"`
	Size int64          `json:"size"` // bytes, of all that is in it
	Gone bool           `json:"gone"` // it was brought back, or emptied
}

// partial is a name in the trash while something is copied to it.
const partial = "partial-"

// openTrash makes the trash of a commit, or opens it again, for the
// workspace's owner: it is in a directory that only root passes.
func openTrash(dir *os.File, owner int, group int) (*os.File, error) {
	err := mkdir(int(dir.Fd()), trashName)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("make the trash: %w", err)
	}
	fd, err := unix.Openat2(int(dir.Fd()), trashName, beneath(unix.O_RDONLY|unix.O_DIRECTORY))
	if err != nil {
		return nil, fmt.Errorf("open the trash: %w", err)
	}
	f := os.NewFile(uintptr(fd), trashName)
	if err := chown(f, owner, group); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("make the trash: %w", err)
	}
	return f, nil
}

// stow moves what is hidden in a directory to the trash, under the item's
// number. Where a rename can't, it is copied.
func (w *work) stow(i, dir int, name string) error {
	number := strconv.Itoa(i)
	if done, err := lstat(w.trash, number); err != nil {
		return trashError(err)
	} else if typeOf(&done) != changeset.None {
		if !w.again { // nothing has that number but by this commit, or by whom the trash belongs to
			return trashError(errors.New("something is in its place"))
		}
		return trashError(w.clear(dir, name)) // it was copied, and not all was removed
	}
	st, err := lstat(dir, name)
	if err != nil {
		return trashError(err)
	}
	if typeOf(&st) == changeset.Directory { // to move it takes a right in it
		if fd, err := w.unlock(dir, name); err == nil {
			_ = unix.Close(fd)
		}
	}
	err = move(dir, name, w.trash, number)
	if err == nil && typeOf(&st) == changeset.Directory {
		w.mode(number, &st)
	}
	if !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.EACCES) {
		return trashError(err)
	}
	if err := w.clear(w.trash, partial+number); err != nil {
		return trashError(err)
	}
	if err := w.duplicate(dir, name, w.trash, partial+number); err != nil {
		return trashError(errors.Join(err, w.clear(w.trash, partial+number)))
	}
	if err := move(w.trash, partial+number, w.trash, number); err != nil {
		return trashError(err)
	}
	if err := fsync(w.trash); err != nil {
		return trashError(err)
	}
	return trashError(w.clear(dir, name))
}

func trashError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("keep it in the trash: %w", err)
}

// mode gives a directory in the trash its mode again.
func (w *work) mode(name string, st *unix.Stat_t) {
	fd, err := unix.Openat2(w.trash, name, beneath(unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW))
	if err != nil {
		return
	}
	defer unix.Close(fd)
	var now unix.Stat_t
	if unix.Fstat(fd, &now) == nil && now.Mode != st.Mode {
		_ = chmod(fd, st.Mode&0o7777)
	}
}

// stowed says whether the trash has what was displaced for an item.
func (w *work) stowed(i int) bool {
	st, err := lstat(w.trash, strconv.Itoa(i))
	return err == nil && typeOf(&st) != changeset.None
}

// discard removes what was made for an item that came to nothing. If it is
// something else, it is kept in the trash.
func (w *work) discard(i int) {
	dir, err := w.place.dir(parent(w.now(w.stage[i])), inode{}, writing)
	if err != nil {
		return
	}
	st, err := lstat(dir, w.hide(i))
	switch {
	case err != nil || typeOf(&st) == changeset.None:
	case inodeOf(&st) == w.items[i].Staged || w.items[i].Staged == inode{}:
		_ = w.clear(dir, w.hide(i))
	default:
		_ = w.stow(i, dir, w.hide(i))
	}
}

// duplicate copies a file, link or directory with its modes, mtimes and user.*
// attributes, to the disk.
func (w *work) duplicate(from int, name string, to int, other string) error {
	st, err := lstat(from, name)
	if err != nil {
		return err
	}
	switch typeOf(&st) {
	case changeset.Regular:
		err = w.duplicateFile(from, name, to, other, &st)
	case changeset.Directory:
		err = w.duplicateDir(from, name, to, other, &st)
	case changeset.Symlink:
		b := make([]byte, unix.PathMax)
		n, e := unix.Readlinkat(from, name, b)
		if e != nil {
			return e
		}
		err = symlink(string(b[:n]), to, other)
	default:
		return errors.New("a device, FIFO or socket can't be copied to another file system")
	}
	if err != nil {
		return err
	}
	return stamp(to, other, st.Mtim.Nano())
}

func (w *work) duplicateFile(from int, name string, to int, other string, st *unix.Stat_t) error {
	src, err := unix.Openat2(from, name, beneath(unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK))
	if errors.Is(err, unix.EACCES) && int(st.Uid) == w.owner.UID { // a mode without r forbids it to the owner too
		src, err = w.readAnyway(from, name, st)
	}
	if err != nil {
		return err
	}
	defer unix.Close(src)
	dst, err := create(to, other)
	if err != nil {
		return err
	}
	defer unix.Close(dst)
	if err := w.transfer(nil, dst, src, st); err != nil {
		return err
	}
	if err := copyXattrs(dst, src); err != nil {
		return err
	}
	if err := chmod(dst, st.Mode&0o7777); err != nil {
		return err
	}
	return fsync(dst)
}

// readAnyway opens a file of the owner's that they took the right from
// themselves. It leaves the workspace in this moment.
func (w *work) readAnyway(from int, name string, st *unix.Stat_t) (int, error) {
	fd, err := unix.Openat2(from, name, beneath(unix.O_PATH|unix.O_NOFOLLOW))
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	if err := chmod(fd, st.Mode&0o7777|0o400); err != nil {
		return -1, err
	}
	src, err := unix.Openat2(from, name, beneath(unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK))
	return src, errors.Join(err, chmod(fd, st.Mode&0o7777))
}

func (w *work) duplicateDir(from int, name string, to int, other string, st *unix.Stat_t) error {
	src, err := w.unlock(from, name)
	if err != nil {
		return err
	}
	defer unix.Close(src)
	if err := mkdir(to, other); err != nil {
		return err
	}
	dst, err := unix.Openat2(to, other, beneath(unix.O_RDONLY|unix.O_DIRECTORY))
	if err != nil {
		return err
	}
	defer unix.Close(dst)
	if err := tree.Each(src, func(entry string) error { return w.duplicate(src, entry, dst, entry) }); err != nil {
		return err
	}
	if err := copyXattrs(dst, src); err != nil {
		return err
	}
	if err := chmod(dst, st.Mode&0o7777); err != nil {
		return err
	}
	return fsync(dst)
}

// copyXattrs copies user.* attributes; where there can't be any, there are none.
func copyXattrs(to, from int) error {
	list, err := xattrs(from)
	if err != nil {
		return err
	}
	return setXattrs(to, list)
}

// xattrs gives the user.* attributes of a descriptor, one of O_PATH too.
func xattrs(fd int) ([]changeset.Xattr, error) {
	names := make([]byte, 1<<16) // XATTR_LIST_MAX
	n, err := unix.Listxattr(proc(fd), names)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []changeset.Xattr
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if !strings.HasPrefix(name, userXattr) {
			continue
		}
		value := make([]byte, 1<<16) // XATTR_SIZE_MAX
		n, err := unix.Getxattr(proc(fd), name, value)
		if err != nil {
			return nil, err
		}
		list = append(list, changeset.Xattr{Name: raw.String(name), Value: value[:n:n]})
	}
	return list, nil
}

// alterXattrs gives a file the attributes that it has after, and no others.
func alterXattrs(fd int, want []changeset.Xattr) error {
	have, err := xattrs(fd)
	if err != nil {
		return err
	}
	wanted := map[raw.String]string{}
	for _, x := range want {
		wanted[x.Name] = string(x.Value)
	}
	for _, x := range have {
		value, ok := wanted[x.Name]
		if !ok {
			if err := removeXattr(fd, string(x.Name)); err != nil {
				return err
			}
		} else if value == string(x.Value) {
			delete(wanted, x.Name)
		}
	}
	var set []changeset.Xattr
	for _, x := range want {
		if _, ok := wanted[x.Name]; ok {
			set = append(set, x)
		}
	}
	return setXattrs(fd, set)
}

// Trash lists what a commit in dir replaced and deleted.
func Trash(dir string) ([]Trashed, error) {
	all, err := readLanded(dir)
	if err != nil {
		return nil, err
	}
	index := map[string]int{}
	var list []Trashed
	for _, l := range all {
		if l.Trash == "" {
			continue
		}
		top, _, within := strings.Cut(string(l.Trash), "/")
		if !within {
			index[top] = len(list)
			_, err := os.Lstat(dir + "/" + trashName + "/" + top)
			list = append(list, Trashed{Path: l.At, Type: l.Entry.Before.Type, Gone: errors.Is(err, os.ErrNotExist)})
		}
		if i, ok := index[top]; ok {
			list[i].Size += l.Entry.Before.Size
		}
	}
	return list, nil
}

// Empty removes the trash of a commit; it can't be undone then.
func Empty(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("empty the trash: %w", err)
	}
	defer f.Close()
	err = tree.Remove(context.Background(), int(f.Fd()), trashName)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("empty the trash: %w", err)
	}
	return nil
}

func beneath(flags int) *unix.OpenHow { return tree.Beneath(flags) }

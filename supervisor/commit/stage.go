// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/tree"
)

// content is a source that was opened ahead.
type content struct {
	item int
	file *os.File
	err  error
}

// ahead bounds the sources that are open.
const ahead = 16

// sources opens what the items need, in their order, as root: it is called
// where the thread of the workspace's owner is not. stop ends it early.
func (w *work) sources(s Source, links map[int]int, stop <-chan struct{}) <-chan content {
	out := make(chan content, ahead)
	var want []int
	for i := range w.items {
		if _, other := links[i]; !other && w.made(i) && w.items[i].Entry.After.Type == changeset.Regular {
			want = append(want, i)
		}
	}
	go func() {
		defer close(out)
		for _, i := range want {
			c := content{item: i}
			e := w.items[i].Entry
			if c.file, c.err = s.Open(&e); c.err == nil && c.file == nil {
				c.err = errors.New("there is no content")
			}
			select {
			case out <- c:
			case <-stop:
				if c.file != nil {
					_ = c.file.Close()
				}
				return
			}
		}
	}()
	return out
}

// made says whether something is staged for an item.
func (w *work) made(i int) bool {
	k := w.items[i].Entry.Kind
	return k == changeset.Created || k == changeset.Modified
}

// links gives, for each item that is another name of one before it, that one.
// Where the first is not applied, the first of the others takes its part.
func (w *work) links() map[int]int {
	names := map[string]int{}
	links := map[int]int{}
	for i := range w.items {
		e := &w.items[i].Entry
		if e.Kind != changeset.Created || e.Link == "" {
			continue
		}
		first, ok := w.placed[string(e.Link)]
		if !ok || w.items[first].Entry.Kind != changeset.Created {
			first, ok = w.other[string(e.Link)]
		}
		if !ok {
			first, ok = names[string(e.Link)]
		}
		if !ok || first >= i {
			names[string(e.Link)] = i
			continue
		}
		links[i] = first
	}
	return links
}

// stageAll makes all that is to be new.
func (w *work) stageAll(in <-chan content, links map[int]int, trusted bool) error {
	w.buffer = make([]byte, 1<<20)
	for i := range w.items {
		if !w.made(i) {
			continue
		}
		if err := w.ctx.Err(); err != nil {
			return err
		}
		var err error
		first, other := links[i]
		switch {
		case other:
			if w.live(i) {
				err = w.stageLink(i, first)
			}
		case w.items[i].Entry.After.Type == changeset.Regular:
			c, ok := <-in
			switch {
			case !ok || c.item != i:
				err = errFatal{errors.New("the sources came in another order")}
			case c.err != nil:
				err = fmt.Errorf("open its content: %w", c.err)
			case w.live(i):
				err = w.stageFile(i, c.file, trusted)
			}
			if c.file != nil {
				_ = c.file.Close()
			}
		case w.live(i):
			err = w.stageOther(i)
		}
		if fatal(err) {
			return fmt.Errorf("stage %s: %w", quote(string(w.items[i].Entry.Path)), err)
		}
		if err != nil {
			w.blame(i, err)
			if err := w.unstage(i); err != nil {
				return err
			}
		}
		w.place.trim()
	}
	return w.finish()
}

// into opens the directory that an item is staged in.
func (w *work) into(i int) (fd int, name string, err error) {
	fd, err = w.place.dir(parent(w.stage[i]), w.home(i), writing)
	return fd, base(w.stage[i]), err
}

func (w *work) stageFile(i int, src *os.File, trusted bool) error {
	e := &w.items[i].Entry
	if trusted {
		if adopted, err := w.adopt(i, int(src.Fd())); adopted || err != nil {
			return err
		}
	}
	dir, name, err := w.into(i)
	if err != nil {
		return err
	}
	fd, err := create(dir, name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := w.copy(fd, src, e, trusted); err != nil {
		return err
	}
	if err := setXattrs(fd, e.After.Xattrs); err != nil {
		return err
	}
	if err := chmod(fd, e.After.Mode&plain); err != nil {
		return err
	}
	if err := stamp(dir, name, e.After.Modified); err != nil {
		return err
	}
	if w.small() {
		if err := fsync(fd); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	w.items[i].Staged = inodeOf(&st)
	return nil
}

// adopt gives a file of the trash, if it is in all what it was, another name
// where it is to be: owner, ACLs and all else come back with it. Where that
// can't be, it is copied.
func (w *work) adopt(i, src int) (bool, error) {
	e := &w.items[i].Entry
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return false, err
	}
	a := &e.After
	if typeOf(&st) != a.Type || st.Size != a.Size || st.Mode&0o7777 != a.Mode || st.Uid != a.UID || st.Gid != a.GID || st.Mtim.Nano() != a.Modified {
		return false, nil
	}
	dir, name, err := w.into(i)
	if err != nil {
		return false, err
	}
	var home unix.Stat_t
	if err := unix.Fstat(dir, &home); err != nil || home.Dev != st.Dev {
		return false, err
	}
	if a.Digest != "" { // else it has more holes than were read, and times and owner must do
		if sum, err := w.pour(-1, src, &st); err != nil || sum != a.Digest {
			return false, cmp.Or(err, errContent)
		}
	}
	if int(st.Uid) == w.owner.UID {
		err = linkOpen(src, dir, name)
	} else {
		// Where links are protected (proc_sys_fs(5)), one to another's file
		// takes a capability: a thread that does nothing else has it.
		if w.kin == nil {
			if w.kin, err = lend(w.owner, unix.CAP_FOWNER); err != nil {
				return false, errFatal{err}
			}
		}
		err = w.kin.do(func() error { return linkOpen(src, dir, name) })
	}
	if err == nil && w.small() {
		err = fsync(src)
	}
	if fatal(err) {
		return false, err
	}
	if err == nil {
		w.items[i].Staged = inodeOf(&st)
	}
	return err == nil, nil
}

// plain are the mode bits that are committed: not setuid, not setgid.
const plain = 0o1777

// copy writes content, holes left out, and compares it with what was judged.
func (w *work) copy(fd int, src *os.File, e *changeset.Entry, trusted bool) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(src.Fd()), &st); err != nil {
		return err
	}
	if typeOf(&st) != changeset.Regular || st.Size != e.After.Size {
		return errContent
	}
	if trusted && e.After.Digest == "" {
		// Nothing tells that it is the file that went into the trash, and root has
		// it open: one that is neither its owner's nor the workspace's owner's is not.
		if st.Uid != e.After.UID && int(st.Uid) != w.owner.UID {
			return errContent
		}
		return w.transfer(nil, fd, int(src.Fd()), &st)
	}
	sum, err := w.pour(fd, int(src.Fd()), &st)
	if err != nil {
		return err
	}
	if sum != e.After.Digest {
		return errContent
	}
	return nil
}

var errContent = errors.New("its content is not what was judged")

// pour copies a file and gives the digest of what was copied. The bytes are
// read once for both; where blocks can be shared they are only read. to may be
// -1: nothing is copied.
func (w *work) pour(to, from int, st *unix.Stat_t) (string, error) {
	h := sha256.New()
	if err := w.transfer(h, to, from, st); err != nil {
		return "", err
	}
	return digest(h), nil
}

// transfer is pour with a hash of the caller's; nil: there is none, and holes,
// which may be those of a petabyte, are not gone through.
func (w *work) transfer(h hash.Hash, to, from int, st *unix.Stat_t) error {
	shared := to < 0
	if !shared && st.Size > 0 && clone(to, from) == nil {
		shared, from = true, to
	}
	if shared && h == nil {
		return nil
	}
	if st.Blocks*512 >= st.Size {
		return w.span(h, to, from, 0, st.Size, shared)
	}
	for off := int64(0); off < st.Size; {
		data, err := unix.Seek(from, off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			data, err = st.Size, nil
		}
		if err != nil {
			return err
		}
		data = min(data, st.Size)
		if err := w.zeros(h, data-off); err != nil {
			return err
		}
		if data == st.Size {
			break
		}
		end, err := unix.Seek(from, data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		end = min(end, st.Size)
		if err := w.span(h, to, from, data, end, shared); err != nil {
			return err
		}
		off = end
	}
	if !shared {
		return truncate(to, st.Size)
	}
	return nil
}

func digest(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

// span copies bytes from off to end.
func (w *work) span(h hash.Hash, to, from int, off, end int64, shared bool) error {
	for off < end {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		n, err := unix.Pread(from, w.buffer[:min(int64(len(w.buffer)), end-off)], off)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return errContent // it was cut
		}
		if h != nil {
			h.Write(w.buffer[:n])
		}
		if !shared {
			if err := pwrite(to, w.buffer[:n], off); err != nil {
				return err
			}
		}
		off += int64(n)
	}
	return nil
}

// zeros adds a hole to a digest.
func (w *work) zeros(h hash.Hash, n int64) error {
	if n == 0 || h == nil {
		return nil
	}
	clear(w.buffer)
	for n > 0 {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		part := min(n, int64(len(w.buffer)))
		h.Write(w.buffer[:part])
		n -= part
	}
	return nil
}

func (w *work) stageLink(i, first int) error {
	if !w.live(first) || w.items[first].Staged == (inode{}) {
		return fmt.Errorf("it is another name of %s, which could not be applied", quote(string(w.items[first].Entry.Path)))
	}
	from, err := w.place.dir(parent(w.stage[first]), w.home(first), writing)
	if err != nil {
		return err
	}
	dir, name, err := w.into(i)
	if err != nil {
		return err
	}
	if err := link(from, base(w.stage[first]), dir, name); err != nil {
		return err
	}
	w.items[i].Staged = w.items[first].Staged
	return nil
}

// stageOther makes a directory or a symbolic link.
func (w *work) stageOther(i int) error {
	e := &w.items[i].Entry
	dir, name, err := w.into(i)
	if err != nil {
		return err
	}
	switch e.After.Type {
	case changeset.Directory:
		err = mkdir(dir, name)
	case changeset.Symlink:
		if err = symlink(string(e.Target), dir, name); err == nil {
			err = stamp(dir, name, e.After.Modified)
		}
	default:
		err = errors.New("a file of this type is never committed")
	}
	if err != nil {
		return err
	}
	st, err := lstat(dir, name)
	w.items[i].Staged = inodeOf(&st)
	return err
}

// finish gives the directories that were made, the innermost first, what has
// to wait until they are filled. What directories come into by a rename has to
// wait for that too.
func (w *work) finish() error {
	for i := range slices.Backward(w.items) {
		if !w.made(i) || !w.live(i) || w.items[i].Entry.After.Type != changeset.Directory || w.receives(i) {
			continue
		}
		if err := w.finishDir(i, w.stage[i]); err != nil {
			if fatal(err) {
				return err
			}
			w.blame(i, err)
		}
		w.place.trim()
	}
	return nil
}

// receives says whether a renamed directory comes into a new one, at any depth.
func (w *work) receives(i int) bool {
	for _, j := range w.users[i] {
		k := w.items[j].Entry.Kind
		if w.items[j].Within == i && (k == changeset.Renamed || k == changeset.Created && w.items[j].Entry.After.Type == changeset.Directory && w.receives(j)) {
			return true
		}
	}
	return false
}

// finishDir sets a new directory's attributes, mode and mtime.
func (w *work) finishDir(i int, path string) error {
	e := &w.items[i].Entry
	dir, err := w.place.dir(parent(path), w.home(i), search)
	if err != nil {
		return err
	}
	fd, err := w.place.dir(path, w.items[i].Staged, 0)
	if err != nil {
		return err
	}
	if err := setXattrs(fd, e.After.Xattrs); err != nil {
		return err
	}
	open, err := unix.Openat2(fd, ".", tree.Beneath(unix.O_RDONLY|unix.O_DIRECTORY)) // its mode may forbid it later
	if err != nil {
		return err
	}
	defer unix.Close(open)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	// What is made in a directory with setgid has it too (inode(7)).
	if err := chmod(fd, e.After.Mode&plain|st.Mode&unix.S_ISGID); err != nil {
		return err
	}
	if err := stamp(dir, base(path), e.After.Modified); err != nil || !w.small() {
		return err
	}
	return fsync(open)
}

func setXattrs(fd int, list []changeset.Xattr) error {
	for _, x := range list {
		if !strings.HasPrefix(string(x.Name), userXattr) {
			continue
		}
		if err := setXattr(fd, string(x.Name), x.Value); err != nil {
			return fmt.Errorf("set the attribute %s: %w", quote(string(x.Name)), err)
		}
	}
	return nil
}

const userXattr = "user."

// unstage removes what was made for an item.
func (w *work) unstage(i int) error {
	w.place.forget()
	dir, err := w.place.dir(parent(w.stage[i]), inode{}, writing)
	if errors.Is(err, errMoved) {
		return nil
	}
	if err != nil {
		return err
	}
	return w.clear(dir, base(w.stage[i]))
}

// few is how many files are brought to the disk one by one; more are by
// syncfs(2).
const few = 24

// settleStage brings what was made to the disk, where it isn't yet.
func (w *work) settleStage() error {
	dirs := map[string]bool{}
	for i := range w.items {
		if w.made(i) && w.live(i) && w.top(i) {
			dirs[parent(w.stage[i])] = true
		}
	}
	return w.flush(dirs)
}

// flush brings directories to the disk, or everything.
func (w *work) flush(dirs map[string]bool) error {
	if !w.small() || len(dirs) > few {
		dirs = map[string]bool{"": true}
	}
	for path := range dirs {
		fd, err := w.list(path)
		if err == nil {
			if w.small() {
				err = fsync(fd)
			} else {
				err = syncfs(fd)
			}
			_ = unix.Close(fd)
		}
		if err != nil && !errors.Is(err, errMoved) {
			return err
		}
	}
	return nil
}

func (w *work) small() bool { return len(w.items) <= few }

// list opens a directory for fsync(2) and for its names.
func (w *work) list(path string) (int, error) {
	fd, err := w.place.dir(path, inode{}, listing)
	if err != nil {
		return -1, err
	}
	return unix.Openat2(fd, ".", tree.Beneath(unix.O_RDONLY|unix.O_DIRECTORY))
}

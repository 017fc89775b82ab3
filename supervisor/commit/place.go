// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/tree"
)

// inode is what a directory is held to be.
type inode struct {
	Dev uint64 `json:"dev"`
	Ino uint64 `json:"ino"`
}

// errMoved says that a directory isn't there, or is another.
var errMoved = errors.New("its directory is gone, or another is in its place")

// Rights that a directory is opened for, as the lowest bits of a mode.
const (
	search  = 1
	writing = 3
	listing = 5
	all     = 7
)

// place is a workspace. It opens directories from descriptor to descriptor,
// one name at a time, so that neither a link nor the length of a path matters.
type place struct {
	root int                                                // descriptor, not its own
	open map[string]held                                    // by path; "" is the root
	let  func(fd int, path string, st *unix.Stat_t) error   // is asked to give its owner all rights in a directory
	may  func(st *unix.Stat_t, rights uint32) (enough bool) // whether it is needed
}

type held struct {
	fd int
	id inode
}

// maxHeld bounds the descriptors that are kept from one step to the next.
const maxHeld = 128

func newPlace(root int, owner uint32) *place {
	return &place{root: root, open: map[string]held{}, may: func(st *unix.Stat_t, rights uint32) bool {
		return st.Uid != owner || st.Mode>>6&rights == rights
	}}
}

// forget closes what is held: paths lead elsewhere now.
func (p *place) forget() {
	for path, h := range p.open {
		_ = unix.Close(h.fd)
		delete(p.open, path)
	}
}

// forgetBelow closes what is held of a directory that leaves its path.
func (p *place) forgetBelow(path string) {
	for k, h := range p.open {
		if k == path || strings.HasPrefix(k, path+"/") {
			_ = unix.Close(h.fd)
			delete(p.open, k)
		}
	}
}

// trim is for between two steps.
func (p *place) trim() {
	if len(p.open) > maxHeld {
		p.forget()
	}
}

// dir gives a descriptor (O_PATH) of a directory, which is good until trim or
// forget. want is what it must be; zero: any.
func (p *place) dir(path string, want inode, rights uint32) (int, error) {
	h, ok := p.open[path]
	if !ok {
		var err error
		if h, err = p.walk(path); err != nil {
			return -1, err
		}
		p.open[path] = h
	}
	if want != (inode{}) && h.id != want {
		return -1, errMoved
	}
	return h.fd, p.allow(h.fd, path, rights)
}

// walk opens a directory, from the nearest that is held.
func (p *place) walk(path string) (held, error) {
	from, fd, kept := "", p.root, true
	for up := path; up != ""; up = parent(up) {
		if h, ok := p.open[up]; ok {
			from, fd = up, h.fd
			break
		}
	}
	rest := strings.TrimPrefix(path[len(from):], "/")
	if rest == "" {
		rest = "." // the root
	}
	for name := range strings.SplitSeq(rest, "/") {
		next, err := p.enter(fd, from, name)
		if !kept {
			_ = unix.Close(fd)
		}
		if err != nil {
			return held{}, err
		}
		fd, kept, from = next, false, join(from, name)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return held{}, err
	}
	return held{fd: fd, id: inodeOf(&st)}, nil
}

// enter opens one directory in another.
func (p *place) enter(fd int, path, name string) (int, error) {
	how := tree.Beneath(unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW)
	next, err := unix.Openat2(fd, name, how)
	if errors.Is(err, unix.EACCES) && name != "." {
		if err = p.allow(fd, path, search); err == nil {
			next, err = unix.Openat2(fd, name, how)
		}
	}
	for _, gone := range []error{unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.EXDEV} {
		if errors.Is(err, gone) {
			return -1, errMoved
		}
	}
	return next, err
}

// allow gives the owner's own directory the rights that it lacks.
func (p *place) allow(fd int, path string, rights uint32) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if p.may(&st, rights) {
		return nil
	}
	return p.let(fd, path, &st)
}

// look gives what is at a path, in the directory home (zero: any). There is
// nothing where the type is None.
func (p *place) look(path string, home inode) (unix.Stat_t, error) {
	fd, err := p.dir(parent(path), home, search)
	if err != nil {
		return unix.Stat_t{}, err
	}
	return lstat(fd, base(path))
}

// lstat gives a mode of 0 where there is nothing.
func lstat(fd int, name string) (st unix.Stat_t, err error) {
	err = unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT)
	if errors.Is(err, unix.ENOENT) {
		return unix.Stat_t{}, nil
	}
	return st, err
}

func inodeOf(st *unix.Stat_t) inode { return inode{Dev: st.Dev, Ino: st.Ino} }

func identityOf(st *unix.Stat_t) changeset.Identity {
	return changeset.Identity{Dev: st.Dev, Ino: st.Ino, Ctime: st.Ctim.Nano()}
}

func typeOf(st *unix.Stat_t) changeset.Type {
	switch st.Mode & unix.S_IFMT {
	case 0:
		return changeset.None
	case unix.S_IFREG:
		return changeset.Regular
	case unix.S_IFDIR:
		return changeset.Directory
	case unix.S_IFLNK:
		return changeset.Symlink
	}
	return changeset.Special
}

// proper says whether a path is one of names alone.
func proper(path string) bool {
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." || name == ".." || strings.IndexByte(name, 0) >= 0 {
			return false
		}
	}
	return true
}

// parent of a path in the root is "".
func parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return ""
}

func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

func join(dir, name string) string {
	if dir == "" || dir == "." {
		return name
	}
	return dir + "/" + name
}

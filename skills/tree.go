// SPDX-License-Identifier: Apache-2.0

package skills

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Bounds of one skill folder.
const (
	MaxFiles     = 4096     // files, directories and links
	MaxBytes     = 64 << 20 // bytes of all files together
	MaxFileBytes = 32 << 20 // bytes of one file
	MaxDepth     = 32       // directories below the folder
	MaxFileName  = 255      // bytes of one name (NAME_MAX of Linux)
	MaxPath      = 1024     // bytes of one path below the folder
	MaxSkillMD   = 1 << 20  // bytes of SKILL.md
	maxLinks     = 40       // links followed to find where one leads, as the kernel does
)

// skillFile is the file that makes a folder a skill.
const skillFile = "SKILL.md"

// kind is what an entry is; its letter stands in the canonical manifest.
type kind byte

const (
	kindDir  kind = 'd'
	kindFile kind = 'f'
	kindLink kind = 'l'
)

// entry is one file, directory or link below the folder.
type entry struct {
	path   string // relative, with slashes
	kind   kind
	exec   bool   // a file with an execute bit
	size   int64  // of a file, as read
	sum    string // hex SHA-256 of a file's content
	target string // of a link
	code   bool   // a file that the kernel can execute by its first bytes
}

// tree is a whole folder, its entries sorted by path.
type tree []entry

// digest is the SHA-256 of the canonical manifest, as the package comment
// describes it.
func (t tree) digest() string {
	h := sha256.New()
	io.WriteString(h, "clawsup-skill 1\n")
	for _, e := range t {
		var fields []string
		switch e.kind {
		case kindDir:
			fields = []string{"d", e.path}
		case kindFile:
			x := "-"
			if e.exec {
				x = "x"
			}
			fields = []string{"f", x, strconv.FormatInt(e.size, 10), e.sum, e.path}
		case kindLink:
			fields = []string{"l", e.target, e.path}
		}
		io.WriteString(h, strings.Join(fields, "\x00")+"\n")
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// checkLinks refuses a link that leads out of the folder: by its text, or by
// way of the other links that it passes. A link to something that isn't there is
// harmless and stays.
func (t tree) checkLinks() error {
	links := make(map[string]string)
	for _, e := range t {
		if e.kind == kindLink {
			links[e.path] = e.target
		}
	}
	for _, e := range t {
		if e.kind != kindLink {
			continue
		}
		if strings.HasPrefix(e.target, "/") {
			return fmt.Errorf("%s is a symbolic link to the absolute path %s; links in a skill must be relative", quote(e.path), quote(e.target))
		}
		if lexical := path.Join(path.Dir(e.path), e.target); lexical == ".." || strings.HasPrefix(lexical, "../") {
			return fmt.Errorf("%s is a symbolic link out of the skill, to %s", quote(e.path), quote(e.target))
		}
		if err := follow(e, links); err != nil {
			return err
		}
	}
	return nil
}

// follow walks e component by component through links, as path_resolution(7)
// describes, with the folder as the root that must not be left.
func follow(e entry, links map[string]string) error {
	var at []string
	rest := strings.Split(e.path, "/")
	for hops := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return fmt.Errorf("%s is a symbolic link that leads out of the skill by way of another link", quote(e.path))
			}
			at = at[:len(at)-1]
			continue
		}
		at = append(at, name)
		target, ok := links[strings.Join(at, "/")]
		if !ok {
			continue
		}
		if hops++; hops > maxLinks {
			return fmt.Errorf("%s is a symbolic link that goes round in circles (more than %d links)", quote(e.path), maxLinks)
		}
		if strings.HasPrefix(target, "/") {
			return fmt.Errorf("%s is a symbolic link that passes the absolute link %s", quote(e.path), quote(strings.Join(at, "/")))
		}
		at = at[:len(at)-1]
		rest = append(strings.Split(target, "/"), rest...)
	}
	return nil
}

// walker reads one folder. With a destination it copies what it reads.
type walker struct {
	entries tree
	named   int   // names listed so far, the ones still to be read among them
	bytes   int64 // of all files so far
	buf     []byte
}

// read walks the directory src and, unless dst is nil, copies it into the empty
// directory dst. Both stay open. The error names the entry it is about.
func read(src, dst *os.File) (tree, error) {
	w := &walker{buf: make([]byte, 128<<10)}
	if err := w.dir(src, dst, "", 0); err != nil {
		return nil, err
	}
	slices.SortFunc(w.entries, func(a, b entry) int { return strings.Compare(a.path, b.path) })
	if err := w.entries.checkLinks(); err != nil {
		return nil, err
	}
	return w.entries, nil
}

func (w *walker) dir(src, dst *os.File, prefix string, depth int) error {
	names, err := w.names(src, prefix)
	if err != nil {
		return err
	}
	for _, name := range names {
		p := path.Join(prefix, name)
		if err := checkFileName(name, p); err != nil {
			return err
		}
		if err := w.entry(src, dst, name, p, depth); err != nil {
			return err
		}
	}
	return nil
}

// names lists a directory, and stops as soon as there are too many.
func (w *walker) names(src *os.File, prefix string) ([]string, error) {
	var names []string
	for {
		more, err := src.Readdirnames(256)
		names = append(names, more...)
		if w.named += len(more); w.named > MaxFiles {
			return nil, fmt.Errorf("there are more than %d files in it", MaxFiles)
		}
		if err == io.EOF {
			slices.Sort(names)
			return names, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read directory %s: %w", quote(prefix), cause(err))
		}
	}
}

func checkFileName(name, p string) error {
	switch {
	case len(name) > MaxFileName:
		return fmt.Errorf("the name %s is longer than %d bytes", quote(name), MaxFileName)
	case len(p) > MaxPath:
		return fmt.Errorf("the path %s is longer than %d bytes", quote(p), MaxPath)
	}
	if _, bad := unprintable(name, ""); bad {
		return fmt.Errorf("the name %s has a control or invisible character, or is not UTF-8", quote(p))
	}
	return nil
}

func (w *walker) entry(src, dst *os.File, name, p string, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(src.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("%s: %w", quote(p), err)
	}
	// Room for SKILL.md is decided here so that a huge one is never read.
	if p == skillFile && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size > MaxSkillMD {
		return fmt.Errorf("%s has %d bytes, at most %d are allowed", skillFile, st.Size, MaxSkillMD)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return w.file(src, dst, name, p, st.Size)
	case unix.S_IFDIR:
		if depth+1 > MaxDepth {
			return fmt.Errorf("%s is nested deeper than %d directories", quote(p), MaxDepth)
		}
		return w.subdir(src, dst, name, p, depth)
	case unix.S_IFLNK:
		return w.link(src, dst, name, p)
	}
	return fmt.Errorf("%s is %s; a skill holds files, directories and links inside itself, nothing else", quote(p), fileType(st.Mode))
}

// fileType names the file types of inode(7) that a skill can't hold.
func fileType(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFIFO:
		return "a FIFO"
	case unix.S_IFSOCK:
		return "a socket"
	case unix.S_IFCHR:
		return "a character device"
	case unix.S_IFBLK:
		return "a block device"
	}
	return fmt.Sprintf("of unknown type %#o", mode&unix.S_IFMT)
}

// openIn opens one name of a directory of a foreign tree. O_NONBLOCK keeps a
// FIFO that took a file's place from holding us; see openat2(2) for the rest.
func openIn(dir *os.File, name string, flags uint64) (*os.File, error) {
	fd, err := unix.Openat2(int(dir.Fd()), name, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC | flags,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS |
			unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	})
	switch {
	case errors.Is(err, unix.EXDEV):
		return nil, errors.New("another file system is mounted on it; copy the skill to one place first")
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		return nil, errors.New("it changed while it was read")
	case err != nil:
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (w *walker) file(src, dst *os.File, name, p string, size int64) error {
	if size > MaxFileBytes {
		return fmt.Errorf("%s has %d bytes, one file may have %d", quote(p), size, MaxFileBytes)
	}
	if w.bytes+size > MaxBytes {
		return fmt.Errorf("its files have more than %d bytes together", MaxBytes)
	}
	in, err := openIn(src, name, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", quote(p), err)
	}
	defer in.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(in.Fd()), &st); err != nil {
		return fmt.Errorf("%s: %w", quote(p), err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%s changed while it was read: it is now %s", quote(p), fileType(st.Mode))
	}
	e := entry{path: p, kind: kindFile, exec: st.Mode&0o111 != 0}

	var out *os.File
	if dst != nil {
		if out, err = createIn(dst, name, e.exec); err != nil {
			return fmt.Errorf("store %s: %w", quote(p), err)
		}
		defer out.Close()
	}
	limit := min(int64(MaxFileBytes), MaxBytes-w.bytes)
	if p == skillFile {
		limit = min(limit, MaxSkillMD)
	}
	if err := w.content(&e, in, out, limit); err != nil {
		return fmt.Errorf("%s: %w", quote(p), err)
	}
	w.bytes += e.size
	w.entries = append(w.entries, e)
	return nil
}

// content hashes in, and copies it to out unless that is nil: the same buffer
// goes to both.
func (w *walker) content(e *entry, in, out *os.File, limit int64) error {
	h := sha256.New()
	for {
		n, err := in.Read(w.buf)
		if e.size == 0 {
			e.code = executable(w.buf[:n])
		}
		e.size += int64(n)
		if e.size > limit {
			return fmt.Errorf("it grew while it was read, past the %d bytes that are left for it", limit)
		}
		h.Write(w.buf[:n])
		if out != nil {
			if _, err := out.Write(w.buf[:n]); err != nil {
				return fmt.Errorf("store: %w", cause(err))
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return cause(err)
		}
	}
	e.sum = hex.EncodeToString(h.Sum(nil))
	if out != nil {
		return out.Close()
	}
	return nil
}

// executable says whether execve(2) knows what to do with a file that begins so.
func executable(head []byte) bool {
	return bytes.HasPrefix(head, []byte("#!")) || bytes.HasPrefix(head, []byte("\x7fELF"))
}

// createIn makes a file of ours in a directory of ours. The mode is set after
// the fact because the umask is the process's.
func createIn(dir *os.File, name string, exec bool) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name,
		unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	mode := uint32(0o644)
	if exec {
		mode = 0o755
	}
	if err := own(fd, mode); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// own gives an open file of the store its mode, and root's group even below a
// directory that passes on its own.
func own(fd int, mode uint32) error {
	if err := unix.Fchown(fd, os.Geteuid(), os.Getegid()); err != nil {
		return err
	}
	return unix.Fchmod(fd, mode)
}

func (w *walker) subdir(src, dst *os.File, name, p string, depth int) error {
	in, err := openIn(src, name, unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("%s: %w", quote(p), err)
	}
	defer in.Close()
	w.entries = append(w.entries, entry{path: p, kind: kindDir})
	var out *os.File
	if dst != nil {
		if out, err = mkdirIn(dst, name); err != nil {
			return fmt.Errorf("store %s: %w", quote(p), err)
		}
		defer out.Close()
	}
	return w.dir(in, out, p, depth+1)
}

// mkdirIn makes a directory of ours in a directory of ours and opens it.
func mkdirIn(dir *os.File, name string) (*os.File, error) {
	if err := unix.Mkdirat(int(dir.Fd()), name, 0o700); err != nil {
		return nil, err
	}
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := own(fd, 0o755); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (w *walker) link(src, dst *os.File, name, p string) error {
	buf := make([]byte, MaxPath+1)
	n, err := unix.Readlinkat(int(src.Fd()), name, buf)
	switch {
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%s changed while it was read", quote(p))
	case err != nil:
		return fmt.Errorf("%s: %w", quote(p), err)
	case n > MaxPath:
		return fmt.Errorf("%s is a symbolic link with a target longer than %d bytes", quote(p), MaxPath)
	}
	target := string(buf[:n])
	if _, bad := unprintable(target, ""); bad {
		return fmt.Errorf("%s is a symbolic link to %s, which has a control or invisible character, or is not UTF-8", quote(p), quote(target))
	}
	w.entries = append(w.entries, entry{path: p, kind: kindLink, target: target})
	if dst == nil {
		return nil
	}
	if err := unix.Symlinkat(target, int(dst.Fd()), name); err != nil {
		return fmt.Errorf("store %s: %w", quote(p), err)
	}
	return nil
}

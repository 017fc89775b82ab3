// SPDX-License-Identifier: Apache-2.0

package skills

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Store is a content-addressed store of skills; the package comment has its
// layout. Several processes may use one at the same time.
type Store struct {
	// Dir is an absolute path. It and every directory above it belong to root
	// (or to the user that clawsup runs as) and no one else can write them, a
	// sticky directory such as /tmp excepted. It is made with mode 0755 when it
	// is missing.
	Dir string
}

// Skill is one skill, sealed.
type Skill struct {
	Name   string // base name of the folder it came from
	Digest string // "sha256:<hex>", see the package comment
	Dir    string // the sealed copy, absolute
	Source string // the folder it came from

	// Scripts are the regular files that can be run by name, such as
	// "scripts/run.py", sorted: what is at most two levels below scripts/ and
	// has an execute bit or a known extension.
	Scripts []string

	// direct has the scripts that the kernel can start by itself.
	direct map[string]bool
}

// Names of the store's parts.
const (
	sealedDir = "sha256"
	tempDir   = "tmp"
	lockFile  = "lock"
)

// Add seals the folder dir, an absolute path without symbolic links such as Find
// returns, and returns the copy. A folder that the store has already is only
// read. An error names the entry it is about, and leaves nothing behind.
func (s Store) Add(dir string) (*Skill, error) {
	src, err := openFolder(dir)
	if err != nil {
		return nil, fmt.Errorf("skill %s: %w", quote(dir), err)
	}
	defer src.Close()
	k, err := s.add(src, filepath.Clean(dir))
	if err != nil {
		return nil, fmt.Errorf("skill %s: %w", quote(dir), err)
	}
	return k, nil
}

func (s Store) add(src *os.File, dir string) (*Skill, error) {
	t, err := read(src, nil)
	if err != nil {
		return nil, err
	}
	if err := isSkill(t); err != nil {
		return nil, err
	}
	lock, err := s.open(unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	digest := t.digest()
	if _, err := os.Lstat(s.path(digest)); errors.Is(err, fs.ErrNotExist) {
		// Read once more, now into the copy, whose digest is the one that
		// counts: the folder may have changed since.
		if t, err = s.seal(src); err != nil {
			return nil, err
		}
		digest = t.digest()
	} else if err != nil {
		return nil, err
	}
	k := &Skill{
		Name:   filepath.Base(dir),
		Digest: digest,
		Dir:    s.path(digest),
		Source: dir,
		direct: make(map[string]bool),
	}
	for _, e := range t {
		if e.isScript() {
			k.Scripts = append(k.Scripts, e.path)
			k.direct[e.path] = e.exec && e.code
		}
	}
	return k, nil
}

// seal copies src into the store under the digest of the copy.
func (s Store) seal(src *os.File) (tree, error) {
	if _, err := src.Seek(0, 0); err != nil {
		return nil, fmt.Errorf("read it again: %w", cause(err))
	}
	temp, err := os.MkdirTemp(filepath.Join(s.Dir, tempDir), "add-")
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	defer os.RemoveAll(temp) // after the rename there is nothing to remove
	dst, err := os.Open(temp)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	defer dst.Close()
	if err := own(int(dst.Fd()), 0o755); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	t, err := read(src, dst)
	if err != nil {
		return nil, err
	}
	if err := isSkill(t); err != nil {
		return nil, err
	}
	// The name promises the content, so the content must be on the disk before
	// the name is: one syncfs(2) for all files.
	if err := unix.Syncfs(int(dst.Fd())); err != nil {
		return nil, fmt.Errorf("store: sync: %w", err)
	}
	err = unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, s.path(t.digest()), unix.RENAME_NOREPLACE)
	if err != nil && !errors.Is(err, unix.EEXIST) { // EEXIST: another Add was first, with the same bytes
		return nil, fmt.Errorf("store: %w", err)
	}
	return t, nil
}

// isSkill looks for a SKILL.md.
func isSkill(t tree) error {
	for _, e := range t {
		if e.path != skillFile {
			continue
		}
		if e.kind != kindFile {
			return fmt.Errorf("its %s is not a regular file", skillFile)
		}
		return nil
	}
	return fmt.Errorf("it is not a skill: it has no %s; give the folder that holds one (see https://agentskills.io/specification)", skillFile)
}

// Verify hashes the sealed copy again and says whether it still is what its
// digest promises, down to owners and modes.
func (s Store) Verify(digest string) error {
	sum, ok := strings.CutPrefix(digest, "sha256:")
	if raw, err := hex.DecodeString(sum); !ok || err != nil || len(raw) != 32 || strings.ToLower(sum) != sum {
		return fmt.Errorf("%s is not a digest: it is \"sha256:\" and 64 lower-case hexadecimal digits", quote(digest))
	}
	dir, err := openFolder(s.path(digest))
	if err != nil {
		return fmt.Errorf("stored skill %s: %w", digest, err)
	}
	defer dir.Close()
	t, err := read(dir, nil)
	if err != nil {
		return fmt.Errorf("stored skill %s: %w", digest, err)
	}
	if got := t.digest(); got != digest {
		return fmt.Errorf("stored skill %s has changed: its content is %s; remove %s and add the skill again", digest, got, s.path(digest))
	}
	for _, e := range t {
		var st unix.Stat_t
		if err := unix.Fstatat(int(dir.Fd()), e.path, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("stored skill %s: %s: %w", digest, quote(e.path), err)
		}
		if e.kind != kindLink && st.Mode&0o7022 != 0 || !trusted(st.Uid) {
			return fmt.Errorf("stored skill %s: %s has mode %#o and owner %d, others could change it or gain by it", digest, quote(e.path), st.Mode&0o7777, st.Uid)
		}
	}
	return nil
}

// Sweep removes what killed Adds left behind and returns how many copies that
// were. While an Add is under way, in this process or another, it does nothing:
// the next Sweep will do.
func (s Store) Sweep() (int, error) {
	lock, err := s.open(unix.LOCK_EX | unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer lock.Close()
	temp := filepath.Join(s.Dir, tempDir)
	left, err := os.ReadDir(temp)
	if err != nil {
		return 0, fmt.Errorf("skill store: %w", err)
	}
	for i, e := range left {
		if err := os.RemoveAll(filepath.Join(temp, e.Name())); err != nil {
			return i, fmt.Errorf("skill store: %w", err)
		}
	}
	return len(left), nil
}

// path is where the copy with this digest is or would be.
func (s Store) path(digest string) string {
	return filepath.Join(s.Dir, sealedDir, strings.TrimPrefix(digest, "sha256:"))
}

// open makes the store if need be, checks that no one else can write it, and
// takes its lock, which ends when the file is closed or the process dies.
func (s Store) open(how int) (*os.File, error) {
	if !filepath.IsAbs(s.Dir) {
		return nil, fmt.Errorf("skill store %s: the path is not absolute", quote(s.Dir))
	}
	for _, d := range []string{s.Dir, filepath.Join(s.Dir, sealedDir), filepath.Join(s.Dir, tempDir)} {
		if err := makeDir(d); err != nil {
			return nil, fmt.Errorf("skill store: %w", err)
		}
	}
	lock, err := os.OpenFile(filepath.Join(s.Dir, lockFile), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("skill store: %w", err)
	}
	for {
		err = unix.Flock(int(lock.Fd()), how)
		if err == nil {
			return lock, nil
		}
		if !errors.Is(err, unix.EINTR) {
			lock.Close()
			return nil, fmt.Errorf("skill store: lock: %w", err)
		}
	}
}

// makeDir makes dir and what is missing above it with mode 0755, and refuses a
// path that anyone but us could change.
func makeDir(dir string) error {
	dir = filepath.Clean(dir)
	if dir != "/" {
		if err := makeDir(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	err := unix.Lstat(dir, &st)
	if errors.Is(err, unix.ENOENT) {
		err = unix.Mkdir(dir, 0o755)
		if err == nil {
			err = unix.Chmod(dir, 0o755) // the umask may have taken more than it should
		}
		if err == nil || errors.Is(err, unix.EEXIST) { // EEXIST: another process made it just now
			err = unix.Lstat(dir, &st)
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", quote(dir), err)
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		return fmt.Errorf("%s is a symbolic link; configure the directory that it leads to", quote(dir))
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("%s is not a directory", quote(dir))
	case !trusted(st.Uid):
		return fmt.Errorf("%s belongs to user %d, who could change what is stored; it must belong to root", quote(dir), st.Uid)
	case st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX == 0:
		return fmt.Errorf("%s has mode %#o, others could change what is stored; run chmod go-w on it", quote(dir), st.Mode&0o7777)
	}
	return nil
}

// trusted says whether files of this user can't be changed by anyone that the
// store must be kept from.
func trusted(uid uint32) bool {
	return uid == 0 || int(uid) == os.Geteuid()
}

// openFolder opens an absolute path without passing a symbolic link.
func openFolder(dir string) (*os.File, error) {
	if !filepath.IsAbs(dir) {
		return nil, errors.New("the path is not absolute")
	}
	fd, err := unix.Openat2(unix.AT_FDCWD, dir, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch {
	case errors.Is(err, unix.ELOOP):
		return nil, errors.New("a part of the path is a symbolic link; give the real path of the folder")
	case errors.Is(err, unix.ENOTDIR):
		return nil, errors.New("it is not a folder")
	case err != nil:
		return nil, err
	}
	return os.NewFile(uintptr(fd), "skill"), nil
}

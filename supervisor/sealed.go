// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/runtime/wire"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// execDir is where a sealed copy stands in the box.
const execDir = "/exec"

// maxSealed bounds, in bytes, a file that is copied.
const maxSealed = 64 << 20

// maxVault bounds, in bytes, all copies together. A copy stays for as long as
// people think, on a disk that may be the log's, and who asks and asks must not
// fill that. It is room for sixteen of the largest.
const maxVault = 16 * maxSealed

// Sealed is a copy of an executable, or of an interpreter's script, that
// others than root could change between the answer and the start, or even
// after it: the kernel opens a script a second time for its interpreter.
type Sealed struct {
	From   string // the file that was copied, as the box would see it
	Digest string // of the copy: "sha256:" and 64 hexadecimal digits

	file        string   // the copy, on the host
	interpreter string   // of a script that begins with #!, as it names it
	lock        *os.File // the copy, locked while the plan lives; nil: given up
}

// remove gives the copy up, and takes it away if no other plan has it. A box
// that was prepared keeps it mounted.
func (s *Sealed) remove() error {
	if s == nil || s.lock == nil {
		return nil
	}
	lock := s.lock
	s.lock = nil
	all, err := openLocked(filepath.Dir(s.file), unix.LOCK_EX)
	if err != nil {
		return errors.Join(err, lock.Close())
	}
	defer all.Close()
	switch err = flock(lock, unix.LOCK_EX|unix.LOCK_NB); {
	case err == nil:
		err = os.Remove(s.file)
	case errors.Is(err, unix.EWOULDBLOCK): // others have it
		err = unlock(lock)
	}
	return errors.Join(err, lock.Close())
}

// vault is the directory of the copies. It is not in RunDir, which may well be
// mounted noexec (Debian's initramfs does that to /run), and that holds for
// what is mounted from there.
//
// A copy is named by its digest, and plans share it, of whatever process: each
// has a shared lock on it (flock(2)), which ends with the process at the
// latest, and who can get the exclusive one is the last. The vault itself is
// locked while these are taken and given up, but never while a file that
// belongs to others is read: that may take as long as they like.
type vault struct{ dir string }

func (v vault) open() (*os.File, error) {
	if err := os.MkdirAll(v.dir, 0o700); err != nil {
		return nil, err
	}
	return openLocked(v.dir, unix.LOCK_EX)
}

func openLocked(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := flock(f, how); err != nil {
		return nil, errors.Join(&os.PathError{Op: "flock", Path: path, Err: err}, f.Close())
	}
	return f, nil
}

// unlock ends a lock also where a child that was just forked has the file open
// until it is another program.
func unlock(f *os.File) error { return flock(f, unix.LOCK_UN) }

// sweep removes copies whose processes are gone.
func (v vault) sweep() error {
	all, err := v.open()
	if err != nil {
		return err
	}
	defer all.Close()
	entries, err := all.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(v.dir, e.Name())
		f, err := openLocked(path, unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			continue // a plan's, or being written
		}
		if err != nil {
			return err
		}
		if err := errors.Join(os.RemoveAll(path), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// seal gives a copy of a file.
func (v vault) seal(x Executable) (*Sealed, error) {
	s, err := v.copy(&x)
	if err == nil {
		s.From = x.Path
		if err = s.look(); err != nil {
			err = errors.Join(err, s.remove())
		}
	}
	if err != nil {
		return nil, &runtime.Error{Step: runtime.StepSpec, Err: fmt.Errorf("%s can't be sealed for the question: %w", visible.Text(x.Path), bare(err))}
	}
	return s, nil
}

// copy gives the copy with these bytes if there is one, and makes it else.
func (v vault) copy(x *Executable) (*Sealed, error) {
	if x.Size > maxSealed {
		return nil, fmt.Errorf("it has %d bytes and others than root can change it; up to %d bytes are copied: let root own it and the directories above it", x.Size, maxSealed)
	}
	digest, err := x.digest(maxSealed)
	if err != nil {
		return nil, err
	}
	if s, err := v.share(digest); !errors.Is(err, os.ErrNotExist) {
		return s, err
	}
	from, err := x.open()
	if err != nil {
		return nil, err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return nil, err
	}
	size := min(info.Size(), maxSealed)
	to, err := v.reserve(size)
	if err != nil {
		return nil, err
	}
	defer to.Close()
	if digest, err = fill(to, from, size); err != nil { // of what was copied, whatever it was before
		return nil, errors.Join(err, os.Remove(to.Name()))
	}
	return v.keep(to, digest)
}

// file is where the copy with a digest is.
func (v vault) file(digest string) string {
	return filepath.Join(v.dir, strings.TrimPrefix(digest, "sha256:"))
}

// take locks a copy for a plan; the vault is locked. os.ErrNotExist: there is none.
func (v vault) take(digest string) (*Sealed, error) {
	lock, err := openLocked(v.file(digest), unix.LOCK_SH|unix.LOCK_NB)
	if err != nil {
		return nil, err
	}
	return &Sealed{Digest: digest, file: lock.Name(), lock: lock}, nil
}

// share is take for a vault that is not locked.
func (v vault) share(digest string) (*Sealed, error) {
	all, err := v.open()
	if err != nil {
		return nil, err
	}
	defer all.Close()
	return v.take(digest)
}

// reserve makes a locked file, of a size but without bytes, where a copy can
// be written.
func (v vault) reserve(size int64) (*os.File, error) {
	all, err := v.open()
	if err != nil {
		return nil, err
	}
	defer all.Close()
	used, err := v.used(all)
	if err != nil {
		return nil, err
	}
	if used+size > maxVault {
		return nil, fmt.Errorf("too much waits for people: the copies have %d bytes already, this file has %d, and all together may have %d; let something be answered first", used, size, maxVault)
	}
	to, err := os.CreateTemp(v.dir, "new-")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(flock(to, unix.LOCK_EX|unix.LOCK_NB), to.Truncate(size)); err != nil {
		return nil, errors.Join(err, os.Remove(to.Name()), to.Close())
	}
	return to, nil
}

// used is how many bytes the copies have, with their holes.
func (v vault) used(all *os.File) (n int64, err error) {
	entries, err := all.ReadDir(-1)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return 0, err
		}
		n += info.Size()
	}
	return n, err
}

// keep makes a written file the copy with its digest. Where another plan was
// faster its copy is taken.
func (v vault) keep(to *os.File, digest string) (*Sealed, error) {
	all, err := v.open()
	if err != nil {
		return nil, err // and the next start removes it
	}
	defer all.Close()
	s, err := v.take(digest)
	switch {
	case err == nil:
		err = os.Remove(to.Name())
	case errors.Is(err, os.ErrNotExist):
		// What is open for writing can't be executed.
		if err = errors.Join(os.Rename(to.Name(), v.file(digest)), unlock(to), to.Close()); err == nil {
			s, err = v.take(digest)
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.remove())
	}
	return s, nil
}

// fill copies a file of a size, holes as holes, and gives the digest of the copy.
func fill(to *os.File, from io.Reader, size int64) (digest string, err error) {
	sum := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(sum, blocks{to}), io.LimitReader(from, size+1), make([]byte, blockSize))
	switch {
	case err != nil:
		return "", err
	case n != size:
		return "", errors.New("its size changes")
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), to.Chmod(0o755) // past the umask
}

// blockSize is that of the usual file systems, in bytes.
const blockSize = 4096

// blocks writes what is put into it a block at a time, but leaves those out
// that are all zeros: a program's owner gets no disk for a hole.
type blocks struct{ *os.File }

func (b blocks) Write(p []byte) (int, error) {
	if bytes.Count(p, []byte{0}) < len(p) {
		return b.File.Write(p)
	}
	_, err := b.Seek(int64(len(p)), io.SeekCurrent)
	return len(p), err
}

// open opens the file that was found, and nothing that took its place.
func (x *Executable) open() (*os.File, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, x.Host, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), x.Host)
	var st unix.Stat_t
	if err = fstat(f, &st); err == nil && (st.Mode&unix.S_IFMT != unix.S_IFREG || identityOf(&st) != x.Identity) {
		err = errors.New("it was replaced just now")
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// look reads the beginning of the copy, as much as the kernel looks at to find
// an interpreter (BINPRM_BUF_SIZE in linux/binfmts.h).
func (s *Sealed) look() error {
	begin := make([]byte, 256)
	n, err := s.lock.ReadAt(begin, 0)
	if err != nil && err != io.EOF {
		return err
	}
	s.interpreter = interpreter(begin[:n])
	return nil
}

// interpreter gives what a script names behind #! (execve(2)); empty: none.
func interpreter(begin []byte) string {
	rest, script := bytes.CutPrefix(begin, []byte("#!"))
	if !script {
		return ""
	}
	rest, _, _ = bytes.Cut(rest, []byte("\n"))
	rest = bytes.TrimLeft(rest, " \t")
	if i := bytes.IndexAny(rest, " \t\x00"); i >= 0 {
		rest = rest[:i]
	}
	return string(rest)
}

// executable finds the file that the command means. Where a person is asked
// about it, the file that they are asked about must be the one that runs: a
// name is looked up now and not again, and a file that others than root can
// change or exchange is copied.
func (p *Plan) executable(in *Ingredients) error {
	tree := viewOf(&p.Spec)
	found := tree.search(p.Call.Argv[0], p.Call.Dir, p.Call.Env)
	p.Executable = found.Executable
	if !p.asked() {
		return nil
	}
	if found.Path == "" {
		return &runtime.Error{Step: wire.StepLookup, Err: fmt.Errorf("%s: there is no such program in the box, so nobody can be asked about it", visible.Quote(p.Call.Argv[0]))}
	}
	p.Call.Argv[0] = found.as
	if found.firm() {
		return nil
	}
	name := found.name()
	s, err := in.Vault.seal(found.Executable)
	if err != nil {
		return err
	}
	p.Sealed = s
	if s.interpreter != "" && (s.interpreter[0] != '/' || !tree.firm(s.interpreter)) {
		return &runtime.Error{Step: runtime.StepSpec, Err: fmt.Errorf("%s can't be sealed for the question: its interpreter %s is not in the box or can be changed by others than root; name one that is root's, as /bin/sh",
			visible.Text(found.Path), visible.Quote(s.interpreter))}
	}
	p.Call.Argv[0] = execDir + "/" + name
	p.Spec.Binds = append(p.Spec.Binds, rootfs.Bind{Source: s.file, Target: p.Call.Argv[0]})
	p.Executable = viewOf(&p.Spec).find(p.Call.Argv[0], p.Call.Dir, nil)
	return nil
}

// Close drops the plan: sealed copies that no other has are removed. What was prepared from the
// plan stays whole. It may be called again.
func (p *Plan) Close() error {
	if p == nil {
		return nil
	}
	return errors.Join(p.Sealed.remove(), p.Interpreted.remove())
}

// programName is what the plan's program is called, for a message.
func (p *Plan) programName() string { return visible.Text(cmp.Or(p.Executable.Path, p.Call.Argv[0])) }

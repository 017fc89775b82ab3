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

// maxVault bounds, in bytes, all copies together: one waits as long as people
// think, and the disk may be the log's.
const maxVault = 512 << 20

// Sealed is a copy of an executable, or of an interpreter's script, that
// others than root could change between the answer and the start, or even
// after it: the kernel opens a script a second time for its interpreter.
type Sealed struct {
	From   string // the file that was copied, as the box would see it
	Digest string // of the copy: "sha256:" and 64 hexadecimal digits

	file        string // the copy, on the host
	interpreter string // of a script that begins with #!, as it names it
	lock        *os.File
}

// remove takes the copy away, if there is one. A box that was prepared keeps
// it mounted.
func (s *Sealed) remove() error {
	if s == nil || s.lock == nil {
		return nil
	}
	lock := s.lock
	s.lock = nil
	return errors.Join(os.RemoveAll(filepath.Dir(s.file)), lock.Close())
}

// vault is the directory of the copies. It is not in RunDir, which may well be
// mounted noexec (Debian's initramfs does that to /run), and that holds for
// what is mounted from there. A copy lies in a directory of its own, locked
// (flock(2)) while its plan lives; the vault itself is locked while one is
// made and locked, and while leftovers are looked for.
type vault struct{ dir string }

func (v vault) open() (*os.File, error) {
	if err := os.MkdirAll(v.dir, 0o700); err != nil {
		return nil, err
	}
	return openLocked(v.dir, unix.LOCK_EX)
}

func openLocked(dir string, how int) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	if err := flock(f, how); err != nil {
		return nil, errors.Join(&os.PathError{Op: "flock", Path: dir, Err: err}, f.Close())
	}
	return f, nil
}

// sweep removes copies whose process is gone.
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
		dir := filepath.Join(v.dir, e.Name())
		f, err := openLocked(dir, unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, os.ErrNotExist) {
			continue // at work, or removed by its plan just now
		}
		if err != nil {
			return err
		}
		if err := errors.Join(os.RemoveAll(dir), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// seal copies a file to one called name.
func (v vault) seal(x Executable, name string) (*Sealed, error) {
	fail := func(err error) (*Sealed, error) {
		return nil, &runtime.Error{Step: runtime.StepSpec, Err: fmt.Errorf("%s can't be sealed for the question: %w", visible.Text(x.Path), bare(err))}
	}
	from, err := x.open()
	if err != nil {
		return fail(err)
	}
	defer from.Close()
	if x.Size > maxSealed {
		return fail(fmt.Errorf("it has %d bytes and others than root can change it; up to %d bytes are copied: let root own it and the directories above it", x.Size, maxSealed))
	}
	s, err := v.place(name, x.Size)
	if err != nil {
		return fail(err)
	}
	s.From = x.Path
	if err := s.fill(from); err != nil {
		return fail(errors.Join(err, s.remove()))
	}
	return s, nil
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

// place makes the locked directory for a copy, with a file of its size.
func (v vault) place(name string, size int64) (*Sealed, error) {
	all, err := v.open()
	if err != nil {
		return nil, err
	}
	defer all.Close()
	used, err := v.used()
	if err != nil {
		return nil, err
	}
	if used+size > maxVault {
		return nil, fmt.Errorf("the copies that wait for answers have %d bytes already, and it has %d; all together have at most %d: let some be answered first", used, size, maxVault)
	}
	dir, err := os.MkdirTemp(v.dir, "")
	if err != nil {
		return nil, err
	}
	lock, err := openLocked(dir, unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s := &Sealed{file: filepath.Join(dir, name), lock: lock}
	f, err := os.OpenFile(s.file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close())
	}
	if err != nil {
		return nil, errors.Join(err, s.remove())
	}
	return s, nil
}

// used is how many bytes the copies have.
func (v vault) used() (n int64, err error) {
	dirs, err := os.ReadDir(v.dir)
	for _, dir := range dirs {
		files, _ := os.ReadDir(filepath.Join(v.dir, dir.Name())) // or it was removed just now
		for _, f := range files {
			if info, err := f.Info(); err == nil {
				n += info.Size()
			}
		}
	}
	return n, err
}

// fill writes the copy.
func (s *Sealed) fill(from io.Reader) error {
	to, err := os.OpenFile(s.file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer to.Close()
	sum := sha256.New()
	var begin head
	n, err := io.Copy(io.MultiWriter(to, sum, &begin), io.LimitReader(from, maxSealed+1))
	switch {
	case err != nil:
		return err
	case n > maxSealed:
		return fmt.Errorf("it grew beyond %d bytes", maxSealed)
	}
	s.Digest = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	s.interpreter = interpreter(begin)
	return errors.Join(to.Truncate(n), to.Chmod(0o755)) // past the umask
}

// head keeps the beginning of what is written to it, as much as the kernel
// looks at to find an interpreter (BINPRM_BUF_SIZE in linux/binfmts.h).
type head []byte

func (h *head) Write(p []byte) (int, error) {
	*h = append(*h, p[:min(len(p), 256-len(*h))]...)
	return len(p), nil
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
	if found.firm {
		return nil
	}
	name := found.name()
	s, err := in.Vault.seal(found.Executable, name)
	if err != nil {
		return err
	}
	p.Sealed = s
	if s.interpreter != "" && (s.interpreter[0] != '/' || !tree.search(s.interpreter, "/", nil).firm) {
		return &runtime.Error{Step: runtime.StepSpec, Err: fmt.Errorf("%s can't be sealed for the question: its interpreter %s is not in the box or can be changed by others than root; name one that is root's, as /bin/sh",
			visible.Text(found.Path), visible.Quote(s.interpreter))}
	}
	p.Call.Argv[0] = execDir + "/" + name
	p.Spec.Binds = append(p.Spec.Binds, rootfs.Bind{Source: s.file, Target: p.Call.Argv[0]})
	p.Executable = viewOf(&p.Spec).find(p.Call.Argv[0], p.Call.Dir, nil)
	return nil
}

// Close drops the plan: sealed copies are removed. What was prepared from the
// plan stays whole. It may be called again.
func (p *Plan) Close() error {
	if p == nil {
		return nil
	}
	return errors.Join(p.Sealed.remove(), p.Interpreted.remove())
}

// programName is what the plan's program is called, for a message.
func (p *Plan) programName() string { return visible.Text(cmp.Or(p.Executable.Path, p.Call.Argv[0])) }

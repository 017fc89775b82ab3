// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/runtime/wire"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// scriptDir is where the sealed copy of an interpreter's script stands in the
// box. It can't stand where the script was: a mount over a file goes with it
// when somebody outside renames it (rename(2)), and the place then shows what
// came instead. And most interpreters look for more code beside a script, where
// anybody could put some.
const scriptDir = "/script"

// Bounds of what is read of files that arguments name.
const (
	maxNamed      = 16
	maxNamedBytes = maxSealed // of all together
	maxPath       = 4096      // PATH_MAX: what is longer leads nowhere
)

// Named is a file that an argument names and that others than root can change.
// It may be what the call is to change itself, so that no copy can stand in for
// it: its bytes are compared right before the box gets its call.
type Named struct {
	Argument int    // its place in argv
	Path     string // in the box, links resolved
	Digest   string // "sha256:" and 64 hexadecimal digits; empty: beyond the bounds, and nobody looks
}

// interpreters are programs, without their version, that take a file as a
// program, with the letters of those options before it that take nothing
// themselves. With any other option what follows may be anything: a program's
// text, say, and a file of that name is none of it.
var interpreters = map[string]string{
	"ash": shellLetters, "bash": shellLetters, "dash": shellLetters, "ksh": shellLetters, "mksh": shellLetters, "sh": shellLetters, "zsh": shellLetters,
	"python": "bBdEiIOPqSuvx", "pypy": "bBdEiIOPqSuvx",
	"perl": "cTtuUvWwX", "ruby": "dvw", "php": "nq", "lua": "i", "luajit": "i",
	"node": "", "nodejs": "", "tclsh": "", "Rscript": "",
}

const shellLetters = "aefhilnpuvxBCE"

// launchers are programs that start the one that a later argument names.
var launchers = map[string]bool{
	"busybox": true, "chrt": true, "env": true, "ionice": true, "nice": true, "nohup": true, "setsid": true,
	"stdbuf": true, "taskset": true, "time": true, "timeout": true, "toybox": true,
}

// program is a path's last name without the version behind it.
func program(path string) string { return strings.TrimRight(filepath.Base(path), "0123456789.") }

// script is which argument hands a program to an interpreter, as far as the
// form of the command tells: 0 if none does.
func (p *Plan) script() int {
	argv := p.Call.Argv
	at := 0
	if launchers[program(argv[0])] {
		for at < len(argv) && !isInterpreter(argv[at]) {
			at++
		}
	}
	if at == len(argv) {
		return 0
	}
	letters, ok := interpreters[program(argv[at])]
	if !ok && at == 0 {
		letters, ok = interpreters[program(p.Executable.Path)]
	}
	if !ok {
		return 0
	}
	for i, a := range argv[at+1:] {
		options, isOption := strings.CutPrefix(a, "-")
		switch {
		case !isOption:
			return at + 1 + i
		case a == "--" && at+2+i < len(argv):
			return at + 2 + i
		case options == "" || strings.Trim(options, letters) != "":
			return 0
		}
	}
	return 0
}

func isInterpreter(argument string) bool {
	_, ok := interpreters[program(argument)]
	return ok
}

// named gives the file that an argument names, with ok if it is a regular one
// that others than root can change or exchange.
func (v view) named(argument, dir string) (f found, ok bool) {
	path, ok := absolute(argument, dir)
	if !ok {
		return found{}, false
	}
	f, _, ok = v.look().regular(path)
	return f, ok && !f.firm() && !strings.HasPrefix(f.Path, rootfs.SkillDir+"/")
}

// absolute is where a path leads from the working directory; not ok: nowhere.
func absolute(path, dir string) (string, bool) {
	if path == "" || len(path) >= maxPath {
		return "", false
	}
	if !strings.HasPrefix(path, "/") {
		path = dir + "/" + path
	}
	return path, true
}

// settled reports whether others than root have no part in what is at a path.
func (v view) settled(argument, dir string) bool {
	path, ok := absolute(argument, dir)
	if !ok {
		return true
	}
	at, _, _, way := v.look().resolve(path)
	return way.firm() || strings.HasPrefix(at, rootfs.SkillDir+"/")
}

// arguments looks at the files that the arguments name, where a person is
// asked: an interpreter's script is sealed, as an executable is, and of the
// others the bytes are noted.
func (p *Plan) arguments(in *Ingredients) error {
	if !p.asked() {
		return nil
	}
	tree, script := viewOf(&p.Spec), p.script()
	left := int64(maxNamedBytes)
	for i, a := range p.Call.Argv {
		if i == 0 {
			continue
		}
		f, ok := tree.named(a, p.Call.Dir)
		if !ok && i == script && !tree.settled(a, p.Call.Dir) {
			return &runtime.Error{Step: wire.StepLookup, Err: fmt.Errorf("argument %d: %s is no file in the box that could be sealed for the question, and could become one: name a script that is there", i, visible.Quote(a))}
		}
		if !ok {
			continue
		}
		if i == script {
			s, err := in.Vault.seal(f.Executable)
			if err != nil {
				return err
			}
			p.Interpreted = s
			p.Call.Argv[i] = scriptDir + "/" + f.name()
			p.Spec.Binds = append(p.Spec.Binds, rootfs.Bind{Source: s.file, Target: p.Call.Argv[i]})
			continue
		}
		n := Named{Argument: i, Path: f.Path}
		if len(p.Named) < maxNamed && f.Size <= left {
			var err error
			if n.Digest, err = f.digest(left); err != nil {
				return fmt.Errorf("argument %d: %s can't be read for the question: %w", i, visible.Text(f.Path), bare(err))
			}
			left -= f.Size
		}
		p.Named = append(p.Named, n)
	}
	return nil
}

// digest is that of the file's bytes, of which there are at most so many.
func (x *Executable) digest(most int64) (string, error) {
	f, err := x.open()
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(f, most+1))
	switch {
	case err != nil:
		return "", err
	case n > most:
		return "", errors.New("it grows")
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}

// sameFiles says whether the named files still have the bytes that were asked
// about.
func (p *Plan) sameFiles() error {
	tree := viewOf(&p.Spec)
	for _, n := range p.Named {
		if n.Digest == "" {
			continue
		}
		f, ok := tree.named(p.Call.Argv[n.Argument], p.Call.Dir)
		if ok && f.Path == n.Path {
			if now, err := f.digest(maxNamedBytes); err == nil && now == n.Digest {
				continue
			}
		}
		return fmt.Errorf("%s, argument %d, is not what it was when the call was planned: ask again", visible.Text(n.Path), n.Argument)
	}
	return nil
}

// fileFacts says what is known of the files that the arguments name.
func (p *Plan) fileFacts(add adder, digest func(string)) {
	if s := p.Interpreted; s != nil {
		add("script", "runs from a sealed copy of %s", visible.Text(s.From))
		digest(s.Digest)
	}
	beyond := 0
	for _, n := range p.Named {
		if n.Digest == "" {
			beyond++
			continue
		}
		add("file", "%s, argument %d: compared at the start, not sealed", visible.Text(n.Path), n.Argument)
		digest(n.Digest)
	}
	if beyond > 0 {
		add("NOT CHECKED", "%d files that arguments name, more than %d or %d bytes", beyond, maxNamed, maxNamedBytes)
	}
}

// regular gives the regular file that path leads to in the box, with its mode.
func (l *look) regular(path string) (f found, mode uint32, ok bool) {
	box, host, ok, way := l.resolve(path)
	var st unix.Stat_t
	if !ok || unix.Lstat(host, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return found{}, 0, false
	}
	return found{Executable{Path: box, Host: host, Identity: identityOf(&st), Size: st.Size, Changed: st.Ctim.Nano()}, path, way}, st.Mode, true
}

// name is what a copy of the file is called.
func (f *found) name() string {
	name := filepath.Base(f.as)
	if name == "." || name == ".." {
		name = filepath.Base(f.Path)
	}
	return name
}

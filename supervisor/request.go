// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Request is what a caller asks for, in names.
type Request struct {
	Skill     string        // name or path; empty: Args is a raw command
	Args      []string      // a script of the skill with its arguments, or a command
	Profile   string        // name or path; empty: the configured default
	Workspace string        // directory; empty: none
	Session   string        // its id; standalone, the caller's name for it, which is part of the plan and nothing else
	Called    string        // what the caller calls the session, where Session is an id
	Trees     *Trees        // of the session; nil: the call has a /tmp of its own, and no other workspace
	Timeout   time.Duration // less than the profile's wall_time; 0: the profile's
	Env       []string      // the caller's environment, of which the profile may pass some
	Stdin     Stdin
	Requester int    // uid, from the credentials of who asks
	Agent     string // which agent asks; empty: none does
	Keep      bool   // of an overlay: the session's calls write into one change set
	DryRun    bool   // of an overlay: what the call did is shown and thrown away
}

// Trees are a session's own directories, which its calls find as the one
// before left them: at /workspace where the call names no other workspace and
// the profile has one, and at /tmp.
type Trees struct {
	Workspace, Tmp string // absolute, on the host
	Owner          rootfs.Owner
}

// Stdin is what standard input is, as far as it can be told beforehand.
type Stdin struct {
	Kind     StdinKind
	Path     string // of a file that was named
	Identity rootfs.Identity
	Size     int64
	Changed  int64  // ctime, in nanoseconds since 1970
	Digest   string // of data: "sha256:" and 64 hexadecimal digits
}

// StdinKind is the kind of file behind standard input.
type StdinKind string

const (
	StdinEmpty    StdinKind = "empty"
	StdinFile     StdinKind = "file"
	StdinPipe     StdinKind = "pipe"
	StdinTerminal StdinKind = "terminal"
	StdinOther    StdinKind = "other" // a socket or a device, relayed
	StdinData     StdinKind = "data"  // bytes that came with the request
)

// StdinOf looks at an open file; path is what the caller called it, if it did.
// A nil file is empty.
func StdinOf(f *os.File, path string) Stdin {
	var st unix.Stat_t
	if f == nil || fstat(f, &st) != nil {
		return Stdin{Kind: StdinEmpty}
	}
	s := Stdin{Kind: StdinOther, Path: path}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		s.Kind, s.Identity, s.Size, s.Changed = StdinFile, identityOf(&st), st.Size, st.Ctim.Nano()
	case unix.S_IFIFO:
		s.Kind = StdinPipe
	case unix.S_IFCHR:
		switch major, minor := unix.Major(st.Rdev), unix.Minor(st.Rdev); {
		case major == 1 && minor == 3: // /dev/null
			s.Kind = StdinEmpty
		case major >= 136 && major <= 143, major == 4, major == 5: // pts, tty
			s.Kind = StdinTerminal
		}
	}
	return s
}

func fstat(f *os.File, st *unix.Stat_t) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	return errors.Join(raw.Control(func(fd uintptr) { inner = unix.Fstat(int(fd), st) }), inner)
}

// String says for people what standard input is.
func (s Stdin) String() string {
	text := string(s.Kind)
	if s.Path != "" {
		text += " " + visible.Quote(s.Path)
	}
	if s.Kind == StdinFile || s.Kind == StdinData {
		text += fmt.Sprintf(", %d bytes", s.Size)
	}
	return text
}

var sessionName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`) })

// check refuses what means nothing by itself.
func (r *Request) check() error {
	switch {
	case r.Skill == "" && len(r.Args) == 0:
		return errors.New("there is no command to run")
	case r.Session != "" && !sessionName().MatchString(r.Session):
		return fmt.Errorf("session %s: a name has 1 to 128 letters, digits, dots, hyphens and underscores and begins with a letter or digit", visible.Quote(r.Session))
	case r.Keep && r.Session == "":
		return errors.New("only calls of a session can keep what they write for the next: name a session")
	case r.Keep && r.DryRun:
		return errors.New("what a dry run writes is thrown away, and can't be kept for the next call")
	case r.Timeout < 0:
		return fmt.Errorf("a timeout of %v is negative", r.Timeout)
	}
	return nil
}

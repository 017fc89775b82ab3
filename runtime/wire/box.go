// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"
)

// The language of clawsup-template, whose other half is template.h beside it.
// A message is numbers and texts in a fixed order: a number is eight bytes of
// the machine's own order, a text its length, its bytes and a NUL.
//
// Setup and BoxOrder are packets on the template's socket, each answered by one
// number: a pid, with a pidfd beside it for a BoxOrder, or an error number below
// zero. A BoxCall and what the box says are frames on the box's own socket.

// BoxProtocol numbers this version of it. The programs are installed together.
const BoxProtocol = 1

// Bounds of messages, in bytes and descriptors.
const (
	MaxSetup  = 256 << 10
	MaxCall   = 4 << 20
	MaxFDs    = 64
	MaxPlaces = 64
)

// Message is one that is being written.
type Message []byte

// Number adds a number.
func (m *Message) Number(n uint64) { *m = binary.NativeEndian.AppendUint64(*m, n) }

// Text adds a text.
func (m *Message) Text(s string) {
	m.Number(uint64(len(s)))
	*m = append(append(*m, s...), 0)
}

// Texts adds a list of them.
func (m *Message) Texts(list []string) {
	m.Number(uint64(len(list)))
	for _, s := range list {
		m.Text(s)
	}
}

// Setup is what all boxes of one template have in common.
type Setup struct {
	Hostname string
	Proc     string   // mount options of /proc
	Masked   []string // files in /proc that are hidden
	Emptied  []string // directories in /proc that are
	Readonly []string // directories in /proc that can't be written
	Empty    string   // directory with nothing in it, that hides others
	Measured []string // tmpfs mount points whose use is reported at the end
	Rlimits  []Rlimit
	Landlock *Ruleset // nil: the layer was lowered
	Seccomp  []byte   // array of struct sock_filter; empty: the layer was lowered

	CgroupNamespace, TimeNamespace bool
}

// Ruleset is Landlock's, in the kernel's own numbers (landlock(7)).
type Ruleset struct {
	FS, Net, Scoped uint64 // what is handled
	File            uint64 // rights that apply to what is no directory
	Rules           []AccessRule
}

// AccessRule allows rights beneath a path of the box.
type AccessRule struct {
	Access uint64
	Path   string
}

const (
	setLandlock = 1 << iota
	setSeccomp
	setCgroupNamespace
	setTimeNamespace
)

// Encode writes it.
func (s *Setup) Encode() Message {
	m := make(Message, 0, 16<<10)
	var flags uint64
	l := s.Landlock
	for flag, on := range map[uint64]bool{
		setLandlock: l != nil, setSeccomp: len(s.Seccomp) > 0,
		setCgroupNamespace: s.CgroupNamespace, setTimeNamespace: s.TimeNamespace,
	} {
		if on {
			flags |= flag
		}
	}
	if l == nil {
		l = &Ruleset{}
	}
	m.Number(BoxProtocol)
	m.Number(flags)
	m.Text(s.Hostname)
	m.Text(s.Proc)
	m.Text(s.Empty)
	for _, n := range []uint64{l.FS, l.Net, l.Scoped, l.File} {
		m.Number(n)
	}
	m.Number(uint64(len(s.Rlimits)))
	for _, r := range s.Rlimits {
		m.Number(uint64(r.Resource))
		m.Number(r.Value)
	}
	m.Number(uint64(len(l.Rules)))
	for _, r := range l.Rules {
		m.Number(r.Access)
		m.Text(r.Path)
	}
	m.Texts(s.Masked)
	m.Texts(s.Emptied)
	m.Texts(s.Readonly)
	m.Texts(s.Measured)
	m.Text(string(s.Seccomp))
	return m
}

// PlaceKind says what a Place is.
type PlaceKind uint64

const (
	PlaceTree      PlaceKind = iota + 1 // a detached mount, whose descriptor comes with the order
	PlaceTmpfs                          // made on the spot
	PlaceDirectory                      // no mount: a directory in a place of this box's own
)

// Place is something in the root that belongs to one box alone.
type Place struct {
	Kind     PlaceKind
	Target   string
	Loose    bool    // it lies in what a tool may have written: no link is followed
	Options  string  // of a tmpfs, as for mount(2)
	Flags    uintptr // of a tmpfs, as for mount(2)
	Mapped   bool    // a tree: UID and GID, of the host, become the tool's
	UID, GID uint64
}

const (
	placeLoose = 1 << iota
	placeMapped
)

// BoxOrder asks for a box. Its descriptors are the box's end of its socket, the
// groups' and then one for each PlaceTree.
type BoxOrder struct {
	Root, UID, GID int  // on the host: of the box's 0, and of the tool
	Unified        bool // the first group is a cgroup v2 directory; the rest are v1's `tasks`
	Groups         int  // how many descriptors are groups'
	Places         []Place
}

// Encode writes it.
func (o *BoxOrder) Encode() Message {
	m := make(Message, 0, 1<<10)
	var flags uint64
	if o.Unified {
		flags = 1
	}
	for _, n := range []int{int(flags), o.Root, o.UID, o.GID, o.Groups, len(o.Places)} {
		m.Number(uint64(n))
	}
	for _, p := range o.Places {
		flags = 0
		if p.Loose {
			flags |= placeLoose
		}
		if p.Mapped {
			flags |= placeMapped
		}
		m.Number(uint64(p.Kind))
		m.Number(flags)
		m.Text(p.Target)
		m.Text(p.Options)
		m.Number(uint64(p.Flags))
		m.Number(p.UID)
		m.Number(p.GID)
	}
	return m
}

// BoxCall is the one call of a box. Its descriptors are stdin, stdout and
// stderr, and with Watch the write ends of two pipes for copies of the latter.
type BoxCall struct {
	Watch       bool
	WallTime    time.Duration // after which the box ends it, should the host not have
	StdoutMax   int64
	StderrMax   int64
	Dir         string
	Argv        []string
	Env         []string
	Requires    []string
	RequiresAny []string
}

// Encode writes it. The error is ErrFrame: it is too long.
func (c *BoxCall) Encode() (Message, error) {
	m := make(Message, 0, 4<<10)
	var flags uint64
	if c.Watch {
		flags = 1
	}
	m.Number(flags)
	m.Number(uint64(c.WallTime.Milliseconds()))
	m.Number(uint64(c.StdoutMax))
	m.Number(uint64(c.StderrMax))
	m.Text(c.Dir)
	for _, list := range [][]string{c.Argv, c.Env, c.Requires, c.RequiresAny} {
		m.Texts(list)
	}
	if len(m) > MaxCall {
		return nil, fmt.Errorf("%w: a call of %d bytes, the limit is %d", ErrFrame, len(m), MaxCall)
	}
	return m, nil
}

// BoxEvent is what a box says: exactly one of a hello, a Failure and an Outcome.
type BoxEvent struct {
	Failure *BoxFailure
	Outcome *Outcome
}

// BoxFailure is a step that did not succeed before the tool ran.
type BoxFailure struct {
	Step  Step
	Fault Fault
	Errno syscall.Errno
	Text  string
}

// Fault says what failed within a step.
type Fault uint64

const (
	FaultErrno       Fault = iota // Text was tried
	FaultRequires                 // Text is a program that is not in the box
	FaultRequiresAny              // none of the programs is
	FaultNotFound                 // Text is a command that is not in PATH
	FaultNotRegular               // Text is no regular file
	FaultExec                     // Text could not be executed
	FaultSilent                   // the stage ended without a word
	FaultFrame                    // a message broke the rules
	numFaults
)

const (
	eventHello = iota + 1
	eventFailed
	eventDone
)

const (
	doneOutputLimit = 1 << iota
	doneTimedOut
)

// cursor reads a message. After the first thing that isn't there it gives
// zeros.
type cursor struct {
	rest []byte
	bad  bool
}

func (c *cursor) number() uint64 {
	if len(c.rest) < 8 {
		c.bad = true
		return 0
	}
	n := binary.NativeEndian.Uint64(c.rest)
	c.rest = c.rest[8:]
	return n
}

func (c *cursor) text() string {
	n := c.number()
	if c.bad || n >= uint64(len(c.rest)) || c.rest[n] != 0 {
		c.bad = true
		return ""
	}
	s := string(c.rest[:n])
	c.rest = c.rest[n+1:]
	return s
}

// DecodeBoxEvent reads one. The error is ErrFrame.
func DecodeBoxEvent(b []byte) (BoxEvent, error) {
	c := cursor{rest: b}
	var e BoxEvent
	switch kind := c.number(); kind {
	case eventHello:
	case eventFailed:
		f := &BoxFailure{Step: Step(c.number()), Fault: Fault(c.number()), Errno: syscall.Errno(c.number()), Text: c.text()}
		if f.Step <= StepNone || f.Step >= numSteps || f.Fault >= numFaults {
			c.bad = true
		}
		e.Failure = f
	case eventDone:
		micro := func() time.Duration { return time.Duration(c.number()) * time.Microsecond }
		o := &Outcome{Status: uint32(c.number()), User: micro(), System: micro()}
		o.Written = int64(c.number()) * 512 // getrusage(2): in units of 512 bytes
		o.Stdout, o.Stderr = int64(c.number()), int64(c.number())
		flags := c.number()
		o.OutputLimit, o.TimedOut = flags&doneOutputLimit != 0, flags&doneTimedOut != 0
		for _, name := range []string{"standard output", "standard error"} {
			if errno := syscall.Errno(c.number()); errno != 0 {
				o.OutputError = fmt.Sprintf("%s could not be passed on: %v", name, errno)
			}
		}
		o.Memory = int64(c.number())
		e.Outcome = o
	default:
		c.bad = true
	}
	if c.bad || len(c.rest) > 0 {
		return BoxEvent{}, fmt.Errorf("%w: what the box said", ErrFrame)
	}
	return e, nil
}

// Explain says what a failure means. any are the programs of which the call
// requires one.
func (f *BoxFailure) Explain(any []string) error {
	switch f.Fault {
	case FaultRequires:
		return fmt.Errorf("the skill requires %q, which is not in the box", f.Text)
	case FaultRequiresAny:
		return fmt.Errorf("the skill requires one of %q, and none is in the box", any)
	case FaultNotFound:
		return fmt.Errorf("%q: file does not exist in PATH of the box", f.Text)
	case FaultNotRegular:
		return fmt.Errorf("%q: not a regular file", f.Text)
	case FaultExec:
		return ExplainExec(f.Text, f.Errno)
	case FaultSilent:
		return errors.New("the stage ended without a word; out of memory?")
	case FaultFrame:
		return fmt.Errorf("%w: the box was sent what it does not understand", ErrFrame)
	}
	if strings.HasPrefix(f.Text, "/") {
		return fmt.Errorf("%q: %w", f.Text, f.Errno)
	}
	return fmt.Errorf("%s: %w", f.Text, f.Errno)
}

// ExplainExec adds what execve(2) means by its two puzzling errors.
func ExplainExec(file string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("%q: %w: the interpreter that its first line names, or its loader, is not in the box", file, err)
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("%q: %w: no program, and no #! line that names an interpreter", file, err)
	}
	return fmt.Errorf("%q: %w", file, err)
}

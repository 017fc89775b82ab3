// SPDX-License-Identifier: Apache-2.0

// Package wire is the language between the two halves of a sandbox: the
// host's half (package runtime) and clawsup-init, PID 1 in the box (package
// boot).
//
// They share one stream socket (unix(7), a socketpair made by the host, which
// init holds as descriptor ControlFD). A frame is four bytes of length, big
// endian, then that many bytes of JSON, at most MaxFrame. The order is fixed:
//
//	init → host   Hello               the box is prepared and waits
//	host → init   Call, descriptors   once
//	init → host   Event{Started}      execve(2) of the tool succeeded, or
//	              Event{Failed}       a step did not, and nothing of it ran
//	host → init   Signal              any number
//	init → host   Event{Done}         everything of the call is gone, output drained
//
// The descriptors are, in this order, stdin, stdout and stderr of the call;
// if Call.Watch is set the write ends of two pipes for what was written to
// stdout and stderr; if Call.Socket is set the socket that becomes the tool's
// descriptor 3.
//
// # Services
//
// A Call with a Service is a service: it may outlive who gave it. Its
// descriptors are the two files of the log, the service's end of a control
// socket, and the Socket. From then on the stream socket is not used any more,
// and the control socket is a SOCK_SEQPACKET one, so that a host that is
// killed in the middle leaves a whole message or none, and the next can go on:
//
//	init → host   State   when the tool runs or can't, when it has ended, and as answer
//	host → init   Order   any number: tell the state, send a signal
//
// Answers are sent without waiting, and only the last State waits for room. One
// that is lost because nobody reads is asked for again; what it tells only ever goes from starting to running to
// ended, so an old one that somebody else had asked for does no harm. What
// either side doesn't know, of a newer version of the other, it passes over.
//
// # The end
//
// End of file from the host at any point means: kill everything and exit. It
// comes when the last copy of the host's end is closed: that of a service may
// be kept for a host that is yet to come.
//
// Nothing that the tool can write reaches these sockets, so neither half has
// to distrust the other's frames beyond their bound; both do check them.
package wire

import (
	"encoding/json"
	"errors"
	"time"
)

// ControlFD is the descriptor at which clawsup-init finds its socket.
const ControlFD = 3

// SocketFD is the descriptor at which a tool finds the socket that its call
// brought.
const SocketFD = 3

// MaxFrame bounds one frame's JSON, in bytes. It holds the largest argv and
// environment that MaxStrings allows, escaped, with a filter and rules.
const MaxFrame = 8 << 20

// MaxStrings bounds argv and environment of a call together, in bytes with
// one terminator each. execve(2) itself ends at a quarter of the stack limit.
const MaxStrings = 1 << 20

// MaxString bounds one argument or variable: MAX_ARG_STRLEN of execve(2).
const MaxString = 128 << 10

// ErrFrame reports a frame that breaks the rules of this package.
var ErrFrame = errors.New("malformed frame")

// Hello is init's first word.
type Hello struct {
	Protocol int // Protocol of this package
}

// Protocol numbers this version of the language. Both halves are installed
// together; a mismatch means a half-done upgrade and is refused.
const Protocol = 2

// Control numbers the language of control sockets, and what a host writes down
// of a service. It changes only when it must: hosts of a newer build take over
// services that an older one started.
const Control = 1

// Identity of the tool as the box sees it. Uid and gid 0 are clawsup-init's.
const (
	ToolUID = 1000
	ToolGID = 1000
)

// Text is a string of any bytes. JSON knows only Unicode, so it travels in
// base64: a file name or an argument must arrive as it was approved.
type Text string

// MarshalJSON writes the bytes in base64.
func (t Text) MarshalJSON() ([]byte, error) { return json.Marshal([]byte(t)) }

// UnmarshalJSON reads them back.
func (t *Text) UnmarshalJSON(b []byte) error {
	var bytes []byte
	if err := json.Unmarshal(b, &bytes); err != nil {
		return err
	}
	*t = Text(bytes)
	return nil
}

// Texts turns strings into Text.
func Texts(list []string) []Text {
	texts := make([]Text, len(list))
	for i, s := range list {
		texts[i] = Text(s)
	}
	return texts
}

// Strings turns them back.
func Strings(texts []Text) []string {
	list := make([]string, len(texts))
	for i, t := range texts {
		list[i] = string(t)
	}
	return list
}

// Call is the one thing a sandbox is given.
type Call struct {
	Argv        []Text        // Argv[0] is looked up in PATH of Env unless it holds a slash
	Env         []Text        // NAME=value, the whole environment
	Dir         Text          // working directory in the box
	Requires    []Text        // programs that must be found in PATH
	RequiresAny []Text        // programs of which one must be
	Rlimits     []Rlimit      // set for the tool
	StdoutMax   int64         // bytes passed on before the call ends
	StderrMax   int64         // bytes passed on before the call ends
	WallTime    time.Duration // after which init ends the call, should the host not have
	Landlock    *Landlock     // nil: the layer was lowered
	Seccomp     []byte        // array of struct sock_filter; empty: the layer was lowered
	Measure     []string      // tmpfs mount points whose use is reported at the end
	Watch       bool          // two descriptors more: pipes for copies of stdout and stderr
	Socket      bool          // one descriptor more: the tool's descriptor 3
	Service     *Service      `json:",omitempty"` // nil: an ordinary call
}

// Service is what differs for a tool that runs until it ends or is ended:
// stdin is /dev/null, stdout and stderr are one stream that goes to the log,
// and WallTime, StdoutMax and StderrMax mean nothing.
type Service struct {
	LogMax int64 // bytes in each of the log's two files
}

// Descriptors is how many descriptors ride on the call.
func (c *Call) Descriptors() int {
	n := 3
	if c.Watch {
		n += 2
	}
	if c.Socket {
		n++
	}
	return n
}

// MaxDescriptors bounds them.
const MaxDescriptors = 6

// Rlimit is one limit of setrlimit(2), soft and hard alike.
type Rlimit struct {
	Resource int // RLIMIT_*
	Value    uint64
}

// MaxABI is the newest Landlock version that the library in clawsup-init can
// apply. A kernel that offers a newer one runs it all the same.
const MaxABI = 11

// Landlock is the second wall, as the pure function of package layer chose it.
type Landlock struct {
	ABI   int    // version whose access rights are handled
	Rules []Rule // beneath which paths what stays allowed
	TCP   bool   // true: bind and connect stay allowed (ABI 4)
	UDP   bool   // true: bind, connect and send stay allowed (ABI 10)
	Scope bool   // abstract sockets and signals stay in the domain (ABI 6)
}

// Rule allows an access class beneath a path of the box.
type Rule struct {
	Path   Text
	Access Access
}

// Access is a class of rights on a path.
type Access int

const (
	Read    Access = iota // read and list
	Execute               // and execute
	Write                 // and create, change, remove; no device, socket or FIFO
	Full                  // and create sockets and FIFOs: private places
	Device                // read and write a device file
	Connect               // as Execute, and connect to Unix sockets
)

// Signal asks init to signal the tool's process group.
type Signal struct {
	Number int
}

// OrderKind says what an Order wants.
type OrderKind int

const (
	Tell OrderKind = iota + 1 // the state
	Send                      // a signal to the tool's process group
)

// Order is what a host wants of a service.
type Order struct {
	Kind   OrderKind
	Signal int `json:",omitempty"` // of Send
}

// State is how a service is. With neither Failure nor Outcome the tool runs.
type State struct {
	Protocol int      // Control of who tells
	Failure  *Failure `json:",omitempty"` // it never ran
	Outcome  *Outcome `json:",omitempty"` // it has ended, and everything of it is gone
}

// EventKind says what an Event tells.
type EventKind int

const (
	Started EventKind = iota + 1
	Failed
	Done
	Pipes // from the stage to init alone: the other ends of its streams
)

// Event is what init tells about the call.
type Event struct {
	Kind    EventKind
	Failure *Failure `json:",omitempty"` // of Failed
	Outcome *Outcome `json:",omitempty"` // of Done
}

// Failure is a step that did not succeed before the tool ran.
type Failure struct {
	Step    Step
	Message string
}

// Outcome is how the tool ended and what the call used.
type Outcome struct {
	Status      uint32        // as wait(2) gives it
	User        time.Duration // of every process that was reaped
	System      time.Duration
	Written     int64 // bytes that went towards block devices (ru_oublock)
	Stdout      int64 // bytes passed on
	Stderr      int64
	OutputLimit bool   // a cap was reached with more to come
	OutputError string // why the caller's descriptor took no more; empty: it did, or nobody reads
	TimedOut    bool   // init's own clock ended the call
	Memory      int64  // bytes in the measured tmpfs mounts at the end
}

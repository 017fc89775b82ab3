// SPDX-License-Identifier: Apache-2.0

// Package packet is the language between clawsupd (package relay) and the
// boxed clawsup-egress (package boxed).
//
// They share one Unix socket of type SOCK_SEQPACKET (unix(7)), which keeps
// messages apart and is either sent one or not. A message is one JSON object of at
// most MaxPacket bytes, strictly read, and carries at most one descriptor,
// always a socket in non-blocking mode that clawsupd made.
//
//	clawsupd → helper   Order{Listen, relay} + listening socket
//	helper → clawsupd   Word{Dial, relay, id}            it accepted a connection there
//	clawsupd → helper   Order{Peer, id} + socket         that is connecting to the other end, or
//	                    Order{Refuse, id}                there is none
//	clawsupd → helper   Order{Drop, relay}               its socket and connections are closed
//	clawsupd → helper   Order{Probe, id, path} + socket  that is connecting
//	helper → clawsupd   Word{Probed, id, ok, detail}
//	clawsupd → helper   Order{Ping, id}
//	helper → clawsupd   Word{Pong, id}
//
// Of boxes that reach beyond themselves (see Box):
//
//	clawsupd → helper   Order{Open, box, Box} + listening TCP socket
//	                    Order{Datagrams, box} + UDP socket, that DNS queries come in through
//	                    Order{Bind, box, Binding}       one secret, new or changed
//	                    Order{Unbind, box, secret}
//	                    Order{Shut, box}                its connections are closed, and what was decided for it Ended
//	helper → clawsupd   Word{Name, id, box, host}       may this name, or address, be asked for?
//	                    Word{Ask, id, box, Query}       may this leave? The answer may take a person
//	                    Word{CaptureToken, id, box, Captured}
//	clawsupd → helper   Order{Answer, id, Verdict}
//	helper → clawsupd   Word{Leave, id}                 who asked has gone: no answer follows, and what one allowed already has ended
//	                    Word{Connect, id, box, decision, address}
//	                    Word{Lookup, id, server, tcp}   a socket to a resolver of the host
//	clawsupd → helper   Order{Peer, id} + socket, or Order{Refuse, id, detail}
//	helper → clawsupd   Word{Ended, box, decision, Traffic}
//	                    Word{Refused, box, Refusal}
//	                    Word{Over, box}                 it was shut, and nothing more is told of it
//
// The socket to a resolver is a connecting TCP socket, or a Unix one of type
// SOCK_SEQPACKET, each message of which clawsupd passes on as a datagram and
// back: one of UDP could be used to send anywhere.
//
// Who reads orders never waits for a word to be sent: clawsupd may be waiting
// for orders to be read before it reads words. Ids of the helper are above 0, and
// none is used again before what it stands for is over.
//
// Ids are clawsupd's for relays, probes and pings, and the helper's for
// connections. To clawsupd the helper is hostile: it moves bytes of the
// network and may be taken over by them. All it can do is to ask for a connection of a relay it
// was given, and to lie about readiness.
package packet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// MaxPacket bounds a message, in bytes.
const MaxPacket = 64 << 10

// MaxDetail bounds Word.Detail, in bytes.
const MaxDetail = 256

// Bounds of what one helper does at a time.
const (
	MaxRelays      = 64
	PerRelay       = 256 // connections
	MaxConnections = 512 // of all relays
	MaxProbes      = 16
	PerSecond      = 512 // connections; a helper keeps to it, and one that does not is no helper
	Burst          = 256 // at once before that
)

// Bounds of what is about boxes. What is over one of them is refused, and not
// the end of the helper: programs could bring that about.
const (
	WordsPerSecond = 20_000           // are read of a helper; more wait
	WordsBurst     = 4096             // at once before that
	MaxAsks        = 4096             // Ask and CaptureToken without an answer, of all boxes; see Leaves
	MaxBoxAsks     = 1024             // the same, of one
	MaxDecisions   = 4096             // of one box that have not Ended; the oldest is forgotten for one more
	MaxConnects    = 16               // of one decision
	MaxLookups     = 64               // sockets to resolvers at a time
	LookupLimit    = 10 * time.Second // after which such a socket ends
	MaxDatagram    = 4096             // bytes, of one to or from a resolver
)

// Leaves says whether one of several may take n more of something of which there
// is so much: it never takes more than it leaves for others. So the first gets half
// of it, k of them a (k+1)-th each, and whoever comes next finds some. mine is what it has,
// all what they have together.
func Leaves(mine, all, n, most int) bool { return mine+n <= most-all-n }

// ErrPacket reports a message that breaks the rules of this package.
var ErrPacket = errors.New("malformed message")

// OrderKind says what clawsupd wants.
type OrderKind int

// The orders.
const (
	Listen OrderKind = iota + 1
	Drop
	Peer
	Refuse
	Probe
	Ping
	Open
	Datagrams
	Bind
	Unbind
	Shut
	Answer
)

// Order is what clawsupd says.
type Order struct {
	Kind    OrderKind     `json:"kind"`
	ID      int           `json:"id"`
	Host    string        `json:"host,omitempty"`    // of Probe: for the header of that name
	Path    string        `json:"path,omitempty"`    // of Probe: for GET; empty: a connection is enough
	Timeout time.Duration `json:"timeout,omitempty"` // of Probe, in nanoseconds

	Box     *Box     `json:"box,omitempty"`     // of Open
	Binding *Binding `json:"binding,omitempty"` // of Bind
	Secret  string   `json:"secret,omitempty"`  // of Unbind
	Verdict *Verdict `json:"verdict,omitempty"` // of Answer
	Detail  string   `json:"detail,omitempty"`  // of Refuse: why
}

// WordKind says what the helper tells.
type WordKind int

// The words.
const (
	Dial WordKind = iota + 1
	Probed
	Pong
	Name
	Ask
	CaptureToken
	Leave
	Connect
	Lookup
	Ended
	Refused
	Over
)

// Word is what the helper says.
type Word struct {
	Kind   WordKind `json:"kind"`
	ID     int      `json:"id"`
	Relay  int      `json:"relay,omitempty"`  // of Dial
	OK     bool     `json:"ok,omitempty"`     // of Probed
	Detail string   `json:"detail,omitempty"` // of Probed: why not

	Box      int            `json:"box,omitempty"`      // of all that are about one
	Host     string         `json:"host,omitempty"`     // of Name
	Query    *Query         `json:"query,omitempty"`    // of Ask
	Captured *Captured      `json:"captured,omitempty"` // of CaptureToken
	Decision int            `json:"decision,omitempty"` // of Connect and Ended
	Address  netip.AddrPort `json:"address,omitzero"`   // of Connect
	Server   int            `json:"server,omitempty"`   // of Lookup: which of Box.Resolvers
	TCP      bool           `json:"tcp,omitempty"`      // of Lookup
	Traffic  *Traffic       `json:"traffic,omitempty"`  // of Ended
	Refusal  *Refusal       `json:"refusal,omitempty"`  // of Refused
}

// Conn is one end. One goroutine may receive while others send.
type Conn struct {
	file *os.File
	body []byte // of Receive
	oob  []byte // of Receive
}

// Pair makes a connected pair, close-on-exec and non-blocking.
func Pair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "helper"), os.NewFile(uintptr(fds[1]), "clawsupd"), nil
}

// New takes over one end of Pair.
func New(file *os.File) *Conn { return &Conn{file: file} }

// Close closes the end and wakes who waits at it.
func (c *Conn) Close() error { return c.file.Close() }

// sendLimit is how long the other end may leave its socket full.
const sendLimit = 5 * time.Second

// Fits returns what Send would of a message that can't be one: ErrPacket if it is
// too long.
func Fits(v any) error {
	body, err := encode(v)
	clear(body)
	return err
}

func encode(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err == nil && len(body) > MaxPacket {
		err = fmt.Errorf("%w: %d bytes, the limit is %d", ErrPacket, len(body), MaxPacket)
	}
	return body, err
}

// Send sends a message and a copy of the descriptor, if there is one. After
// ErrPacket the connection is as it was: that message was too long, and is not sent.
func (c *Conn) Send(v any, file *os.File) error {
	body, err := encode(v)
	if err != nil {
		return err
	}
	defer clear(body) // it may have held secrets
	if file == nil {
		return c.send(body, nil)
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	// Inside, the descriptor can't be closed and taken by another file.
	var sent error
	err = raw.Control(func(fd uintptr) { sent = c.send(body, unix.UnixRights(int(fd))) })
	return errors.Join(err, sent)
}

func (c *Conn) send(body, rights []byte) error {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	if err := c.file.SetWriteDeadline(time.Now().Add(sendLimit)); err != nil {
		return err
	}
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		sent = retry(func() error { return unix.Sendmsg(int(fd), body, rights, nil, unix.MSG_NOSIGNAL) })
		return !errors.Is(sent, unix.EAGAIN)
	})
	if err := errors.Join(err, sent); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// Receive reads one message into v, and the descriptor that came with it; nil
// if none did. At the end it is io.EOF.
func (c *Conn) Receive(v any) (*os.File, error) {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return nil, err
	}
	if c.body == nil {
		c.body = make([]byte, MaxPacket)
		// Room for more than one descriptor: what there is no room for is lost without a trace
		// of how many they were, what there is room for is closed.
		c.oob = make([]byte, unix.CmsgSpace(4*4))
	}
	body, oob := c.body, c.oob
	var n, oobn, flags int
	var got error
	err = raw.Read(func(fd uintptr) bool {
		got = retry(func() (err error) {
			n, oobn, flags, _, err = unix.Recvmsg(int(fd), body, oob, unix.MSG_CMSG_CLOEXEC)
			return err
		})
		return !errors.Is(got, unix.EAGAIN)
	})
	if err := errors.Join(err, got); err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	fds := rights(oob[:oobn])
	fail := func(format string, args ...any) (*os.File, error) {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		return nil, fmt.Errorf("%w: %s", ErrPacket, fmt.Sprintf(format, args...))
	}
	switch {
	case flags&unix.MSG_TRUNC != 0:
		return fail("more than %d bytes", MaxPacket)
	case flags&unix.MSG_CTRUNC != 0 || len(fds) > 1:
		return fail("more than one descriptor")
	case n == 0 && len(fds) == 0: // an empty message looks like the end, and is as good as one
		return nil, io.EOF
	}
	if err := Decode(body[:n], v); err != nil {
		return fail("%v", err)
	}
	if len(fds) == 0 {
		return nil, nil
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return fail("%v", err)
	}
	return os.NewFile(uintptr(fds[0]), "socket"), nil
}

// Decode reads one object with known fields alone, and nothing after it.
func Decode(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the object")
	}
	return nil
}

// rights collects descriptors of whatever form the kernel gave.
func rights(oob []byte) (fds []int) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		if got, err := unix.ParseUnixRights(&m); err == nil {
			fds = append(fds, got...)
		}
	}
	return fds
}

func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

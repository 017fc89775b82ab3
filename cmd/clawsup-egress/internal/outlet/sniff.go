// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"bytes"
	"time"
)

// kind is what a connection speaks.
type kind int

const (
	unsure kind = iota // more has to be seen
	silent             // nothing was said
	speaksTLS
	speaksHTTP
	preface    // of HTTP/2 in plain text
	speaksElse // bytes
)

const (
	// silence is how long a program is waited for that says nothing: the server may
	// be meant to speak first. One that does not look that way still may take long
	// to its first byte, while it loads what it needs for TLS and others have the
	// processor; taken for bytes it would be asked about as something that it is not. A
	// rule that says through = "tcp" spares the wait.
	silence = 3 * time.Second
	// shortSilence is the same at ports of protocols in which the server does.
	shortSilence = 300 * time.Millisecond
	// maxLine bounds a request line, in bytes: a path, a query, and some room.
	maxLine = 18 << 10
)

// firstSpeaker says whether nobody serves a protocol at a port in which the
// server speaks first.
func firstSpeaker(port uint16) bool { return port == 80 || port == 443 }

// serverFirst are ports of protocols in which the server speaks first: FTP, SSH,
// SMTP, POP3, NNTP, IMAP, MySQL, VNC.
var serverFirst = map[uint16]bool{21: true, 22: true, 25: true, 587: true, 110: true, 119: true, 143: true, 3306: true, 5900: true}

// firstWait is how long a program may say nothing.
func firstWait(port uint16) time.Duration {
	switch {
	case firstSpeaker(port):
		return headerLimit
	case serverFirst[port]:
		return shortSilence
	}
	return silence
}

// classify says what the first bytes are. More bytes behind them change nothing
// once it is not unsure.
func classify(b []byte) kind {
	if len(b) == 0 {
		return unsure
	}
	if b[0] == 22 { // a record of type handshake, of version 3.x (RFC 8446, 5.1)
		switch {
		case len(b) > 1 && b[1] != 3 || len(b) > 2 && b[2] > 4 || len(b) > 5 && b[5] != 1: // a ClientHello
			return speaksElse
		case len(b) < 6:
			return unsure
		}
		return speaksTLS
	}
	line, whole := b, false
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		line, whole = bytes.TrimSuffix(b[:i], []byte("\r")), true
	}
	method, rest, cut := bytes.Cut(line, []byte(" "))
	switch {
	case len(method) == 0 || len(method) > 32 || bytes.ContainsFunc(method, notMethod):
		return speaksElse
	case !cut && whole:
		return speaksElse
	case !cut:
		return unsure
	case len(rest) == 0 && !whole:
		return unsure
	case len(rest) == 0 || !startsTarget(rest[0]):
		return speaksElse
	case whole && string(line) == "PRI * HTTP/2.0":
		return preface
	case whole && isVersion(line):
		return speaksHTTP
	case whole:
		return speaksElse
	case len(b) > maxLine: // net/http will say that it is too long
		return speaksHTTP
	}
	return unsure
}

// isVersion says whether a line ends as a request's does.
func isVersion(line []byte) bool {
	return bytes.HasSuffix(line, []byte(" HTTP/1.1")) || bytes.HasSuffix(line, []byte(" HTTP/1.0"))
}

// notMethod says what methods in use don't have in them: they are in capitals,
// some with a hyphen.
func notMethod(r rune) bool { return (r < 'A' || r > 'Z') && r != '-' && r != '_' }

// startsTarget: origin-form, asterisk-form, absolute-form or authority-form
// (RFC 9112, 3.2).
func startsTarget(c byte) bool {
	return c == '/' || c == '*' || c == '[' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// firstSize is what is read at once to find out what a connection speaks: a
// request line or a ClientHello fits, mostly.
const firstSize = 2 << 10

// sniff reads until it is sure, for silence at first and headerLimit in all. What it
// read is read again. Of a connection that began and then stopped it says
// speaksElse.
func (c *conn) sniff(first time.Duration) (kind, error) {
	end := time.Now().Add(headerLimit)
	wait := time.Now().Add(first)
	defer func() { _ = c.SetReadDeadline(time.Time{}) }()
	for {
		got := classify(c.head)
		if got != unsure {
			return got, nil
		}
		if err := c.SetReadDeadline(wait); err != nil {
			return unsure, err
		}
		if cap(c.head)-len(c.head) < firstSize/2 {
			c.head = append(make([]byte, 0, 2*cap(c.head)+firstSize), c.head...)
		}
		n, err := c.TCPConn.Read(c.head[len(c.head):cap(c.head)])
		c.head = c.head[:len(c.head)+n]
		switch {
		case n > 0:
			// A byte that TLS begins with, or a word, may be all of another protocol's first message.
			wait = end
			if len(c.head) < 6 || !bytes.Contains(c.head, []byte(" ")) {
				wait = time.Now().Add(silence)
			}
		case timedOut(err) && len(c.head) == 0:
			return silent, nil
		case timedOut(err) && time.Now().Before(end):
			return speaksElse, nil
		case err != nil:
			return unsure, err
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package world

import (
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// Seen is what a server saw: a request, a connection that is no HTTP, or a
// touched canary.
type Seen struct {
	Server   Name
	Protocol string // HTTP/1.1, HTTP/2.0, websocket, tcp, canary
	From, To netip.AddrPort
	SNI      string // what the client of TLS called the server
	Version  uint16 // of TLS; 0: plain

	Method, Host, Target string // of HTTP, as they came
	Header               http.Header

	Body  []byte // the first MaxBody bytes, of a WebSocket its first message
	Size  int64  // of it all
	SHA   string // SHA-256 of it all, in hexadecimal; once it has ended
	Ended bool   // the body was read to its end and the answer was sent; or the connection is over
}

// String is a line of it.
func (s Seen) String() string {
	line := fmt.Sprintf("%s at %s from %s: %s %s %s", s.Server, s.To, s.From, s.Protocol, s.Method, s.Target)
	if s.Host != "" && s.Host != string(s.Server) {
		line += " for " + s.Host
	}
	if len(s.Header) > 0 {
		line += fmt.Sprintf(" %q", s.Header)
	}
	return line + fmt.Sprintf(", %d bytes %.200q", s.Size, s.Body)
}

// MaxBody bounds Seen.Body, in bytes.
const MaxBody = 1 << 20

// Log has what the servers saw.
type Log struct {
	mu      sync.Mutex
	seen    []*Seen       // mu
	changed chan struct{} // mu; closed at each change, and replaced
}

func newLog() *Log { return &Log{changed: make(chan struct{})} }

// add puts something into the log; change, which may be called any number of
// times, alters it there.
func (l *Log) add(s Seen) (change func(func(*Seen))) {
	entry := &s
	l.alter(func() { l.seen = append(l.seen, entry) })
	return func(f func(*Seen)) { l.alter(func() { f(entry) }) }
}

func (l *Log) alter(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	close(l.changed)
	l.changed = make(chan struct{})
}

// All gives what was seen that match says, the oldest first; without match all.
func (l *Log) All(match func(Seen) bool) []Seen {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all(match)
}

func (l *Log) all(match func(Seen) bool) []Seen {
	var all []Seen
	for _, s := range l.seen {
		if match == nil || match(*s) {
			all = append(all, *s)
		}
	}
	return all
}

// Await waits until something was seen that match says, and gives the first.
func (l *Log) Await(t testing.TB, match func(Seen) bool) Seen {
	t.Helper()
	limit := time.After(Patience)
	for {
		l.mu.Lock()
		found, changed := l.all(match), l.changed
		l.mu.Unlock()
		if len(found) > 0 {
			return found[0]
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("the servers did not see it, but: %v", l.All(nil))
		}
	}
}

// Canaries are what was seen where nothing should ever arrive.
func (l *Log) Canaries() []Seen {
	return l.All(func(s Seen) bool { return s.Protocol == canary })
}

const canary = "canary"

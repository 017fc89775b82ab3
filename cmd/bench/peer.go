// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// peerName is the first argument that makes a peer of this program.
const peerName = "peer"

// errand is what a peer is asked for: one line of JSON on its stdin. Who has
// written it waits for the result before it writes the next one.
type errand struct {
	Do      string        `json:"do"`                // a key of errands
	URL     string        `json:"url,omitempty"`     // SCHEME://NAME:PORT/PATH; tcp and tls besides http and https
	Connect string        `json:"connect,omitempty"` // where the name is, ADDRESS:PORT; empty: it is looked up
	Streams int           `json:"streams,omitempty"` // connections at once, 1 at least
	For     time.Duration `json:"for,omitempty"`     // how long it is done again and again
	Times   int           `json:"times,omitempty"`   // or how often
	Rest    time.Duration `json:"rest,omitempty"`    // before each time
	HTTP2   bool          `json:"http2,omitempty"`
	Up      bool          `json:"up,omitempty"` // bytes are sent, not received
}

// result is one line of JSON on its stdout. Times are nanoseconds.
type result struct {
	Done  int64           `json:"done"` // bytes, or times
	Wall  time.Duration   `json:"wall"`
	CPU   time.Duration   `json:"cpu"`             // of this process, meanwhile; of "cpu", since its start
	Each  []time.Duration `json:"each,omitempty"`  // what each time took
	When  time.Time       `json:"when,omitzero"`   // the last one's end, by the clock of day, which a box has as well
	Ports map[string]int  `json:"ports,omitempty"` // of "serve", by scheme
	Error string          `json:"error,omitempty"`
}

// errands are what a peer does.
var errands = map[string]func(*peer, errand) (result, error){
	"cpu":     func(*peer, errand) (result, error) { return result{CPU: used()}, nil },
	"serve":   (*peer).serve,
	"stream":  (*peer).stream,
	"request": (*peer).request,
	"connect": (*peer).connect,
	"resolve": (*peer).resolve,
	"idle":    (*peer).idle,
	"drop":    (*peer).drop,
}

// peer is one end of connections: a client, in a box or not, or the servers.
type peer struct {
	trust *tls.Config // of a client
	kept  []io.Closer // what "idle" left open
	http  map[string]*web
}

// peering is the main function of a peer. Its only argument, if there is one, is
// the certificate file of servers; a client has SSL_CERT_FILE in its environment.
func peering(args []string) error {
	p := &peer{http: make(map[string]*web)}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return err
	}
	p.trust = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	if len(args) > 0 {
		if err := p.certified(args[0]); err != nil {
			return err
		}
	}
	lines := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var e errand
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return err
		}
		do, known := errands[e.Do]
		if !known {
			return fmt.Errorf("peer: no errand %q", e.Do)
		}
		e.Streams = max(e.Streams, 1)
		cpu := used()
		got, err := do(p, e)
		if err != nil {
			got.Error = err.Error()
		}
		if e.Do != "cpu" {
			got.CPU = used() - cpu
		}
		if err := out.Encode(got); err != nil {
			return err
		}
	}
	return lines.Err()
}

// used is the CPU time of this process.
func used() time.Duration {
	var use unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &use); err != nil {
		return 0
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// again does something until the time is over, or so many times, from so many
// goroutines, and tells how long each took.
func (e errand) again(do func(stream int) error) (result, error) {
	type share struct {
		each []time.Duration
		err  error
	}
	shares := make(chan share)
	began := time.Now()
	for stream := range e.Streams {
		go func() {
			var s share
			for n := 0; s.err == nil && (n < e.Times || time.Since(began) < e.For); n++ {
				time.Sleep(e.Rest)
				from := time.Now()
				s.err = do(stream)
				s.each = append(s.each, time.Since(from))
			}
			shares <- s
		}()
	}
	var r result
	var err error
	for range e.Streams {
		s := <-shares
		r.Each = append(r.Each, s.each...)
		err = errors.Join(err, s.err)
	}
	r.Wall, r.When, r.Done = time.Since(began), time.Now().Round(0), int64(len(r.Each))
	return r, err
}

// raiseFiles raises the limit of descriptors as far as it goes.
func raiseFiles() {
	var files syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) == nil {
		files.Cur = files.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files)
	}
}

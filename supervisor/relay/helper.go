// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Options say what a helper is made from.
type Options struct {
	Supervisor *supervisor.Supervisor // in whose boxes it runs, and whose Config.Egress it is
	Dir        string                 // of root's own: what it writes to its standard streams
	Report     func(error)            // is told why it ended, each time; may be nil
}

// Helper is the boxed clawsup-egress, across all its starts.
type Helper struct {
	options  Options
	interval time.Duration // between pings
	handler  Handler       // nil: none

	mu      sync.Mutex
	relays  map[int]*Relay   // mu
	last    int              // mu; id of the last relay or probe
	now     *Run             // mu; nil while it doesn't run
	service *runtime.Service // mu; its box, or the last one
	began   chan struct{}    // mu; closed when it does
}

// ErrNotRunning says that there is no helper at the moment; another start of it follows.
var ErrNotRunning = errors.New("clawsup-egress is not running")

// Open checks what it is made from. Run starts it.
func Open(o Options) (*Helper, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	if o.Report == nil {
		o.Report = func(error) {}
	}
	return &Helper{options: o, interval: pingInterval, relays: map[int]*Relay{}, began: make(chan struct{})}, nil
}

// Handle says who is told of boxes. It is called once at most, and before Run.
func (h *Helper) Handle(handler Handler) { h.handler = handler }

// Bounds of the pause before the next start.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
	ranWell    = time.Minute // after which the pause is the first again
)

// Run keeps the helper running until ctx ends.
func (h *Helper) Run(ctx context.Context) {
	pause := firstPause
	for ctx.Err() == nil {
		begin := time.Now()
		err := h.once(ctx)
		if ctx.Err() != nil {
			return
		}
		h.options.Report(err)
		if time.Since(begin) > ranWell {
			pause = firstPause
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
}

// once runs it from a start to its end, and says why that came.
func (h *Helper) once(ctx context.Context) error {
	ours, theirs, err := packet.Pair()
	if err != nil {
		return err
	}
	service, err := h.start(ctx, theirs)
	err = errors.Join(err, theirs.Close())
	if err != nil {
		return fmt.Errorf("start clawsup-egress: %w", errors.Join(err, ours.Close()))
	}
	h.mu.Lock()
	h.service = service
	h.mu.Unlock()
	why := h.Converse(ctx, packet.New(ours))
	err = service.Close()
	return errors.Join(fmt.Errorf("clawsup-egress ended: %w%s", why, h.said()), err)
}

// Converse has one run with whatever is at the other end, from its beginning to
// its end, and says why that came: what Run does with each helper that it starts.
// It takes conn over.
func (h *Helper) Converse(ctx context.Context, conn *packet.Conn) error {
	s := newRun(h, conn)
	if h.handler != nil {
		if err := h.handler.Began(s); err != nil {
			return errors.Join(err, conn.Close())
		}
		defer h.handler.Ended(s)
	}
	h.mu.Lock()
	var err error
	for id, r := range h.relays {
		err = errors.Join(err, conn.Send(packet.Order{Kind: packet.Listen, ID: id}, r.listener))
	}
	if err == nil {
		h.now = s
		close(h.began)
	}
	h.mu.Unlock()
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	err = s.serve(ctx)
	h.mu.Lock()
	h.now = nil
	h.began = make(chan struct{})
	h.mu.Unlock()
	return err
}

// Relay leads from a listening socket to what connect gives, which is called
// for each connection, from any goroutine, and doesn't wait for the network.
type Relay struct {
	helper   *Helper
	id       int
	listener *os.File
	connect  func() (*os.File, error)
}

// Relay begins to relay. It takes the listener over.
func (h *Helper) Relay(listener *os.File, connect func() (*os.File, error)) (*Relay, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.relays) >= packet.MaxRelays {
		return nil, errors.Join(fmt.Errorf("there are %d relays, no more are possible", packet.MaxRelays), listener.Close())
	}
	h.last++
	r := &Relay{helper: h, id: h.last, listener: listener, connect: connect}
	h.relays[r.id] = r
	h.tell(packet.Order{Kind: packet.Listen, ID: r.id}, listener)
	return r, nil
}

// tell says something to the run that there is. Where that fails the next
// one is told. h.mu is held.
func (h *Helper) tell(o packet.Order, file *os.File) {
	if h.now == nil {
		return
	}
	if h.now.conn.Send(o, file) != nil {
		_ = h.now.conn.Close()
	}
}

// Close ends the relay with its connections.
func (r *Relay) Close() error {
	h := r.helper
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.relays[r.id] != r {
		return nil
	}
	delete(h.relays, r.id)
	h.tell(packet.Order{Kind: packet.Drop, ID: r.id}, nil)
	// The helper's copy goes on listening until it has read that.
	_ = control(r.listener, func(fd int) error { return unix.Shutdown(fd, unix.SHUT_RDWR) })
	return r.listener.Close()
}

func control(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	return errors.Join(raw.Control(func(fd uintptr) { failed = f(int(fd)) }), failed)
}

// relay finds a relay, and whether the helper may know its id. It may be nil
// and known: closed.
func (h *Helper) relay(id int) (*Relay, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.relays[id], id > 0 && id <= h.last
}

// Close ends all relays. Run ends by its context.
func (h *Helper) Close() error {
	h.mu.Lock()
	var all []*Relay
	for _, r := range h.relays {
		all = append(all, r)
	}
	h.mu.Unlock()
	var errs []error
	for _, r := range all {
		errs = append(errs, r.Close())
	}
	return errors.Join(errs...)
}

// Probe says how readiness is asked for.
type Probe struct {
	Host    string        // for the header of that name
	Path    string        // for HTTP's GET, which 200 to 299 answers; empty: a connection is enough
	Timeout time.Duration // of it all
}

// NotReadyError is an answer other than yes.
type NotReadyError struct{ Detail string }

func (e *NotReadyError) Error() string { return "not ready: " + visible.Text(e.Detail) }

// Probe has the helper ask over a socket that is connecting, which it takes
// over. It waits until there is a helper. An answer that is not yes is a
// *NotReadyError.
func (h *Helper) Probe(ctx context.Context, socket *os.File, p Probe) error {
	defer socket.Close()
	// The helper keeps to the time; this is for one that does not.
	ctx, cancel := context.WithTimeout(ctx, p.Timeout+h.interval)
	defer cancel()
	h.mu.Lock()
	h.last++
	id := h.last
	s, began := h.now, h.began
	h.mu.Unlock()
	for s == nil {
		select {
		case <-began:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrNotRunning, ctx.Err())
		}
		h.mu.Lock()
		s, began = h.now, h.began
		h.mu.Unlock()
	}
	return s.probe(ctx, id, packet.Order{Kind: packet.Probe, ID: id, Host: p.Host, Path: p.Path, Timeout: p.Timeout}, socket)
}

// Running says whether there is a helper at the moment.
func (h *Helper) Running() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now != nil
}

// said is the end of what the helper wrote to its standard streams.
func (h *Helper) said() string {
	var text []byte
	for _, name := range logNames {
		part, err := os.ReadFile(filepath.Join(h.options.Dir, name)) // bounded by who writes it
		if err == nil {
			text = append(text, part...)
		}
	}
	text = text[max(0, len(text)-512):]
	if words := strings.Join(strings.Fields(string(text)), " "); words != "" {
		return "; it said " + visible.Quote(words)
	}
	return ""
}

var logNames = [2]string{"log.0", "log.1"}

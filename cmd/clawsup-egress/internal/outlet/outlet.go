// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/clawsup/clawsup/cmd/clawsup-egress/internal/names"
	"github.com/clawsup/clawsup/runtime/netns/origin"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// Bounds of all boxes together.
const (
	MaxBoxes       = 4096
	MaxConnections = 4096

	perConnection = 2        // descriptors: two sockets
	elsewhere     = 3584     // descriptors: relays, listeners, resolvers
	maxHeld       = 32 << 20 // bytes of bodies that are read whole
)

// Options say what an outlet is made from.
type Options struct {
	Host  Host
	Roots *x509.CertPool // that servers are verified with; nil: none is trusted
	Files int            // descriptors that this process may have
	// Destination tells where a connection was meant to go; nil: origin.Destination.
	Destination func(syscall.Conn) (netip.AddrPort, error)
}

// Outlet serves all boxes. It is a boxed.Boxes.
type Outlet struct {
	Options
	lookups     *names.Cache
	connections allowance // of boxes
	sockets     allowance // to the world
	held        allowance // bytes of bodies
	captured    *http.Server
	proxy       *http.Server
	fromBoxes   *feed // of captured
	fromProxy   *feed // of proxy
	buffers     buffers

	mu    sync.Mutex
	boxes map[int]*box // mu
}

// New begins to serve; there are no boxes yet.
func New(o Options) *Outlet {
	if o.Destination == nil {
		o.Destination = origin.Destination
	}
	most := int64(min(max((o.Files-elsewhere)/perConnection, 64), MaxConnections))
	out := &Outlet{
		Options: o, lookups: names.NewCache(), boxes: map[int]*box{},
		connections: allowance{most: most}, sockets: allowance{most: most}, held: allowance{most: maxHeld},
		fromBoxes: newFeed(), fromProxy: newFeed(),
	}
	out.captured = newServer(http.HandlerFunc(serveCaptured))
	out.proxy = newServer(http.HandlerFunc(serveProxy))
	go func() { _ = out.captured.Serve(out.fromBoxes) }()
	go func() { _ = out.proxy.Serve(out.fromProxy) }()
	return out
}

// Close shuts all boxes and ends.
func (o *Outlet) Close() error {
	o.mu.Lock()
	boxes := o.boxes
	o.boxes = map[int]*box{}
	o.mu.Unlock()
	for _, b := range boxes {
		b.shut()
	}
	return errors.Join(o.captured.Close(), o.proxy.Close())
}

// Open begins to serve a box.
func (o *Outlet) Open(id int, p packet.Box, listener *os.File) error {
	b, err := newBox(o, id, p, listener)
	if err != nil {
		return fmt.Errorf("box %d: %w", id, err)
	}
	o.mu.Lock()
	known := o.boxes[id] != nil || len(o.boxes) >= MaxBoxes
	if !known {
		o.boxes[id] = b
	}
	o.mu.Unlock()
	if known {
		b.shut()
		return fmt.Errorf("%w: box %d is there already, or one too many", packet.ErrPacket, id)
	}
	go b.accept()
	return nil
}

// of gives a box.
func (o *Outlet) of(id int) (*box, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if b := o.boxes[id]; b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("%w: there is no box %d", packet.ErrPacket, id)
}

// Datagrams begins to answer DNS over UDP.
func (o *Outlet) Datagrams(id int, socket *os.File) error {
	b, err := o.of(id)
	if err != nil {
		return errors.Join(err, socket.Close())
	}
	return b.datagrams(socket)
}

// Bind adds or changes a secret.
func (o *Outlet) Bind(id int, binding packet.Binding) error {
	b, err := o.of(id)
	if err != nil {
		return err
	}
	return b.secrets.Bind(binding)
}

// Unbind takes a secret out.
func (o *Outlet) Unbind(id int, secret string) error {
	b, err := o.of(id)
	if err != nil {
		return err
	}
	b.secrets.Unbind(secret)
	return nil
}

// Shut ends a box with everything that goes on for it.
func (o *Outlet) Shut(id int) error {
	o.mu.Lock()
	b := o.boxes[id]
	delete(o.boxes, id)
	o.mu.Unlock()
	if b == nil {
		return fmt.Errorf("%w: there is no box %d", packet.ErrPacket, id)
	}
	b.shut()
	return nil
}

// Limits of time.
const (
	headerLimit = 20 * time.Second // for a request's head, a handshake, the first bytes
	restLimit   = 2 * time.Minute  // between requests
	idleLimit   = 2 * time.Hour    // without a byte
	dialLimit   = 30 * time.Second // for looking up and all addresses together
	answerLimit = 30 * time.Minute // until an answer begins
)

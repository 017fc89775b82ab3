// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/netns"
	"github.com/clawsup/clawsup/supervisor/relay"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// BoxOptions say what a box is that reaches beyond itself.
type BoxOptions struct {
	Name string                   // for people
	In   func(func() error) error // runs something on a thread in the box's network namespace

	Captured  []netip.Prefix // real addresses whose connections are led to the helper too; see package netns
	Authority *Authority     // that the box trusts

	Connections    int   // at one time; 0: no bound but the helper's own
	Sent, Received int64 // bytes, of all connections together; 0: no bound

	Fields   []string // names of fields that rules look at
	Bindings []packet.Binding

	Data any // the judge's
}

// Box is a box that reaches beyond itself.
type Box struct {
	egress  *Egress
	id      int
	options BoxOptions
	order   packet.Box
	ends    *netns.Ends

	context context.Context // ends when it is shut
	cancel  context.CancelFunc
	working sync.WaitGroup // of questions; added to under mu, and not once shut

	informing sync.RWMutex  // read-locked while the judge is told something, and by who reads words
	gone      bool          // informing; the judge is told nothing any more
	over      chan struct{} // closed when the helper has nothing more to say
	finish    func()        // closes it

	mu        sync.Mutex
	shut      bool                      // mu
	bindings  map[string]packet.Binding // mu; by secret
	asked     int                       // mu; questions without an answer
	weight    int                       // mu; of the same, in bytes
	decisions map[int]*decision         // mu; that have not ended, by number
	kept      int                       // mu; what decisions take, in bytes
	idle      chan struct{}             // mu; closed when it is shut and decisions is empty
	refusals  *pace                     // mu
	untold    int                       // mu; refusals
}

// Data is that of its options.
func (b *Box) Data() any { return b.options.Data }

// Name is that of its options.
func (b *Box) Name() string { return b.options.Name }

// Open leads what leaves a box's network namespace to the helper, or to the next
// one if there is none at the moment: connections wait until then.
func (e *Egress) Open(o BoxOptions) (*Box, error) {
	if o.In == nil || o.Authority == nil {
		return nil, errors.New("a box that reaches beyond itself needs a network namespace and an authority")
	}
	b := &Box{
		egress: e, options: o,
		order: packet.Box{
			Certificate: o.Authority.Certificate, Key: o.Authority.Key,
			Connections: o.Connections, Sent: o.Sent, Received: o.Received,
			Fields: o.Fields, Resolvers: len(e.resolvers.list()),
		},
		bindings: map[string]packet.Binding{}, decisions: map[int]*decision{},
		idle: make(chan struct{}), refusals: newPace(),
	}
	if err := packet.Fits(b.open()); err != nil {
		return nil, fmt.Errorf("open the way out of %s: %w", o.Name, err)
	}
	for _, binding := range o.Bindings {
		if err := checkBinding(binding); err != nil {
			return nil, err
		}
		b.bindings[binding.Secret] = binding
	}
	err := o.In(func() (err error) {
		b.ends, err = e.lead(o.Captured)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open the way out of %s: %w", o.Name, err)
	}
	b.over = make(chan struct{})
	b.finish = sync.OnceFunc(func() { close(b.over) })
	b.context, b.cancel = context.WithCancel(context.Background())
	e.telling.Lock()
	defer e.telling.Unlock()
	e.mu.Lock()
	e.last++
	b.id = e.last
	e.boxes[b.id] = b
	t := e.now
	e.mu.Unlock()
	if t != nil {
		_ = b.tellAll(t.run) // where that fails the run ends, and the next one is told
	}
	return b, nil
}

func (b *Box) open() packet.Order { return packet.Order{Kind: packet.Open, ID: b.id, Box: &b.order} }

// tellAll says everything about the box. telling is held.
func (b *Box) tellAll(run *relay.Run) error {
	if err := run.Send(b.open(), b.ends.TCP); err != nil {
		return err
	}
	if err := run.Send(packet.Order{Kind: packet.Datagrams, ID: b.id}, b.ends.UDP); err != nil {
		return err
	}
	b.mu.Lock()
	bindings := slices.SortedFunc(maps.Values(b.bindings), func(x, y packet.Binding) int { return cmp.Compare(x.Secret, y.Secret) })
	b.mu.Unlock()
	for _, binding := range bindings {
		if err := run.Send(packet.Order{Kind: packet.Bind, ID: b.id, Binding: &binding}, nil); err != nil {
			return err
		}
	}
	return nil
}

// tell says something to the run that there is, and whether there is one. Where
// that fails the run ends, and the next one is told all. telling is held.
func (e *Egress) tell(o packet.Order) bool {
	e.mu.Lock()
	t := e.now
	e.mu.Unlock()
	return t != nil && t.run.Send(o, nil) == nil
}

func checkBinding(binding packet.Binding) error {
	err := packet.Fits(packet.Order{Kind: packet.Bind, Binding: &binding})
	if err == nil && binding.Secret == "" {
		err = errors.New("it has no name")
	}
	if err != nil {
		return fmt.Errorf("bind secret %s: %w", binding.Secret, err)
	}
	return nil
}

// Bind says that a secret is new, or bound anew.
func (b *Box) Bind(binding packet.Binding) error {
	if err := checkBinding(binding); err != nil {
		return err
	}
	b.egress.telling.Lock()
	defer b.egress.telling.Unlock()
	b.mu.Lock()
	shut := b.shut
	b.bindings[binding.Secret] = binding
	b.mu.Unlock()
	if !shut {
		b.egress.tell(packet.Order{Kind: packet.Bind, ID: b.id, Binding: &binding})
	}
	return nil
}

// Unbind says that there is no such secret any more.
func (b *Box) Unbind(secret string) {
	b.egress.telling.Lock()
	defer b.egress.telling.Unlock()
	b.mu.Lock()
	_, bound := b.bindings[secret]
	delete(b.bindings, secret)
	bound = bound && !b.shut
	b.mu.Unlock()
	if bound {
		b.egress.tell(packet.Order{Kind: packet.Unbind, ID: b.id, Secret: secret})
	}
}

// shutLimit is how long the helper has to say what became of what was allowed.
const shutLimit = time.Second

// Close ends everything that goes on for the box, and waits until the judge has been
// told of its end: it is asked and told nothing about the box afterwards.
func (b *Box) Close() error {
	b.mu.Lock()
	if b.shut {
		b.mu.Unlock()
		return nil
	}
	b.shut = true
	b.settle()
	b.mu.Unlock()
	b.cancel()

	e := b.egress
	e.telling.Lock()
	if !e.tell(packet.Order{Kind: packet.Shut, ID: b.id}) {
		b.finish()
	}
	e.telling.Unlock()
	// The helper's copy goes on listening until it has read that.
	_ = control(b.ends.TCP, func(fd int) error { return unix.Shutdown(fd, unix.SHUT_RDWR) })
	err := b.ends.Close()

	b.working.Wait()
	limit := time.NewTimer(shutLimit)
	defer limit.Stop()
	for _, ended := range []<-chan struct{}{b.idle, b.over} {
		select {
		case <-ended:
			continue
		case <-limit.C:
		}
		break
	}
	e.mu.Lock()
	delete(e.boxes, b.id)
	e.mu.Unlock()
	b.informing.Lock()
	b.gone = true
	b.informing.Unlock()
	b.forget(shutReason)
	b.tellUntold()
	return err
}

// said notes that the helper has nothing more to say of a box that is shut.
func (b *Box) said() {
	b.mu.Lock()
	shut := b.shut
	b.mu.Unlock()
	if shut {
		b.finish()
	}
}

// inform runs f, in which the judge may be told something of the box. It does
// not once the box is gone, which it says.
func (b *Box) inform(f func()) bool {
	b.informing.RLock()
	defer b.informing.RUnlock()
	if b.gone {
		return false
	}
	f()
	return true
}

func control(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	return errors.Join(raw.Control(func(fd uintptr) { failed = f(int(fd)) }), failed)
}

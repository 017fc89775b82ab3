// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/clawsup/clawsup/cmd/clawsup-egress/internal/credential"
	"github.com/clawsup/clawsup/cmd/clawsup-egress/internal/names"
	"github.com/clawsup/clawsup/runtime/netns/origin"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// box is one, from Open to Shut.
type box struct {
	outlet    *Outlet
	id        int
	fields    []string
	resolvers int
	listener  net.Listener
	names     names.Server
	secrets   credential.Set
	authority *authority
	bytes     meter

	connections allowance
	sockets     allowance
	held        allowance
	looking     chan struct{} // one for each lookup

	context context.Context // ends when it is shut
	cancel  context.CancelFunc

	once sync.Map                        // refusals that were told and are told once, by detail
	mask atomic.Pointer[credential.Mask] // nil: no value was given yet

	mu     sync.Mutex
	open   map[io.Closer]bool         // mu; what to close when it is shut; nil then
	ways   map[string]*http.Transport // mu; to servers, by what verdicts say of addresses
	values []packet.Value             // mu; that were given, the oldest first
}

func newBox(o *Outlet, id int, p packet.Box, listener *os.File) (*box, error) {
	l, err := net.FileListener(listener)
	if err := errors.Join(err, listener.Close()); err != nil {
		return nil, err
	}
	authority, err := newAuthority(p.Certificate, p.Key)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	share := o.connections.most / 2
	connections := share
	if p.Connections > 0 {
		connections = min(share, int64(p.Connections))
	}
	b := &box{
		outlet: o, id: id, fields: p.Fields, resolvers: p.Resolvers, listener: l, authority: authority,
		bytes:       meter{most: [2]int64{out: p.Sent, in: p.Received}},
		connections: allowance{most: connections}, sockets: allowance{most: share}, held: allowance{most: maxHeld / 4},
		looking: make(chan struct{}, maxBoxLookups),
		open:    map[io.Closer]bool{l: true}, ways: map[string]*http.Transport{},
	}
	b.context, b.cancel = context.WithCancel(context.Background())
	b.names.Table = names.NewTable()
	b.names.Ask = func(ctx context.Context, host string) (packet.Verdict, error) { return o.Host.Name(ctx, id, host) }
	b.names.Refused = func(r packet.Refusal) { o.Host.Refused(id, r) }
	return b, nil
}

// shut ends everything.
func (b *box) shut() {
	b.cancel()
	b.mu.Lock()
	open, ways := b.open, b.ways
	b.open, b.ways, b.values = nil, nil, nil
	b.mu.Unlock()
	for c := range open {
		_ = c.Close()
	}
	for _, t := range ways {
		t.CloseIdleConnections()
	}
}

// keep has c closed when the box is shut. If it is already, c is closed now.
func (b *box) keep(c io.Closer) bool {
	b.mu.Lock()
	kept := b.open != nil
	if kept {
		b.open[c] = true
	}
	b.mu.Unlock()
	if !kept {
		_ = c.Close()
	}
	return kept
}

func (b *box) forget(c io.Closer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, c)
}

// accept takes connections until the box is shut.
func (b *box) accept() {
	for {
		c, err := b.listener.Accept()
		if err != nil {
			return // shut, or this process can't go on; clawsupd finds out by its pings
		}
		go b.take(c.(*net.TCPConn))
	}
}

// take finds out where a connection was meant to go.
func (b *box) take(socket *net.TCPConn) {
	c, err := b.newConn(socket)
	if err != nil {
		b.refuse(target{}, err)
		return
	}
	to, err := b.outlet.Destination(socket)
	switch {
	case err != nil:
		c.reset()
	case to.Port() == 53:
		_ = b.names.ServeTCP(b.context, c)
	case to.Addr() == origin.Resolver:
		switch to.Port() {
		case origin.HTTPProxy:
			b.outlet.fromProxy.give(c)
		case origin.SOCKS:
			b.socks(c)
		default:
			c.reset()
		}
	default:
		t, err := b.targetOf(to)
		if err != nil {
			b.refuse(t, err)
			c.reset()
			return
		}
		b.pass(c, t)
	}
}

// refuse tells clawsupd that something was refused here; of a bound, once in the
// life of the box. Errors that are no refusedError are nobody's doing in the
// box, and not told.
func (b *box) refuse(t target, err error) {
	var refused *refusedError
	if !errors.As(err, &refused) {
		return
	}
	if refused.kind == packet.RefusedCap {
		if _, told := b.once.LoadOrStore(refused.detail, true); told {
			return
		}
	}
	b.outlet.Host.Refused(b.id, packet.Refusal{Kind: refused.kind, Host: t.host, Port: t.port, Detail: refused.detail})
}

// Bounds of the values that a box's answers are masked for, since a mask takes
// some 200 bytes of memory for each of theirs.
const (
	maxValueBytes = 256 << 10
	maxOfSecret   = 8 // that one secret has had; then the oldest is forgotten
)

// given notes values that the box was given: its answers are masked from now
// on. It says whether there was room.
func (b *box) given(values []packet.Value) bool {
	if len(values) == 0 {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.values
	for _, v := range values {
		if slices.ContainsFunc(list, func(o packet.Value) bool { return bytes.Equal(o.Value, v.Value) }) {
			continue
		}
		list = append(newest(list, v.Secret), packet.Value{Secret: v.Secret, Value: bytes.Clone(v.Value)})
	}
	size := 0
	raw := make([][]byte, len(list))
	for i, v := range list {
		raw[i] = v.Value
		size += len(v.Value)
	}
	switch {
	case size > maxValueBytes:
		return false
	case len(list) != len(b.values) || !bytes.Equal(list[len(list)-1].Value, b.values[len(b.values)-1].Value):
		b.values = list
		b.mask.Store(credential.NewMask(raw))
	}
	return true
}

// newest gives a copy in which there is room for one more value of a secret.
func newest(list []packet.Value, secret string) []packet.Value {
	list = slices.Clone(list)
	is := func(v packet.Value) bool { return v.Secret == secret }
	n := 0
	for _, v := range list {
		if is(v) {
			n++
		}
	}
	if i := slices.IndexFunc(list, is); n >= maxOfSecret {
		list = slices.Delete(list, i, i+1)
	}
	return list
}

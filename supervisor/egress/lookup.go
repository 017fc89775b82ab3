// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/clawsup/clawsup/supervisor/relay"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// lookup gives a way to a resolver of the host. What goes over it is not looked
// at: it is the one thing that the helper may say to somebody whom no
// decision names.
func (t *talk) lookup(w packet.Word) error {
	list := t.egress.resolvers.list()
	switch {
	case w.Server < 0:
		return fmt.Errorf("%w: resolver %d", packet.ErrPacket, w.Server)
	case w.Server >= len(list):
		return t.pass(w.ID, nil, fmt.Errorf("there are %d resolvers", len(list)))
	case w.TCP:
		if !t.pace.take(time.Now()) {
			return t.pass(w.ID, nil, errTooManyLookups)
		}
		socket, err := relay.Connect(list[w.Server])
		return t.pass(w.ID, socket, err)
	}
	select {
	case t.sockets <- struct{}{}:
	default:
		return t.pass(w.ID, nil, errTooManyLookups)
	}
	datagrams, err := relay.Datagrams(list[w.Server])
	if err != nil {
		<-t.sockets
		return t.pass(w.ID, nil, err)
	}
	ours, theirs, err := packet.Pair()
	if err != nil {
		<-t.sockets
		return t.pass(w.ID, nil, errors.Join(err, datagrams.Close()))
	}
	go func() {
		defer func() { <-t.sockets }()
		exchange(ours, datagrams)
	}()
	return t.pass(w.ID, theirs, nil)
}

var errTooManyLookups = errors.New("too many lookups at a time")

// exchange passes messages on, as they are, until either end is closed or fails,
// or the time for it is over. It closes both.
func exchange(a, b *os.File) {
	until := time.Now().Add(packet.LookupLimit)
	var both sync.WaitGroup
	for from, to := range map[*os.File]*os.File{a: b, b: a} {
		if err := from.SetDeadline(until); err != nil {
			break
		}
		both.Go(func() {
			pump(from, to)
			_, _ = a.Close(), b.Close()
		})
	}
	both.Wait()
	_, _ = a.Close(), b.Close()
}

// pump passes messages on in one direction. Those that are too long are lost, as
// datagrams are.
func pump(from, to *os.File) {
	message := make([]byte, packet.MaxDatagram+1)
	for {
		n, err := from.Read(message)
		if err != nil {
			return
		}
		if n > packet.MaxDatagram {
			continue
		}
		if _, err := to.Write(message[:n]); err != nil {
			return
		}
	}
}

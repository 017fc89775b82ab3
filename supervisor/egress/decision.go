// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/clawsup/clawsup/supervisor/guard"
	"github.com/clawsup/clawsup/supervisor/relay"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// decision is a yes that has not ended.
type decision struct {
	talk     *talk
	id       int // of the question, the helper's
	box      *Box
	query    packet.Query   // without Fields
	verdict  packet.Verdict // with its number, without values
	connects int            // Box.mu
}

func (b *Box) number() int { return int(b.egress.decisions.Add(1)) }

// keep notes a yes, and gives its number, unless the box is shut. t.mu is held.
func (t *talk) keep(b *Box, id int, q packet.Query, v packet.Verdict) (number int, kept bool) {
	v.Decision, v.Values = b.number(), nil
	q.Fields = nil // many are kept for long
	d := &decision{talk: t, id: id, box: b, query: q, verdict: v}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shut {
		return 0, false
	}
	b.decisions[v.Decision] = d
	b.kept += d.weight()
	t.allowed[id] = d
	return v.Decision, true
}

// maxKept bounds what the decisions of one box take that have not ended, in bytes.
const maxKept = 8 << 20

func (d *decision) weight() int { return weigh(&packet.Word{Query: &d.query}) }

// shed drops the oldest decisions where there are too many.
func (b *Box) shed() {
	for {
		oldest := 0
		b.mu.Lock()
		if len(b.decisions) > packet.MaxDecisions || b.kept > maxKept {
			oldest = slices.Min(slices.Collect(maps.Keys(b.decisions)))
		}
		b.mu.Unlock()
		if oldest == 0 {
			return
		}
		b.drop(oldest, "too many that have not ended")
	}
}

// take takes a decision out; nil if there is none of that number.
func (b *Box) take(number int) *decision {
	b.mu.Lock()
	d := b.decisions[number]
	delete(b.decisions, number)
	if d != nil {
		b.kept -= d.weight()
	}
	b.mu.Unlock()
	if d == nil {
		return nil
	}
	t := d.talk
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.allowed[d.id] == d {
		delete(t.allowed, d.id)
	}
	return d
}

// settle says when a box that is shut has no decisions left. mu is held.
func (b *Box) settle() {
	if !b.shut || len(b.decisions) > 0 {
		return
	}
	select {
	case <-b.idle:
	default:
		close(b.idle)
	}
}

// drop ends a decision, if it has not ended, for a reason of clawsupd's.
func (b *Box) drop(number int, why string) {
	if d := b.take(number); d != nil {
		b.tellEnded(d, packet.Traffic{Error: why})
	}
}

// forget drops all.
func (b *Box) forget(why string) {
	b.mu.Lock()
	var all []int
	for number := range b.decisions {
		all = append(all, number)
	}
	b.mu.Unlock()
	slices.Sort(all)
	for _, number := range all {
		b.drop(number, why)
	}
}

func (b *Box) tellEnded(d *decision, t packet.Traffic) {
	b.egress.judge.Ended(b, d.query, d.verdict, t)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settle()
}

// ended is what the helper says became of a decision. It may have been dropped
// meanwhile.
func (b *Box) ended(w packet.Word) error {
	if w.Traffic == nil {
		return fmt.Errorf("%w: the end of nothing", packet.ErrPacket)
	}
	if d := b.take(w.Decision); d != nil {
		b.tellEnded(d, clean(*w.Traffic))
	}
	return nil
}

// maxAddress bounds Traffic.Address: an address with its port.
const maxAddress = 64

// clean bounds what the helper says of traffic.
func clean(t packet.Traffic) packet.Traffic {
	t.Sent, t.Received, t.Took = max(t.Sent, 0), max(t.Received, 0), max(t.Took, 0)
	t.Error = t.Error[:min(len(t.Error), packet.MaxDetail)]
	if t.Status < 100 || t.Status > 999 {
		t.Status = 0
	}
	if len(t.Address) > maxAddress {
		t.Address = ""
	}
	return t
}

// connect makes the connection that a decision is about.
func (t *talk) connect(b *Box, w packet.Word) error {
	socket, err := b.connect(w.Decision, w.Address)
	return t.pass(w.ID, socket, err)
}

var (
	errNoDecision = errors.New("nothing was decided for that")
	errElsewhere  = errors.New("it was decided for another address or port")
)

// connect checks an address again, as if nobody had, and makes a socket in the
// host's network namespace that is on its way there.
func (b *Box) connect(number int, to netip.AddrPort) (*os.File, error) {
	b.mu.Lock()
	d := b.decisions[number]
	shut := b.shut
	var query packet.Query
	var verdict packet.Verdict
	connects := 0
	if d != nil {
		d.connects++
		connects, query, verdict = d.connects, d.query, d.verdict
	}
	b.mu.Unlock()
	switch {
	case d == nil || shut:
		return nil, errNoDecision
	case connects > packet.MaxConnects:
		return nil, fmt.Errorf("%d connections were made for it", packet.MaxConnects)
	case to.Port() != query.Port || !leads(&query, &verdict, to.Addr()):
		return nil, errElsewhere
	}
	own, err := b.egress.own.addresses(time.Now())
	if err != nil {
		return nil, err
	}
	if err := guard.CheckHost(to.Addr(), own, verdict.Networks); err != nil {
		return nil, err
	}
	return relay.Connect(to)
}

// leads says whether the address may be one of the query's host, as far as
// anybody here knows: of a name that was not looked up before it was decided
// about, any may be.
func leads(q *packet.Query, v *packet.Verdict, a netip.Addr) bool {
	if literal, err := netip.ParseAddr(q.Host); err == nil {
		return a == literal
	}
	return (len(q.Addresses) == 0 || slices.Contains(q.Addresses, a)) &&
		(len(v.Addresses) == 0 || slices.Contains(v.Addresses, a))
}

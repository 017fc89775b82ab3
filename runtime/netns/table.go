// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/netns/origin"
)

// tableName is of the one table that a led namespace has.
const tableName = "clawsup"

// rule makes the table, or replaces the one that is there, in one transaction.
func rule(captured []interval, at netip.AddrPort) error {
	// Taking the old one away makes the kernel wait for every processor, thirty
	// times as long as the rest takes: not for a namespace that has none.
	err := transact(captured, at, false)
	if errors.Is(err, unix.EEXIST) {
		err = transact(captured, at, true)
	}
	return err
}

func transact(captured []interval, at netip.AddrPort, replace bool) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	table := &nftables.Table{Name: tableName, Family: nftables.TableFamilyIPv4}
	if replace {
		c.DelTable(table)
	}
	c.CreateTable(table)
	set := &nftables.Set{
		// A number of its own: the library counts them without a lock.
		ID: 1, Table: table, Name: "captured", KeyType: nftables.TypeIPAddr, Interval: true, Constant: true,
	}
	if err := c.AddSet(set, elements(captured)); err != nil {
		return err
	}
	drop := nftables.ChainPolicyDrop
	out := c.AddChain(&nftables.Chain{
		Name: "leave", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter, Policy: &drop,
	})
	in := c.AddChain(&nftables.Chain{
		Name: "capture", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityMangle, Policy: &drop,
	})
	for _, r := range []struct {
		chain *nftables.Chain
		parts []part
	}{
		{out, []part{tcp, noSYN, accept}},
		{out, []part{toLoopback, accept}},
		{out, []part{toOwn, accept}},
		{out, []part{tcp, in4(set), accept}},
		{out, []part{tcp, toDNS, accept}},
		{out, []part{udp, toDNS, accept}},
		{out, []part{tcp, reset}},

		{in, []part{tcp, noSYN, accept}},
		{in, []part{toLoopback, accept}},
		{in, []part{toOwn, accept}},
		{in, []part{tcp, give(at), accept}},
		{in, []part{udp, give(at), accept}},
		{in, []part{tcp, reset}}, // nobody listens any more
	} {
		c.AddRule(&nftables.Rule{Table: table, Chain: r.chain, Exprs: slices.Concat(r.parts...)})
	}
	return c.Flush()
}

// elements spells the intervals as nftables takes them: where each begins, and
// where it has ended.
func elements(list []interval) []nftables.SetElement {
	var all []nftables.SetElement
	for _, i := range list {
		all = append(all, nftables.SetElement{Key: key(i.first)})
		if i.after < 1<<32 {
			all = append(all, nftables.SetElement{Key: key(i.after), IntervalEnd: true})
		}
	}
	return all
}

// part is what a rule is put together from: a condition, or what is done.
type part []expr.Any

// Conditions.
var (
	tcp = protocol(unix.IPPROTO_TCP)
	udp = protocol(unix.IPPROTO_UDP)
	// noSYN is of TCP: all but the first packet of a connection.
	noSYN = part{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{flagSYN | flagACK}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{flagSYN}},
	}
	toLoopback = part{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: destination, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{127}},
	}
	toOwn = part{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: destination, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: origin.Own.AsSlice()},
	}
	// toDNS is of TCP and UDP.
	toDNS = part{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0, 53}},
	}
)

// Flags of a TCP header, and where in the IPv4 header the address is.
const (
	flagSYN     = 0x02
	flagACK     = 0x10
	destination = 16
)

func protocol(number byte) part {
	return part{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{number}},
	}
}

// in4 is whether the address is in the set.
func in4(set *nftables.Set) part {
	return part{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: destination, Len: 4},
		&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID},
	}
}

// What is done.
var (
	accept = part{&expr.Verdict{Kind: expr.VerdictAccept}}
	reset  = part{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}
)

// give hands a packet to the socket that is bound there. Where there is none,
// the rule goes no further.
func give(at netip.AddrPort) part {
	return part{
		&expr.Immediate{Register: 1, Data: at.Addr().AsSlice()},
		&expr.Immediate{Register: 2, Data: binary.BigEndian.AppendUint16(nil, at.Port())},
		&expr.TProxy{Family: unix.NFPROTO_IPV4, RegAddr: 1, RegPort: 2},
	}
}

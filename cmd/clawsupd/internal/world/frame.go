// SPDX-License-Identifier: Apache-2.0

package world

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Packet is one that was sent.
type Packet struct {
	Link     Link
	Ether    uint16         // type of the frame: 0x0800 for IPv4, 0x86dd for IPv6
	Protocol uint8          // of IP: 1 ICMP, 6 TCP, 17 UDP, 58 ICMPv6
	From, To netip.AddrPort // port 0 where the protocol has none
	Payload  []byte         // of UDP, and of it the beginning
	Kind     uint8          // of ICMP and ICMPv6: the message's type
}

// Link is where a packet was seen.
type Link uint8

// The links.
const (
	Out      Link = iota + 1 // from the host to the servers
	Loopback                 // on the host's own lo
)

var protocols = map[uint8]string{unix.IPPROTO_ICMP: "icmp", unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp", unix.IPPROTO_ICMPV6: "icmpv6"}

func (p Packet) String() string {
	name, ok := protocols[p.Protocol]
	if !ok {
		name = fmt.Sprintf("protocol %d of %#04x", p.Protocol, p.Ether)
	}
	where := ""
	if p.Link == Loopback {
		where = " on lo"
	}
	return fmt.Sprintf("%s %s to %s%s", name, p.From, p.To, where)
}

// own are the messages of ICMPv6 that a kernel sends without being asked:
// multicast listener queries and reports (RFC 3810), neighbour discovery (RFC 4861).
func own(kind uint8) bool { return kind >= 130 && kind <= 136 || kind == 143 }

// decode reads what follows the link's header. What it can't read it leaves
// empty: a packet is counted in any case.
func decode(ether uint16, b []byte) Packet {
	p := Packet{Ether: ether}
	var from, to netip.Addr
	switch {
	case ether == unix.ETH_P_IP && len(b) >= 20:
		p.Protocol = b[9]
		from, to = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
		b = b[min(int(b[0]&15)*4, len(b)):]
	case ether == unix.ETH_P_IPV6 && len(b) >= 40:
		p.Protocol = b[6]
		from, to = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
		b = b[40:]
		if p.Protocol == unix.IPPROTO_HOPOPTS && len(b) >= 8 { // listener reports have it
			p.Protocol, b = b[0], b[min(8+int(b[1])*8, len(b)):]
		}
	default:
		return p
	}
	var source, destination uint16
	switch p.Protocol {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP:
		if len(b) >= 4 {
			source, destination = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		}
		if p.Protocol == unix.IPPROTO_UDP && len(b) > 8 {
			p.Payload = append([]byte(nil), b[8:min(len(b), 8+maxPayload)]...)
		}
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		if len(b) > 0 {
			p.Kind = b[0]
		}
	}
	p.From, p.To = netip.AddrPortFrom(from, source), netip.AddrPortFrom(to, destination)
	return p
}

const maxPayload = 512

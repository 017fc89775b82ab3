// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// What SOCKS5 (RFC 1928) is made of, as far as it is spoken here: no
// authentication, and CONNECT alone.
const (
	socksVersion = 5
	socksNoAuth  = 0
	socksConnect = 1

	socksIPv4 = 1
	socksName = 3
	socksIPv6 = 4
)

// socksReply is the answer to a request.
type socksReply byte

const (
	socksDone      socksReply = 0
	socksDenied    socksReply = 2
	socksNoCommand socksReply = 7
	socksNoAddress socksReply = 8
	socksNoMethod             = 0xff
)

// socksHello reads the methods that a client offers (section 3), and says
// whether going without authentication is one.
func socksHello(r io.Reader) (plain bool, err error) {
	var head [2]byte
	if err := readSome(r, head[:]); err != nil {
		return false, err
	}
	if head[0] != socksVersion {
		return false, fmt.Errorf("version %d of SOCKS", head[0])
	}
	methods := make([]byte, head[1])
	if err := readSome(r, methods); err != nil {
		return false, err
	}
	for _, m := range methods {
		plain = plain || m == socksNoAuth
	}
	return plain, nil
}

// socksRequest reads a request (section 4): the host is a name or an address.
func socksRequest(r io.Reader) (host string, port uint16, reply socksReply, err error) {
	var head [4]byte
	if err := readSome(r, head[:]); err != nil {
		return "", 0, 0, err
	}
	if head[0] != socksVersion || head[2] != 0 {
		return "", 0, 0, fmt.Errorf("a request that is none of SOCKS5")
	}
	var size int
	switch head[3] {
	case socksIPv4:
		size = 4
	case socksIPv6:
		size = 16
	case socksName:
		var n [1]byte
		if err := readSome(r, n[:]); err != nil {
			return "", 0, 0, err
		}
		if size = int(n[0]); size == 0 {
			return "", 0, socksNoAddress, nil
		}
	default:
		return "", 0, socksNoAddress, nil
	}
	rest := make([]byte, size+2)
	if err := readSome(r, rest); err != nil {
		return "", 0, 0, err
	}
	if head[1] != socksConnect {
		return "", 0, socksNoCommand, nil
	}
	host, port = string(rest[:size]), binary.BigEndian.Uint16(rest[size:])
	if head[3] != socksName {
		a, _ := netip.AddrFromSlice(rest[:size])
		host = a.String()
	}
	return host, port, socksDone, nil
}

// socks speaks SOCKS5 with a program, and has the connection go on as one to
// its target would.
func (b *box) socks(c *conn) {
	t, err := b.negotiate(c)
	if err != nil {
		b.refuse(t, err)
		_ = c.Close() // behind the answer
		return
	}
	b.pass(c, t)
}

func (b *box) negotiate(c *conn) (target, error) {
	if err := c.SetDeadline(time.Now().Add(headerLimit)); err != nil {
		return target{}, err
	}
	// Of c itself nothing is read ahead.
	malformed := func(err error) (target, error) {
		return target{}, &refusedError{packet.RefusedProtocol, "SOCKS: " + oneLine(err.Error())}
	}
	plain, err := socksHello(c)
	if err != nil {
		return malformed(err)
	}
	if !plain {
		_, _ = c.Write([]byte{socksVersion, socksNoMethod})
		return malformed(fmt.Errorf("the program wants to authenticate, and nobody is asked to here"))
	}
	if _, err := c.Write([]byte{socksVersion, socksNoAuth}); err != nil {
		return target{}, err
	}
	host, port, reply, err := socksRequest(c)
	if err != nil {
		return malformed(err)
	}
	answer := func(r socksReply) error {
		_, err := c.Write([]byte{socksVersion, byte(r), 0, socksIPv4, 0, 0, 0, 0, 0, 0})
		return err
	}
	if reply != socksDone {
		_ = answer(reply)
		return malformed(fmt.Errorf("only CONNECT to a name or an address is spoken here"))
	}
	t, err := b.targetNamed(host, port)
	if err == nil {
		verdict, failed := b.verdict(b.context, t)
		if err = failed; err == nil && !verdict.Allow {
			err = errDenied
		}
	}
	if err != nil {
		_ = answer(socksDenied)
		return t, err
	}
	if err := answer(socksDone); err != nil {
		return t, err
	}
	return t, c.SetDeadline(time.Time{})
}

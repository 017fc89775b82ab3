// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"errors"
	"net"
	"os"
)

// datagrams answers DNS over UDP. Programs ask whatever address they think has a
// resolver, and get the answer from there: what the kernel said of a datagram's
// destination (IP_PKTINFO, ip(7)) goes back with the answer.
func (b *box) datagrams(socket *os.File) error {
	p, err := net.FilePacketConn(socket)
	if err := errors.Join(err, socket.Close()); err != nil {
		return err
	}
	conn, ok := p.(*net.UDPConn)
	if !ok {
		return errors.Join(errors.New("a socket for DNS that is none of UDP"), p.Close())
	}
	if b.keep(conn) {
		go func() {
			_ = b.names.ServeUDP(b.context, asked{conn})
			_ = conn.Close()
		}()
	}
	return nil
}

// asked is a socket whose answers come from where was asked.
type asked struct{ *net.UDPConn }

// asker is who asked, and where.
type asker struct {
	*net.UDPAddr
	where []byte // control message
}

// ReadFrom and WriteTo are those of net.PacketConn.
func (a asked) ReadFrom(p []byte) (int, net.Addr, error) {
	where := make([]byte, 64)
	n, controls, _, from, err := a.ReadMsgUDP(p, where)
	if err != nil {
		return n, nil, err
	}
	return n, asker{from, where[:controls]}, nil
}

func (a asked) WriteTo(p []byte, to net.Addr) (int, error) {
	who, ok := to.(asker)
	if !ok {
		return 0, errors.New("an answer to nobody")
	}
	n, _, err := a.WriteMsgUDP(p, who.where, who.UDPAddr)
	return n, err
}

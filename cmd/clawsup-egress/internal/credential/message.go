// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"io"

	"github.com/gobwas/ws"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// MaxMessage bounds a client's message on a WebSocket to a host whose secret
// has its place in messages, in bytes.
const MaxMessage = 64 << 10

// Messages gives what a client sends on a WebSocket after the handshake, where
// NeedsMessages says so. A text message that has a placeholder at its place is
// put together to one frame, with values in that are asked for each time; nothing
// goes on while values is waited for. The first message is where a client has its
// token, but every later one is looked at as well: who could send a message
// before it would have a token of their own pass.
//
// Reading fails with what values fails with, or with a *RefusedError: for a
// placeholder at another place, for something else at that place, and for
// what can't be looked at, which is binary messages, those longer than
// MaxMessage, extensions, and JSON that can be read in two ways.
func (f *Found) Messages(client io.Reader, values func([]packet.Use) ([]packet.Value, error)) io.Reader {
	return &messages{Found: f, from: bufio.NewReader(client), values: values}
}

type messages struct {
	*Found
	from   *bufio.Reader
	values func([]packet.Use) ([]packet.Value, error)

	message []byte // fragments so far, unmasked
	open    bool   // whether there is a message that has not ended
	ready   bytes.Buffer
	err     error
}

func (m *messages) Read(p []byte) (int, error) {
	for m.ready.Len() == 0 {
		if m.err == nil {
			m.err = m.next()
		}
		if m.err != nil && m.ready.Len() == 0 {
			return 0, m.err
		}
	}
	return m.ready.Read(p)
}

func (m *messages) refused(kind packet.RefusalKind, format string, args ...any) error {
	return &RefusedError{*m.refuse(kind, format, args...)}
}

// next reads one frame: RFC 6455, section 5.2.
func (m *messages) next() error {
	h, err := ws.ReadHeader(m.from)
	if err != nil {
		return err
	}
	control := h.OpCode.IsControl()
	switch {
	case h.Rsv != 0 || !h.Masked || h.OpCode.IsReserved() || control && (!h.Fin || h.Length > ws.MaxControlFramePayloadSize):
		return m.refused(packet.RefusedProtocol, "a frame that is none of a WebSocket's client, or has an extension")
	case h.OpCode == ws.OpBinary:
		return m.refused(packet.RefusedProtocol, "a binary message can't be looked at, and a secret of this host has its place in messages")
	case !control && (h.OpCode == ws.OpContinuation) != m.open:
		return m.refused(packet.RefusedProtocol, "fragments of WebSocket messages that are none")
	case h.Length > int64(MaxMessage-len(m.message)):
		return m.refused(packet.RefusedProtocol, "a message of more than %d bytes, and a secret of this host has its place in messages", MaxMessage)
	}
	payload := make([]byte, h.Length)
	if _, err := io.ReadFull(m.from, payload); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	ws.Cipher(payload, h.Mask, 0)
	if control {
		if refusal := m.stray("a control frame", string(payload), nil); refusal != nil {
			return &RefusedError{*refusal}
		}
		return m.send(h.OpCode, payload)
	}
	m.message = append(m.message, payload...)
	if m.open = !h.Fin; m.open {
		return nil
	}
	message, err := m.fill(m.message)
	m.message = nil
	if err != nil {
		return err
	}
	return m.send(ws.OpText, message)
}

// fill puts values into a whole message.
func (m *messages) fill(message []byte) ([]byte, error) {
	var spots []spot
	if bytes.ContainsAny(message, "{[") { // or it is no object, not even to a generous reader
		var bad *packet.Use
		var err error
		spots, bad, err = fieldSpots(m.here, packet.WebSocket, message)
		if err != nil {
			return nil, m.refused(packet.RefusedProtocol, "a message to a host whose secret has its place in JSON messages: %v", err)
		}
		if bad != nil {
			return nil, &RefusedError{*m.foreign("field " + bad.Place.Name + " of a message")}
		}
	}
	if refusal := m.stray("a message", string(message), spots); refusal != nil {
		return nil, &RefusedError{*refusal}
	}
	if len(spots) == 0 {
		return message, nil
	}
	var uses []packet.Use
	for _, s := range spots {
		uses = append(uses, s.use)
	}
	values, err := m.values(inOrder(uses))
	if err != nil {
		return nil, err
	}
	p := &filling{Found: m.Found, values: map[string]string{}}
	for _, v := range values {
		p.values[v.Secret] = string(v.Value)
	}
	text, err := splice(string(message), spots, p.jsonValue)
	return []byte(text), err
}

// send puts a whole frame into what is ready, with a mask of its own: section 5.3.
func (m *messages) send(op ws.OpCode, payload []byte) error {
	var mask [4]byte
	_, _ = rand.Read(mask[:]) // which never fails
	return ws.WriteFrame(&m.ready, ws.MaskFrameInPlaceWith(ws.NewFrame(op, true, payload), mask))
}

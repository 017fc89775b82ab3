// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"bufio"
	"bytes"
	"io"
	"mime"
	"net/textproto"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// maxPartHeader bounds the header of a part, in bytes.
const maxPartHeader = 4 << 10

// parts looks at the names of the parts of a multipart/form-data body
// (RFC 7578) that streams to a host of a secret. Bytes go on as they come: the
// piece in which a header of a part that carries a credential ends does not, and
// with it not the value.
type parts struct {
	io.ReadCloser
	found  *Found
	scan   *scan
	base   int64
	header []byte // of a part, from its boundary on
	open   bool   // whether the header has not ended
}

// newParts begins with the end of a line, as the boundary of the first part has
// none before it.
func newParts(body io.ReadCloser, f *Found, boundary string) *parts {
	p := &parts{ReadCloser: body, found: f, scan: newScan(newAutomaton([][]byte{[]byte("\n--" + boundary)}, false)), base: 1}
	p.scan.feed([]byte("\n"), 0, 0, func(int, int, int) {})
	return p
}

func (p *parts) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	if refusal := p.look(b[:n]); refusal != nil {
		return 0, &RefusedError{*refusal}
	}
	return n, err
}

func (p *parts) look(piece []byte) *packet.Refusal {
	var boundaries []int // where they end
	p.scan.feed(piece, p.base, 0, func(_, _, to int) { boundaries = append(boundaries, to) })
	p.base += int64(len(piece))
	at := 0
	for {
		if p.open {
			n, refusal := p.take(piece[at:])
			if refusal != nil || p.open {
				return refusal
			}
			at += n
		}
		for len(boundaries) > 0 && boundaries[0] < at {
			boundaries = boundaries[1:]
		}
		if len(boundaries) == 0 {
			return nil
		}
		at, p.open, p.header = boundaries[0], true, p.header[:0]
	}
}

// take adds to the header of a part, and gives how much of the piece belonged to it.
func (p *parts) take(piece []byte) (int, *packet.Refusal) {
	before := len(p.header)
	p.header = append(p.header, piece[:min(len(piece), maxPartHeader-before)]...)
	line, rest, whole := bytes.Cut(p.header, []byte("\n"))
	if whole && len(bytes.TrimSpace(line)) > 0 { // the last boundary, or a longer line
		p.open = false
		return max(0, len(line)+1-before), nil
	}
	if end := headerEnd(rest); whole && end >= 0 {
		p.open = false
		return len(line) + 1 + end - before, p.check(rest[:end])
	}
	if len(p.header) == maxPartHeader {
		return 0, p.found.refuse(packet.RefusedProtocol, "a part of a form with a header of more than %d bytes", maxPartHeader)
	}
	return 0, nil
}

// headerEnd is behind the empty line that ends a header, -1 if there is none.
func headerEnd(header []byte) int {
	for from := 0; ; {
		n := bytes.IndexByte(header[from:], '\n')
		if n < 0 {
			return -1
		}
		if len(bytes.TrimSuffix(header[from:from+n], []byte("\r"))) == 0 {
			return from + n + 1
		}
		from += n + 1
	}
}

func (p *parts) check(header []byte) *packet.Refusal {
	h, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(header))).ReadMIMEHeader()
	if err != nil || len(h.Values("Content-Disposition")) != 1 {
		return p.found.refuse(packet.RefusedProtocol, "a part of a form with a header that can't be read")
	}
	_, parameters, err := mime.ParseMediaType(h.Get("Content-Disposition"))
	if err != nil {
		return p.found.refuse(packet.RefusedProtocol, "a part of a form with a Content-Disposition that can't be read")
	}
	if name := parameters["name"]; credentialField(name) || p.found.boundName(packet.Form, name) {
		return p.found.foreign(called("form field", name))
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"io"
	"net/http"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

const anyCase = true

type automaton struct{}

func newAutomaton(needles [][]byte, anyCase bool) *automaton { panic("soon") }

// MaxBody bounds a body that is read whole, in bytes.
const MaxBody = 1 << 20

// RefusedError ends the reading of a body or of a WebSocket in which something
// stands that may not leave.
type RefusedError struct{ packet.Refusal }

func (e *RefusedError) Error() string { return e.Detail }

// Found is what one request has.
type Found struct {
	Uses []packet.Use // ordered, each once
}

// Inspect looks at all of a request but its body. r is as net/http's server gives it.
func (s *Set) Inspect(host string, port uint16, r *http.Request) (*Found, *packet.Refusal) {
	panic("soon")
}

// NeedsBody reports whether the body is to be read whole and given to InspectBody.
func (f *Found) NeedsBody() bool { panic("soon") }

// InspectBody looks at the whole body and adds to Uses.
func (f *Found) InspectBody(body []byte) *packet.Refusal { panic("soon") }

// Watch gives a body that streams; reading fails with *RefusedError before a placeholder is whole.
func (f *Found) Watch(body io.ReadCloser) io.ReadCloser { panic("soon") }

// NeedsMessages reports whether a WebSocket's messages are to be looked at: the
// caller then takes Sec-WebSocket-Extensions out of the request, and reads what the client sends
// through Messages.
func (f *Found) NeedsMessages() bool { panic("soon") }

// Messages gives the client's frames with values in. For each use values is asked. Errors: *RefusedError, or of values.
func (f *Found) Messages(client io.Reader, values func([]packet.Use) ([]packet.Value, error)) io.Reader {
	panic("soon")
}

// Path is the path for packet.Query: as sent, with {SECRET} in place of a placeholder.
func (f *Found) Path() string { panic("soon") }

// Search is the query for packet.Query: as sent, with {SECRET} in place of a placeholder.
func (f *Found) Search() string { panic("soon") }

// Fill puts values in, changes r (URL, Header, ContentLength, Accept-Encoding: identity) and gives the new body.
// r may be a copy of the inspected request, with hop-by-hop headers gone. body is nil where NeedsBody is false.
func (f *Found) Fill(r *http.Request, body []byte, values []packet.Value) ([]byte, error) {
	panic("soon")
}

// Fields gives the values of the fields named. body is nil if it was not read.
func Fields(names []string, r *http.Request, body []byte) (fields []packet.Field, unread bool) {
	panic("soon")
}

// Mask overwrites values in answers. Safe for concurrent use; nil masks nothing.
type Mask struct{}

// NewMask makes one. It keeps no copy in the clear beyond what it needs.
func NewMask(values [][]byte) *Mask { panic("soon") }

// Reader masks a body.
func (m *Mask) Reader(body io.ReadCloser) io.ReadCloser { panic("soon") }

// Header masks in place.
func (m *Mask) Header(h http.Header) { panic("soon") }

// Capture is a token in an answer.
type Capture struct {
	Secret string
	Field  string
}

// Captures gives what is to be captured from the answer of a request to that path (as sent).
func (s *Set) Captures(host string, port uint16, path string) []Capture { panic("soon") }

// Token gives the string at a dotted field of a JSON body; false if it is not there.
func Token(body []byte, field string) ([]byte, bool, error) { panic("soon") }

// Replace puts a placeholder in the place of the string at that field.
func Replace(body []byte, field, placeholder string) ([]byte, error) { panic("soon") }

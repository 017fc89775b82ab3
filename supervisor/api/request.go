// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// Request is one request, for a handler.
type Request struct {
	Method string
	Params json.RawMessage // an object
	Files  []*os.File      // none or three; the handler that keeps them sets Files to nil, otherwise they are closed after it
	Peer   Peer            // who sent this frame; by its UID it is decided
	Opener Peer            // who made the connection; of the same UID

	conn *conn
}

// Decode reads the parameters into what a pointer is to. A field that is not
// there, to the letter, is CodeParams.
func (r *Request) Decode(into any) error {
	if err := decode(r.Params, into); err != nil {
		return &Error{Code: CodeParams, Message: fmt.Sprintf("%s: %s", r.Method, err)}
	}
	return nil
}

// Notify puts a notification into the connection's queue and never waits. If
// there is no room, the reader is too slow: the connection ends, and so does
// the context of every handler that works for it. What is in the queue before
// the handler returns arrives before its answer.
func (r *Request) Notify(method string, params any) error {
	frame, err := encode(notice{Version: version, Method: method, Params: params})
	if err != nil {
		return err
	}
	return r.conn.enqueue(frame, false)
}

// Send is Notify that waits for room. It is for what the reader can have at
// its own speed, as kept output. A connection that takes nothing for longer
// than the write deadline ends; so ends this.
func (r *Request) Send(ctx context.Context, method string, params any) error {
	frame, err := encode(notice{Version: version, Method: method, Params: params})
	if err != nil {
		return err
	}
	return r.conn.enqueueWait(ctx, frame)
}

const version = "2.0"

// envelope is a request on the wire.
type envelope struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id,omitempty"`
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params,omitempty"`
	Files   int             `json:"files,omitempty"`
}

// notice is a notification on the wire.
type notice struct {
	Version string `json:"jsonrpc"`
	Method  string `json:"method"`
	Params  any    `json:"params"`
}

// answer is an answer on the wire; one of the last two is there.
type answer struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"` // null: it is for the whole connection
	Result  any             `json:"result,omitempty"`
	Error   *Error          `json:"error,omitempty"`
}

var noID = json.RawMessage("null")

// encode makes a frame with its newline.
func encode(v any) ([]byte, error) {
	frame, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(frame) > MaxFrame {
		return nil, &Error{Code: CodeInternal, Message: fmt.Sprintf("the frame has %d bytes, the limit is %d", len(frame), MaxFrame)}
	}
	return append(frame, '\n'), nil
}

// maxMethod bounds the name of a method, so that what is logged of a refused
// one is short.
const maxMethod = 64

// parse reads a frame into a request's envelope. With an Error, the id is
// given if there is one, and the method if it is that of a request.
func parse(text []byte) (envelope, *Error) {
	var e envelope
	err := decode(text, &e)
	var shape misfit
	switch {
	case errors.As(err, &shape):
		var known struct {
			ID json.RawMessage `json:"id"`
		}
		if json.Unmarshal(text, &known) != nil || checkID(known.ID) != nil {
			known.ID = nil
		}
		return envelope{ID: known.ID}, &Error{Code: CodeRequest, Message: err.Error()}
	case err != nil:
		return envelope{}, &Error{Code: CodeParse, Message: err.Error(), Hint: "a frame is one JSON object on one line"}
	}
	if err := checkID(e.ID); err != nil {
		return envelope{}, &Error{Code: CodeRequest, Message: err.Error()}
	}
	switch {
	case e.Version != version:
		return envelope{ID: e.ID}, &Error{Code: CodeRequest, Message: `"jsonrpc" is not "2.0"`}
	case e.Method == "" || len(e.Method) > maxMethod:
		return envelope{ID: e.ID}, &Error{Code: CodeRequest, Message: `there is no "method", or it is too long`}
	case e.Params == nil:
		e.Params = json.RawMessage("{}")
	case e.Params[0] != '{':
		return envelope{ID: e.ID}, &Error{Code: CodeRequest, Message: `"params" is no object`}
	}
	return e, nil
}

// maxID bounds what is given back with every answer.
const maxID = 64

// checkID takes a string or a whole number. A notification, which has no id,
// is not taken from a client: whoever asks for something is told what became of it.
func checkID(id json.RawMessage) error {
	switch {
	case len(id) == 0:
		return fmt.Errorf(`there is no "id"`)
	case len(id) > maxID:
		return fmt.Errorf(`the "id" has more than %d bytes`, maxID)
	case id[0] == '"':
		return nil
	}
	var n int64
	if json.Unmarshal(id, &n) != nil || id[0] == 'n' {
		return fmt.Errorf(`the "id" is no string and no whole number`)
	}
	return nil
}

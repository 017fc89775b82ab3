// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/json"
	"errors"
)

// Code says what kind of error it is. The set is closed: a client may decide
// on a code, and never on a message.
type Code int

// The codes. The negative ones are those of JSON-RPC 2.0, section 5.1.
const (
	CodeParse         Code = -32700 // the frame is no JSON, or not the JSON that is taken here
	CodeRequest       Code = -32600 // it is JSON, and no request
	CodeMethod        Code = -32601 // no such method on this socket
	CodeParams        Code = -32602 // the parameters are not those of the method
	CodeInternal      Code = -32603 // the daemon failed at what it should be able to do
	CodeDenied        Code = 1      // the peer may not, or policy or a person said no
	CodeNotFound      Code = 2      // what was named is not there, or not the peer's
	CodeConflict      Code = 3      // it has changed since the peer saw it: a ticket's revision, a key in use
	CodeOver          Code = 4      // it has ended, was answered, or expired
	CodeLocked        Code = 5      // there is a lockdown
	CodeFull          Code = 6      // a queue, or a bound of connections, requests or bytes
	CodeFlood         Code = 7      // too many in too short a time
	CodeUnavailable   Code = 8      // no daemon, or a part of it that is needed can't be used now
	CodeStopped       Code = 9      // the daemon ends, or the connection did
	CodeUnimplemented Code = 10     // this host or this configuration can't do it
)

var codeNames = map[Code]string{
	CodeParse: "parse error", CodeRequest: "invalid request", CodeMethod: "method not found",
	CodeParams: "invalid parameters", CodeInternal: "internal error", CodeDenied: "denied",
	CodeNotFound: "not found", CodeConflict: "conflict", CodeOver: "over", CodeLocked: "locked",
	CodeFull: "full", CodeFlood: "flood", CodeUnavailable: "unavailable", CodeStopped: "stopped",
	CodeUnimplemented: "unimplemented",
}

// String gives the code's name.
func (c Code) String() string {
	if name, ok := codeNames[c]; ok {
		return name
	}
	return "unknown code"
}

// Error is an error that travels. A handler that returns any other error
// gives its text with CodeInternal.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // what the reader can do about it
	Data    any    `json:"data,omitempty"` // in a client a json.RawMessage, or nil
}

// Error gives the message, and the hint after it.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + "; " + e.Hint
}

// UnmarshalJSON keeps the data as it came.
func (e *Error) UnmarshalJSON(b []byte) error {
	var got struct {
		Code    Code            `json:"code"`
		Message string          `json:"message"`
		Hint    string          `json:"hint"`
		Data    json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(b, &got); err != nil {
		return err
	}
	*e = Error{Code: got.Code, Message: got.Message, Hint: got.Hint}
	if got.Data != nil {
		e.Data = got.Data
	}
	return nil
}

// CodeOf gives the code of the Error that err is or wraps, or 0.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// travelling makes an Error of any error.
func travelling(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	if errors.Is(err, context.Canceled) {
		return &Error{Code: CodeStopped, Message: "the daemon ends, or the client went away"}
	}
	return &Error{Code: CodeInternal, Message: err.Error()}
}

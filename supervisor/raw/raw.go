// SPDX-License-Identifier: Apache-2.0

// Package raw has strings of any bytes for JSON, which knows only Unicode.
//
// An argument or a file name must arrive as it was sent: encoding/json would
// replace what is no UTF-8, and something else would be approved and run. So a
// String is written as a JSON string where that is exact, and otherwise as an
// object with its bytes: {"base64": "cm3/"}. Both are read. What can't be read
// exactly is an error, and so is null.
//
// # Limits
//
// As a key of a map a String is written by encoding/json alone, which replaces.
package raw

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// String is a string of any bytes.
type String string

// key is that of the object.
const key = "base64"

// MarshalJSON writes a JSON string, or an object where that would not be exact.
func (s String) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(s)) {
		return json.Marshal(string(s))
	}
	return json.Marshal(map[string][]byte{key: []byte(s)})
}

var (
	errInexact = errors.New("the string is no Unicode; write it as {\"base64\": ...}")
	errForm    = errors.New("want a string or {\"base64\": ...}")
)

// UnmarshalJSON reads either form. A string with bytes that are no UTF-8, or
// an escaped half of a surrogate pair, is an error: it would be changed.
func (s *String) UnmarshalJSON(b []byte) error {
	switch {
	case simple(b):
		*s = String(b[1 : len(b)-1])
		return nil
	case len(b) > 0 && b[0] == '"':
		if !Exact(b) {
			return errInexact
		}
		var text string
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
		*s = String(text)
		return nil
	case len(b) > 0 && b[0] == '{':
		return s.object(b)
	}
	return errForm
}

// simple reports whether b is a JSON string of printed ASCII without an escape,
// as most are.
func simple(b []byte) bool {
	if len(b) < 2 || b[0] != '"' || b[len(b)-1] != '"' {
		return false
	}
	for _, c := range b[1 : len(b)-1] {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// object reads {"base64": "..."}, with this key alone, once, and to the letter.
func (s *String) object(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	var tokens [4]json.Token
	for i := range tokens {
		var err error
		if tokens[i], err = d.Token(); err != nil {
			return errForm
		}
	}
	text, ok := tokens[2].(string)
	if !ok || tokens[1] != key || tokens[3] != json.Delim('}') {
		return errForm
	}
	value, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return err
	}
	*s = String(value)
	return nil
}

// Exact says whether a valid JSON string, given with its quotes, means what
// encoding/json makes of it: all of it is UTF-8, and no escape is half of a
// surrogate pair (RFC 8259, section 8.2), for which it would put U+FFFD.
func Exact(text []byte) bool {
	if !utf8.Valid(text) {
		return false
	}
	for {
		i := bytes.IndexByte(text, '\\')
		if i < 0 {
			return true
		}
		text = text[i:]
		first, ok := unit(text)
		switch {
		case !ok:
			text = text[2:] // another escape; in valid JSON there is a byte after the backslash
		case !utf16.IsSurrogate(first):
			text = text[6:]
		default:
			second, ok := unit(text[6:])
			if !ok || utf16.DecodeRune(first, second) == utf8.RuneError {
				return false
			}
			text = text[12:]
		}
	}
}

// unit reads the escape \uXXXX at the beginning of a text, if it is one.
func unit(text []byte) (rune, bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	return rune(n), err == nil
}

// Strings gives the bytes of a list.
func Strings(list []String) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}

// Of makes a list of what may be any bytes.
func Of(list []string) []String {
	out := make([]String, len(list))
	for i, s := range list {
		out[i] = String(s)
	}
	return out
}

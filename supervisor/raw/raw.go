// SPDX-License-Identifier: Apache-2.0

// Package raw has strings of any bytes for JSON, which knows only Unicode.
//
// An argument or a file name must arrive as it was sent: encoding/json would
// replace what is no UTF-8, and something else would be approved and run. So a
// String is written as a JSON string where that is exact, and otherwise as an
// object with its bytes: {"base64": "cm3/"}. Both are read.
package raw

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"
)

// String is a string of any bytes.
type String string

type object struct {
	Base64 []byte `json:"base64"`
}

// MarshalJSON writes a JSON string, or an object where that would not be exact.
func (s String) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(s)) {
		return json.Marshal(string(s))
	}
	return json.Marshal(object{[]byte(s)})
}

// UnmarshalJSON reads either form. A string with bytes that are no UTF-8, or
// an escaped half of a surrogate pair, is an error: it would be changed.
func (s *String) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		var o object
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err := d.Decode(&o); err != nil {
			return err
		}
		*s = String(o.Base64)
		return nil
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	if !utf8.Valid(b) || replaced(text) > bytes.Count(b, []byte("\uFFFD"))+escaped(b) {
		return errors.New("the string is no UTF-8; write it as {\"base64\": ...}")
	}
	*s = String(text)
	return nil
}

// replaced counts the replacement characters that a decoded string has.
func replaced(s string) (n int) {
	for _, r := range s {
		if r == utf8.RuneError {
			n++
		}
	}
	return n
}

// escaped counts those that were written as an escape.
func escaped(b []byte) int {
	return bytes.Count(bytes.ToLower(b), []byte(`\ufffd`))
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

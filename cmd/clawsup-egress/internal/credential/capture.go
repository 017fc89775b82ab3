// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"errors"
	"fmt"
	"strings"
)

// Capture is a token in an answer that becomes a secret.
type Capture struct {
	Secret string // whose binding names it
	Field  string // of the JSON answer, dotted
}

// MaxToken bounds a token that is captured, in bytes.
const MaxToken = 16 << 10

// Captures gives what is captured from the answer to a request for that path,
// as it is sent.
func (s *Set) Captures(host string, port uint16, path string) []Capture {
	var captures []Capture
	for _, b := range s.view().at(host, port) {
		for _, c := range b.Captures {
			if c.Path == path {
				captures = append(captures, Capture{b.Secret, c.Field})
			}
		}
	}
	return captures
}

var errToken = errors.New("an answer of a token endpoint")

// Token gives the string at a dotted field of a JSON answer, of at most MaxBody
// bytes; false if there is none. It fails where the answer can be read in two ways, where it
// has something else there, or more than MaxToken bytes. An answer that can't be
// read may hold the token, and must not be handed on.
func Token(body []byte, field string) ([]byte, bool, error) {
	e, err := fieldOf(body, field)
	if err != nil || e == nil || e.text == "" {
		return nil, false, err
	}
	return []byte(e.text), true, nil
}

// Replace puts a placeholder in the place of that string.
func Replace(body []byte, field, placeholder string) ([]byte, error) {
	e, err := fieldOf(body, field)
	if err != nil {
		return nil, err
	}
	spelled, err := spell(placeholder)
	if err != nil || e == nil {
		return nil, fmt.Errorf("%w has no field %s", errToken, field)
	}
	replaced := append([]byte(nil), body[:e.from]...)
	return append(append(replaced, spelled...), body[e.to:]...), nil
}

func fieldOf(body []byte, field string) (*element, error) {
	if len(body) > MaxBody {
		return nil, fmt.Errorf("%w has more than %d bytes", errToken, MaxBody)
	}
	path := strings.Split(field, ".")
	var found *element
	err := walk(body, func(e element) error {
		switch exact, nearly := e.is(path); {
		case nearly:
			return fmt.Errorf("it has something like field %s at another place", field)
		case !exact || e.kind == wordElement && e.text == "null":
		case e.kind != stringElement || len(e.text) > MaxToken:
			return fmt.Errorf("field %s is not a string of at most %d bytes", field, MaxToken)
		default:
			found = &e
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errToken, err)
	}
	return found, nil
}

// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds objects and arrays within each other.
const maxDepth = 64

// element is a value in a JSON text.
type element struct {
	path   []string // names of the fields that lead to it; only valid while it is visited
	listed bool     // an array is on the way
	kind   elementKind
	text   string // of a string, unescaped; of a number, true, false and null as they are spelled
	from   int    // of what is not an object or an array, with the quotes of a string
	to     int
}

type elementKind int

const (
	stringElement elementKind = iota
	numberElement
	wordElement // true, false, null
	objectElement
	arrayElement
)

var errTwice = errors.New("an object has two fields of one name")

// level is an object or an array that has not ended.
type level struct {
	object bool
	named  bool // the next token of an object is a value
	keys   map[string]struct{}
}

// walk visits all values of one JSON text (RFC 8259), those that hold others
// first. It is strict: UTF-8 alone, no object with two fields of one name, at most maxDepth levels,
// nothing after the value. Its errors never repeat the text.
func walk(text []byte, visit func(element) error) error {
	switch {
	case !utf8.Valid(text):
		return errors.New("it is not UTF-8")
	case !json.Valid(text):
		return errors.New("it is not one JSON value")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var levels []level
	var path []string
	for {
		before := int(d.InputOffset())
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		delim, _ := token.(json.Delim)
		if delim == '}' || delim == ']' {
			levels = levels[:len(levels)-1]
			path = leave(levels, path)
			continue
		}
		if n := len(levels); n > 0 && levels[n-1].object && !levels[n-1].named {
			key := token.(string)
			if _, twice := levels[n-1].keys[key]; twice {
				return errTwice
			}
			if levels[n-1].keys == nil {
				levels[n-1].keys = map[string]struct{}{}
			}
			levels[n-1].keys[key] = struct{}{}
			levels[n-1].named = true
			path = append(path, key)
			continue
		}
		e := element{path: path, listed: slices.ContainsFunc(levels, func(l level) bool { return !l.object })}
		e.from, e.to = before, int(d.InputOffset())
		e.from += len(text[e.from:e.to]) - len(bytes.TrimLeft(text[e.from:e.to], " \t\r\n,:"))
		switch t := token.(type) {
		case json.Delim:
			e.kind = arrayElement
			if t == '{' {
				e.kind = objectElement
			}
		case string:
			e.kind, e.text = stringElement, t
		case json.Number:
			e.kind, e.text = numberElement, t.String()
		default:
			e.kind, e.text = wordElement, string(text[e.from:e.to])
		}
		if err := visit(e); err != nil {
			return err
		}
		if delim == 0 {
			path = leave(levels, path)
			continue
		}
		if levels = append(levels, level{object: delim == '{'}); len(levels) > maxDepth {
			return errors.New("it is nested too deep")
		}
	}
}

// leave goes on after a value.
func leave(levels []level, path []string) []string {
	if n := len(levels); n > 0 && levels[n-1].object {
		levels[n-1].named = false
		return path[:len(path)-1]
	}
	return path
}

// is reports whether an element is at a dotted field, and whether a reader that
// takes no account of case or of arrays could think so.
func (e *element) is(field []string) (exact, nearly bool) {
	if len(e.path) != len(field) || !slices.EqualFunc(e.path, field, strings.EqualFold) {
		return false, false
	}
	exact = !e.listed && slices.Equal(e.path, field)
	return exact, !exact
}

// spell is a string as JSON has it.
func spell(s string) ([]byte, error) {
	if !utf8.ValidString(s) {
		return nil, errors.New("it is not UTF-8")
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/clawsup/clawsup/supervisor/raw"
)

// maxDepth is how deep objects and lists may be nested, the frame's own
// object counted. The deepest message has six.
const maxDepth = 64

// exact tells why a text can't be decoded into a value of type t such that
// every byte of it counts. It must be one value of valid UTF-8, without two
// equal keys in an object and without an escaped half of a surrogate pair:
// encoding/json would choose a key, and replace a half. With a type, a key
// must be that of a field to the letter (encoding/json takes "Call" for
// "call"), and nothing is null. Where a type decodes itself, where it is
// json.RawMessage, and where t is nil, any key will do.
func exact(text []byte, t reflect.Type) error {
	if !utf8.Valid(text) {
		return errors.New("it is no UTF-8")
	}
	if !json.Valid(text) { // which gives up at a depth of 10,000
		return errors.New("it is no JSON")
	}
	s := scanner{text: text}
	return s.value(t, 1, nil)
}

// misfit is what is wrong with JSON that is exact, but not for its type.
type misfit string

func (m misfit) Error() string { return string(m) }

// scanner walks over valid JSON.
type scanner struct {
	text []byte
	at   int
}

// space moves to the next byte that is none.
func (s *scanner) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

// place is where a value is, for a message: spelled only when there is one.
type place struct {
	in  *place // nil: the whole
	key []byte // of an object; nil: an element of a list
}

func (p *place) String() string {
	switch {
	case p == nil:
		return ""
	case p.key == nil:
		return p.in.String() + "[]"
	}
	return at(p.in.String(), string(p.key))
}

// value walks over the value that begins here; depth is what it would have
// as a container.
func (s *scanner) value(t reflect.Type, depth int, where *place) error {
	s.space()
	if s.text[s.at] == 'n' && t != nil {
		return misfit(orWhole(where.String()) + " is null; leave out what has no value")
	}
	switch s.text[s.at] {
	case '{', '[':
		if depth > maxDepth {
			return fmt.Errorf("it is nested deeper than %d", maxDepth)
		}
		form := formOf(t)
		if s.text[s.at] == '{' {
			return s.object(form, depth, where)
		}
		return s.list(form, depth, where)
	case '"':
		_, err := s.str()
		return err
	}
	for s.at < len(s.text) && strings.IndexByte(",]} \t\r\n", s.text[s.at]) < 0 {
		s.at++
	}
	return nil
}

// few is how many keys are compared one by one before they are put in a map.
const few = 24

// keys are those of one object so far.
type keys struct {
	list [][]byte
	set  map[string]bool // nil: there are few
}

// twice says whether a key was there before, and keeps it.
func (k *keys) twice(key []byte) bool {
	if k.set != nil {
		if k.set[string(key)] {
			return true
		}
		k.set[string(key)] = true
		return false
	}
	for _, other := range k.list {
		if bytes.Equal(other, key) {
			return true
		}
	}
	if k.list = append(k.list, key); len(k.list) > few {
		k.set = make(map[string]bool, 2*few)
		for _, other := range k.list {
			k.set[string(other)] = true
		}
	}
	return false
}

func (s *scanner) object(f *form, depth int, where *place) error {
	var seen keys
	for s.at++; ; s.at++ {
		s.space()
		if s.text[s.at] == '}' { // only of an empty object
			s.at++
			return nil
		}
		key, err := s.str()
		if err != nil {
			return err
		}
		here := place{where, key}
		if seen.twice(key) {
			return fmt.Errorf("%s is there twice", &here)
		}
		of := f.elem
		if f.fields != nil {
			known := false
			if of, known = f.fields[string(key)]; !known {
				return misfit("unknown field " + here.String())
			}
		}
		s.space()
		s.at++ // the colon
		if err := s.value(of, depth+1, &here); err != nil {
			return err
		}
		s.space()
		if s.text[s.at] == '}' {
			s.at++
			return nil
		}
	}
}

func (s *scanner) list(f *form, depth int, where *place) error {
	here := place{in: where}
	for s.at++; ; s.at++ {
		s.space()
		if s.text[s.at] == ']' { // only of an empty list
			s.at++
			return nil
		}
		if err := s.value(f.item, depth+1, &here); err != nil {
			return err
		}
		s.space()
		if s.text[s.at] == ']' {
			s.at++
			return nil
		}
	}
}

// str walks over the string that begins here and gives its value, which is
// never nil.
func (s *scanner) str() ([]byte, error) {
	start, escapes := s.at, false
	for s.at++; s.text[s.at] != '"'; s.at++ {
		if s.text[s.at] == '\\' {
			escapes = true
			s.at++
		}
	}
	s.at++
	if !escapes {
		return s.text[start+1 : s.at-1], nil
	}
	if !raw.Exact(s.text[start:s.at]) {
		return nil, errors.New("a string has half a surrogate pair")
	}
	var value string
	err := json.Unmarshal(s.text[start:s.at], &value)
	return append([]byte{}, value...), err
}

// at extends a path, with what a stranger wrote made short and visible.
func at(path, key string) string {
	if len(key) > 64 {
		key = key[:64] + "..."
	}
	if key = strings.Trim(strconv.QuoteToASCII(key), `"`); path == "" {
		return key
	}
	return path + "." + key
}

func orWhole(path string) string {
	if path == "" {
		return "the whole"
	}
	return path
}

var (
	decodesJSON = reflect.TypeFor[json.Unmarshaler]()
	decodesText = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// plain follows pointers, and gives nil for a type that says itself what it takes.
func plain(t reflect.Type) reflect.Type {
	for t != nil {
		if p := reflect.PointerTo(t); p.Implements(decodesJSON) || p.Implements(decodesText) || t.Kind() == reflect.Interface {
			return nil
		}
		if t.Kind() != reflect.Pointer {
			return t
		}
		t = t.Elem()
	}
	return nil
}

// form is what may stand in an object or a list of some type.
type form struct {
	fields map[string]reflect.Type // of a struct; nil: of none
	elem   reflect.Type            // of a map's values
	item   reflect.Type            // of a list's elements
}

// forms are those of the types that were asked for: as many as there are
// messages, since no type comes from a message.
var forms sync.Map // of reflect.Type to *form

// anything is the form where any key will do.
var anything form

func formOf(t reflect.Type) *form {
	if t == nil {
		return &anything
	}
	if f, ok := forms.Load(t); ok {
		return f.(*form)
	}
	f := &anything
	if p := plain(t); p != nil {
		f = &form{}
		switch p.Kind() {
		case reflect.Struct:
			f.fields = fieldsOf(p)
		case reflect.Map:
			f.elem = p.Elem()
		case reflect.Slice, reflect.Array:
			f.item = p.Elem()
		}
	}
	forms.Store(t, f)
	return f
}

// fieldsOf gives the keys of a struct with their types. Every field has its
// key in its tag: there is no embedding, and "-" is for none.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := make(map[string]reflect.Type, t.NumField())
	for f := range t.Fields() {
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		fields[key] = f.Type
	}
	return fields
}

// decode is json.Unmarshal for what must be exact. The error is a misfit if
// the text is, and does not fit.
func decode(text []byte, into any) error {
	if err := exact(text, reflect.TypeOf(into).Elem()); err != nil {
		return err
	}
	err := json.Unmarshal(text, into)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return misfit(fmt.Sprintf("%s: %s does not fit", orWhole(wrong.Field), wrong.Value))
	} else if err != nil { // of a type that decodes itself
		return misfit(err.Error())
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"bytes"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"strings"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// MaxField bounds the value of a field that rules look at, in bytes, and
// MaxFields how many there are; with more the body counts as unread.
const (
	MaxField  = 1 << 10
	MaxFields = 16
)

// Fields gives the values that fields of these names have in a request: in its
// query, and in its body where that is a form, multipart/form-data, or a JSON object, whose
// fields may be dotted. body is nil if it was not read. Each value is there as often as it
// stands in the request. A whole number is the same as a string of its digits.
//
// unread says that the values are not to be relied on for allowing anything:
// there is a body that could not be read, is of another type, or is compressed; a field
// holds an object, an array, or a number that can be spelled in several ways; or
// there is a name that some servers take for the one asked for, in
// another case, with brackets, behind a semicolon, or in an array.
func Fields(names []string, r *http.Request, body []byte) (fields []packet.Field, unread bool) {
	if len(names) == 0 {
		return nil, false
	}
	s := fieldSearch{names: names}
	s.items(r.URL.RawQuery)
	switch kind, boundary := kindOf(r.Header); {
	case body == nil && !hasBody(r) || body != nil && len(body) == 0:
	case body == nil || len(body) > MaxBody || encoded(r.Header):
		s.unread = true
	case kind == formBody:
		s.items(string(body))
	case kind == jsonBody:
		s.json(body)
	case kind == multipartBody:
		s.multipart(body, boundary)
	default:
		s.unread = true
	}
	return s.fields, s.unread
}

type fieldSearch struct {
	names  []string
	fields []packet.Field
	unread bool
}

// add takes a field whose name is one of those, or looks like one.
func (s *fieldSearch) add(name, value string) {
	for _, want := range s.names {
		switch {
		case name == want && len(value) <= MaxField && len(s.fields) < MaxFields:
			s.fields = append(s.fields, packet.Field{Name: name, Value: value})
		case looseName(name) == looseName(want):
			s.unread = true
		}
	}
}

// near takes a name that only some servers would see.
func (s *fieldSearch) near(name string) {
	for _, want := range s.names {
		s.unread = s.unread || looseName(name) == looseName(want)
	}
}

// looseName is what a server may make of a name.
func looseName(name string) string {
	name, _, _ = strings.Cut(plainName(name), "[")
	return strings.TrimRight(name, "\x00")
}

func (s *fieldSearch) items(text string) {
	for _, i := range items(text) {
		s.add(i.name, i.value)
		s.unread = s.unread || !i.whole
		_, rest, _ := strings.Cut(text[i.from:i.to], ";")
		for _, j := range items(strings.ReplaceAll(rest, ";", "&")) {
			s.near(j.name)
		}
	}
}

func (s *fieldSearch) json(body []byte) {
	first := true
	err := walk(body, func(e element) error {
		if first && e.kind != objectElement {
			return errors.New("it is no object")
		}
		first = false
		for _, want := range s.names {
			exact, nearly := e.is(strings.Split(want, "."))
			plain := e.kind == stringElement || e.kind == wordElement || e.kind == numberElement && whole(e.text)
			switch {
			case exact && plain && len(e.text) <= MaxField && len(s.fields) < MaxFields:
				s.fields = append(s.fields, packet.Field{Name: want, Value: e.text})
			case exact || nearly:
				s.unread = true
			}
		}
		return nil
	})
	s.unread = s.unread || err != nil
}

// whole reports whether a number has one spelling alone.
func whole(number string) bool {
	return !strings.ContainsAny(number, ".eE") && number != "-0"
}

func (s *fieldSearch) multipart(body []byte, boundary string) {
	parts := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil || part.FormName() == "" || part.Header.Get("Content-Transfer-Encoding") != "" {
			s.unread = true
			return
		}
		value, err := io.ReadAll(io.LimitReader(part, MaxField+1))
		if err != nil {
			s.unread = true
			return
		}
		s.add(part.FormName(), string(value))
		if part.FileName() != "" { // a file of that name may be the field, or not
			s.near(part.FormName())
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package changeset

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strconv"

	"github.com/clawsup/clawsup/supervisor/raw"
)

var errForm = errors.New("it is not written as it would be")

// parser reads an entry as appendEntry writes it, part after part: a small part
// of JSON, in a fixed order. It need not be
// exact in what it refuses, since Decode compares what it read, written again.
type parser struct {
	rest []byte
	err  error // the first
}

func (p *parser) fail(err error) {
	if p.err == nil {
		p.err = err
	}
	p.rest = nil
}

// has takes a text if it is next.
func (p *parser) has(text string) bool {
	if len(p.rest) < len(text) || string(p.rest[:len(text)]) != text {
		return false
	}
	p.rest = p.rest[len(text):]
	return true
}

// want takes a text that must be next.
func (p *parser) want(text string) {
	if !p.has(text) {
		p.fail(errForm)
	}
}

// until takes what stands before a text, and the text.
func (p *parser) until(text string) []byte {
	part, rest, ok := bytes.Cut(p.rest, []byte(text))
	if !ok {
		p.fail(errForm)
		return nil
	}
	p.rest = rest
	return part
}

func (p *parser) entry(e *Entry) error {
	p.want(`{"kind":"`)
	if err := e.Kind.UnmarshalText(p.until(`"`)); err != nil {
		p.fail(err)
	}
	p.want(`,"path":`)
	e.Path = p.text()
	for _, s := range [...]struct {
		key   string
		value *raw.String
	}{{`,"from":`, &e.From}, {`,"link":`, &e.Link}, {`,"target":`, &e.Target}} {
		if p.has(s.key) {
			*s.value = p.text()
		}
	}
	if p.has(`,"before":`) {
		p.state(&e.Before)
	}
	if p.has(`,"after":`) {
		p.state(&e.After)
	}
	if p.has(`,"notes":`) {
		e.Notes = Notes(p.number(16))
	}
	p.want("}")
	if len(p.rest) > 0 {
		p.fail(errForm)
	}
	return p.err
}

func (p *parser) state(s *State) {
	p.want(`{"type":"`)
	if err := s.Type.UnmarshalText(p.until(`"`)); err != nil {
		p.fail(err)
	}
	p.want(`,"mode":`)
	s.Mode = uint32(p.number(32))
	p.want(`,"uid":`)
	s.UID = uint32(p.number(32))
	p.want(`,"gid":`)
	s.GID = uint32(p.number(32))
	p.want(`,"size":`)
	s.Size = p.signed()
	if p.has(`,"digest":"`) {
		if s.Digest = nothing; !p.has(nothing + `"`) {
			s.Digest = string(p.until(`"`))
		}
	}
	p.want(`,"modified":`)
	s.Modified = p.signed()
	p.want(`,"links":`)
	s.Links = uint32(p.number(32))
	if p.has(`,"dev":`) {
		s.Dev = p.number(64)
	}
	if p.has(`,"ino":`) {
		s.Ino = p.number(64)
	}
	if p.has(`,"ctime":`) {
		s.Ctime = p.signed()
	}
	if p.has(`,"xattrs":[`) {
		for more := true; more; more = p.has(",") {
			p.want(`{"name":`)
			x := Xattr{Name: p.text()}
			p.want(`,"value":"`)
			var err error
			if x.Value, err = base64.StdEncoding.AppendDecode([]byte{}, p.until(`"`)); err != nil {
				p.fail(err)
			}
			p.want("}")
			s.Xattrs = append(s.Xattrs, x)
		}
		p.want("]")
	}
	p.want("}")
}

// number takes digits, which are those of a number of so many bits.
func (p *parser) number(bits int) uint64 {
	n, err := strconv.ParseUint(p.digits(0), 10, bits)
	if err != nil {
		p.fail(err)
	}
	return n
}

func (p *parser) signed() int64 {
	sign := 0
	if len(p.rest) > 0 && p.rest[0] == '-' {
		sign = 1
	}
	n, err := strconv.ParseInt(p.digits(sign), 10, 64)
	if err != nil {
		p.fail(err)
	}
	return n
}

// digits takes those that stand behind a sign of so many bytes, and the sign.
func (p *parser) digits(sign int) string {
	i := sign
	for i < len(p.rest) && '0' <= p.rest[i] && p.rest[i] <= '9' {
		i++
	}
	text := string(p.rest[:i])
	p.rest = p.rest[i:]
	return text
}

// text takes a string in either form.
func (p *parser) text() raw.String {
	end := -1
	if bytes.HasPrefix(p.rest, []byte("{")) {
		end = bytes.IndexByte(p.rest, '}')
	} else {
		for i := 1; i < len(p.rest); i++ {
			if p.rest[i] == '\\' {
				i++ // what it escapes is no end
			} else if p.rest[i] == '"' {
				end = i
				break
			}
		}
	}
	if end < 0 {
		p.fail(errForm)
		return ""
	}
	var s raw.String
	if err := s.UnmarshalJSON(p.rest[:end+1]); err != nil {
		p.fail(err)
	}
	if p.err == nil {
		p.rest = p.rest[end+1:]
	}
	return s
}

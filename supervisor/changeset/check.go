// SPDX-License-Identifier: Apache-2.0

package changeset

import (
	"errors"
	"fmt"
	"strings"
)

// text is how many bytes of names and attributes an entry has.
func (e *Entry) text() int {
	n := len(e.Path) + len(e.From) + len(e.Link) + len(e.Target)
	for _, list := range [][]Xattr{e.Before.Xattrs, e.After.Xattrs} {
		for _, x := range list {
			n += len(x.Name) + len(x.Value)
		}
	}
	return n
}

// check says what of an entry Walk would not have made.
func (e *Entry) check() error {
	r := rules[min(int(e.Kind), len(rules)-1)]
	switch {
	case !r.known:
		return errors.New("no such kind")
	case !proper(string(e.Path)):
		return errors.New("the path is none below the workspace")
	case e.From != "" && !proper(string(e.From)), (e.From == "") && r.from == always, e.From != "" && r.from == never:
		return fmt.Errorf("from is wrong of what is %s", e.Kind)
	case e.Link != "" && (e.Kind != Created || !proper(string(e.Link)) || compare(string(e.Link), string(e.Path)) >= 0):
		return errors.New("it is not another name of an earlier path")
	case e.Before.zero() && r.before == always, !e.Before.zero() && r.before == never,
		e.After.zero() && r.after == always, !e.After.zero() && r.after == never:
		return fmt.Errorf("before or after is wrong of what is %s", e.Kind)
	case (e.Target != "") != (e.After.Type == Symlink), strings.IndexByte(string(e.Target), 0) >= 0, len(e.Target) > MaxPath:
		return errors.New("the target is none of a link")
	case e.After.Type == Symlink && e.After.Size != int64(len(e.Target)):
		return errors.New("the size is not that of the target")
	case e.Kind == Renamed && (e.Before.Type != Directory || e.After.Type != Directory):
		return errors.New("what is renamed is a directory")
	case e.Kind == Changed && e.Before.Type != e.After.Type, e.Kind == Modified && (e.Before.Type == Directory || e.After.Type == Directory),
		(e.Kind == Created || e.Kind == Modified || e.Kind == Changed) && e.After.Type == Special:
		return fmt.Errorf("the types are wrong of what is %s", e.Kind)
	case e.After.Type == Symlink && e.After.Digest == "":
		return errors.New("the target has no digest")
	case e.After.Identity != Identity{}:
		return errors.New("what became of it has an identity")
	case e.Notes >= end:
		return errors.New("unknown notes")
	}
	if err := e.Before.check(); err != nil {
		return fmt.Errorf("before: %w", err)
	}
	if err := e.After.check(); err != nil {
		return fmt.Errorf("after: %w", err)
	}
	return nil
}

// presence is whether an entry has a part.
type presence uint8

const (
	sometimes presence = iota
	always
	never
)

// rules are what each kind of entry has.
var rules = [...]struct {
	known               bool
	from, before, after presence
}{
	Created:     {true, never, never, always},
	Modified:    {true, sometimes, always, always},
	Deleted:     {true, never, always, never},
	Renamed:     {true, always, always, always},
	Changed:     {true, sometimes, always, always},
	Dropped:     {true, sometimes, sometimes, always},
	Dropped + 1: {},
}

// zero says whether there is no file.
func (s *State) zero() bool {
	return s.Type == None && s.Mode == 0 && s.UID == 0 && s.GID == 0 && s.Size == 0 && s.Digest == "" &&
		s.Modified == 0 && s.Links == 0 && s.Identity == Identity{} && s.Xattrs == nil
}

// check says what of a state no file has.
func (s *State) check() error {
	switch {
	case s.zero():
		return nil
	case s.Type == None || int(s.Type) >= len(typeNames):
		return errors.New("no type")
	case s.Mode > 0o7777:
		return errors.New("a mode beyond 07777")
	case s.Size < 0 || s.Size > 0 && s.Type != Regular && s.Type != Symlink:
		return errors.New("an impossible size")
	case s.Digest != "" && (!digest(s.Digest) || s.Type != Regular && s.Type != Symlink):
		return errors.New("the digest is none")
	case s.Xattrs != nil && (len(s.Xattrs) == 0 || s.Type != Regular && s.Type != Directory):
		return errors.New("attributes that it can't have")
	}
	left := MaxXattrs
	for i, x := range s.Xattrs {
		if left -= len(x.Name) + len(x.Value); left < 0 {
			return errors.New("too many attributes")
		}
		if x.Value == nil || !strings.HasPrefix(string(x.Name), userPrefix) || strings.IndexByte(string(x.Name), 0) >= 0 || i > 0 && s.Xattrs[i-1].Name >= x.Name {
			return errors.New("attributes are not those of users, in order")
		}
	}
	return nil
}

// digest says whether a text is one.
func digest(text string) bool {
	hexadecimal, ok := strings.CutPrefix(text, prefix)
	return ok && len(hexadecimal) == 64 && strings.Trim(hexadecimal, "0123456789abcdef") == ""
}

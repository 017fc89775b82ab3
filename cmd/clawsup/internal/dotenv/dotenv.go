// SPDX-License-Identifier: Apache-2.0

// Package dotenv reads lines KEY=VALUE as many programs have them in a file .env,
// strictly: a line that two such programs would read in two ways is an error.
//
//	lines, err := dotenv.Parse(text)
//
// A line is empty, a comment that begins with #, or
//
//	KEY=plain          letters, digits and -_.:/+=@,~%^*!?; nothing else
//	KEY='anything'     to the letter; no quote within
//	KEY="anything"     with \\ \" \$ and \` for these four; no other backslash, no $ or `
//	export KEY=...     the same
//
// with spaces before and after. Variables are not expanded, values don't go on in
// the next line, and a key comes once. Errors name the line and never what is on it:
// it may be a secret.
package dotenv

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"unicode/utf8"
)

// Bounds of what is read.
const (
	MaxText  = 256 << 10 // bytes
	MaxLines = 1024      // with a key
)

// Line is one variable. The value is a copy that the caller may wipe.
type Line struct {
	Key   string
	Value []byte
}

var (
	assignment = regexp.MustCompile(`^(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]{0,127})=(.*)$`)
	plain      = regexp.MustCompile(`^[A-Za-z0-9_.:/+=@,~%^*!?-]*$`)
)

// Parse reads a whole text, or says which line is wrong.
func Parse(text []byte) ([]Line, error) {
	if len(text) > MaxText {
		return nil, fmt.Errorf("there is more than %d bytes", MaxText)
	}
	if !utf8.Valid(text) {
		return nil, errors.New("it is no UTF-8")
	}
	var lines []Line
	seen := map[string]bool{}
	for n, line := range bytes.Split(text, []byte("\n")) {
		line, _ = bytes.CutSuffix(line, []byte("\r"))
		line = bytes.Trim(line, " \t")
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		found := assignment.FindSubmatch(line)
		if found == nil {
			return nil, fmt.Errorf("line %d is not KEY=VALUE", n+1)
		}
		key := string(found[1])
		value, err := unquote(found[2])
		switch {
		case err != nil:
			return nil, fmt.Errorf("line %d: the value of %s %w", n+1, key, err)
		case seen[key]:
			return nil, fmt.Errorf("line %d: %s is there twice", n+1, key)
		case len(lines) == MaxLines:
			return nil, fmt.Errorf("there are more than %d keys", MaxLines)
		}
		seen[key] = true
		lines = append(lines, Line{key, value})
	}
	return lines, nil
}

// unquote gives a copy of a value without its quotes.
func unquote(text []byte) ([]byte, error) {
	if len(text) == 0 || text[0] != '\'' && text[0] != '"' {
		if !plain.Match(text) {
			return nil, errors.New("has a character that is not plain: put it between single quotes")
		}
		return bytes.Clone(text), nil
	}
	quote := text[0]
	if len(text) < 2 || text[len(text)-1] != quote {
		return nil, errors.New("does not end with the quote that it begins with, on the same line and without a comment after it")
	}
	inner := text[1 : len(text)-1]
	if quote == '\'' {
		if bytes.IndexByte(inner, '\'') >= 0 {
			return nil, errors.New("has a single quote between single quotes")
		}
		return bytes.Clone(inner), nil
	}
	out := make([]byte, 0, len(inner))
	for i := 0; i < len(inner); i++ {
		switch c := inner[i]; c {
		case '"', '$', '`':
			return nil, errors.New(`has a ", $ or ` + "`" + ` without a backslash before it`)
		case '\\':
			if i++; i == len(inner) || bytes.IndexByte([]byte("\\\"$`"), inner[i]) < 0 {
				return nil, errors.New("has a backslash that means nothing here: put it between single quotes")
			}
			out = append(out, inner[i])
		default:
			out = append(out, c)
		}
	}
	return out, nil
}

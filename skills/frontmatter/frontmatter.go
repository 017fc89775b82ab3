// SPDX-License-Identifier: Apache-2.0

// Package frontmatter reads the YAML block at the top of a SKILL.md.
//
// It parses bytes that a stranger chose, with a big parser, so nothing but
// clawsup-inspect, which runs in a throwaway box, may import it. What it returns
// is a skills.Manifest.
//
// The order of operations, each step bounded before the next one starts:
//
//  1. the block between the two "---" lines is cut out: at most MaxBlock bytes
//     and MaxLines lines of UTF-8 without control characters;
//  2. goccy/go-yaml makes tokens; anchors, aliases, merge keys, tags, directives
//     and further documents are refused here, before anything could be expanded,
//     and so are too many tokens and too deep nesting;
//  3. its parser makes a syntax tree, which becomes a tree of values; a key that
//     is there twice is refused; a value that is JSON in a string where OpenClaw
//     expects a mapping is read as such, under the same bounds;
//  4. the fields that clawsup knows are taken out, each with its type; the others
//     become warnings.
//
// A mapping is never decoded into Go values by reflection, and nothing is
// resolved: "yes" and 1.10 stay the text that they are.
//
// Every error is an *skills.InspectError with the line of SKILL.md, counted
// from 1.
package frontmatter

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"github.com/clawsup/clawsup/skills"
)

// Bounds of a front matter block.
const (
	MaxBlock  = 64 << 10 // bytes between the two "---" lines
	MaxTokens = 8192     // YAML tokens
	MaxNodes  = 2048     // keys and values
	MaxDepth  = 16       // mappings and sequences within each other
	MaxLines  = 1024     // lines; the lexer takes time by the square of them
	maxLine   = 16 << 10 // bytes of one line
)

func failf(line int, format string, args ...any) error {
	return &skills.InspectError{Line: line, Message: fmt.Sprintf(format, args...)}
}

// Parse reads the front matter of a whole SKILL.md of at most skills.MaxSkillMD
// bytes. A byte order mark and CRLF line ends are accepted.
func Parse(file []byte) (m skills.Manifest, err error) {
	if len(file) > skills.MaxSkillMD {
		return m, failf(0, "it is longer than %d bytes", skills.MaxSkillMD)
	}
	block, err := cut(file)
	if err != nil {
		return m, err
	}
	// A bug of the parser is an error about this file; the process ends anyway.
	defer func() {
		if p := recover(); p != nil {
			m, err = skills.Manifest{}, failf(0, "the YAML reader failed on the front matter: %.200q", fmt.Sprint(p))
		}
	}()
	root, err := parseYAML(block)
	if err != nil {
		return m, err
	}
	return extract(root)
}

// cut returns what is between the first line, "---", and the next such line. It
// starts on line 2.
func cut(file []byte) ([]byte, error) {
	file = bytes.TrimPrefix(file, []byte("\xef\xbb\xbf"))
	first, rest, found := bytes.Cut(file, []byte("\n"))
	switch {
	case len(bytes.TrimSpace(file)) == 0:
		return nil, failf(1, "the file is empty; it must begin with front matter between two lines of ---")
	case !isFence(first):
		return nil, failf(1, "there is no front matter; the first line must be ---, then name and description, then --- again")
	case !found:
		return nil, failf(1, "the front matter is not closed; a line of --- must end it")
	}
	for at, line := 0, 2; at < len(rest); line++ {
		text, _, more := bytes.Cut(rest[at:], []byte("\n"))
		if isFence(text) {
			return rest[:at], nil
		}
		if err := checkLine(text, line); err != nil {
			return nil, err
		}
		if at += len(text); more {
			at++
		}
		if line > MaxLines {
			return nil, failf(line, "the front matter has more than %d lines, or its closing --- is missing", MaxLines)
		}
		if at > MaxBlock {
			return nil, failf(line, "the front matter is longer than %d bytes, or its closing --- is missing", MaxBlock)
		}
	}
	return nil, failf(1, "the front matter is not closed; a line of --- must end it")
}

func isFence(line []byte) bool {
	return bytes.Equal(bytes.TrimRight(line, " \t\r"), []byte("---"))
}

func checkLine(text []byte, line int) error {
	if len(text) > maxLine {
		return failf(line, "the line is longer than %d bytes", maxLine)
	}
	if !utf8.Valid(text) {
		return failf(line, "the line is not UTF-8; save the file as UTF-8")
	}
	text = bytes.TrimSuffix(text, []byte("\r"))
	for _, r := range string(text) {
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 || r == 0xfeff {
			return failf(line, "the line has the control character %+q", r)
		}
	}
	return nil
}

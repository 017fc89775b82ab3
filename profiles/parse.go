// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// Bounds of one file. The decoder's work grows with the square of the parts of
// a dotted key and its stack with the depth of a value; a profile needs few of both.
const (
	maxFile = 256 << 10
	maxLine = 8 << 10
	maxKeys = 512
	maxMore = 8192 // keys with those of rules
	maxOpen = 640  // brackets
	maxDots = 32   // in a line
)

// Error is what is wrong with a profile, and where.
type Error struct {
	File string // path, or "built in: NAME"
	Line int    // from 1; 0 if the whole file is meant
	Text string // what is wrong, and what to write instead
}

// Error gives "FILE:LINE: TEXT" on one line, with control characters visible.
func (e *Error) Error() string {
	where := visible(e.File)
	if e.Line > 0 {
		where = fmt.Sprintf("%s:%d", where, e.Line)
	}
	return where + ": " + escape(e.Text)
}

// document is one parsed file: what it sets, before its parent is known.
type document struct {
	name    string // of the profile
	source  string // for messages and Origin
	id      fileID // zero for a built-in
	trusted bool   // root alone writes it, so that it may widen its parent

	extends     string
	assignments []assignment
}

// assignment is one key that a file sets.
type assignment struct {
	key   *key
	name  string     // key.name, or with a variable's name behind it
	line  func() int // found when asked for: it is needed for faults alone
	apply func(*Profile)
}

// fault makes the error of a line.
func (d *document) fault(line int, format string, args ...any) error {
	return &Error{File: d.source, Line: line, Text: fmt.Sprintf(format, args...)}
}

// parse fills d from the bytes of its file. It checks everything that can be
// told from the file alone and reports the first fault in the file's order.
func (d *document) parse(data []byte) error {
	if err := d.checkBytes(data); err != nil {
		return err
	}
	tree := tomlTree{text: data, inner: map[string]map[string]toml.Primitive{}}
	var err error
	if tree.md, err = toml.NewDecoder(bytes.NewReader(data)).Decode(&tree.top); err != nil {
		var pe toml.ParseError
		if errors.As(err, &pe) {
			return d.fault(pe.Position.Line, "not valid TOML: %s", clip(strings.TrimPrefix(pe.Message, "toml: ")))
		}
		return d.fault(0, "not valid TOML: %s", clip(err.Error()))
	}
	if err := d.checkKeys(tree.md.Keys()); err != nil {
		return err
	}
	for _, path := range tree.md.Keys() {
		if err := d.take(&tree, path); err != nil {
			return err
		}
	}
	return nil
}

// checkBytes refuses what the decoder should not be troubled with.
func (d *document) checkBytes(data []byte) error {
	line, open := 1, 0
	for text := range bytes.Lines(data) {
		if len(text) > maxLine {
			return d.fault(line, "the line is longer than %d bytes; break it up", maxLine)
		}
		if !utf8.Valid(text) {
			return d.fault(line, "not valid UTF-8; write the file as UTF-8")
		}
		// All opening brackets, in strings and comments too, but of lines that
		// surely close what they open: they bound the depth without a second
		// opinion on what is a string.
		if open += bracketed(text); open > maxOpen {
			return d.fault(line, "more than %d brackets; a profile needs few", maxOpen)
		}
		// A line that begins with # is a comment or inside a string, and no key.
		if !bytes.HasPrefix(bytes.TrimSpace(text), []byte("#")) && bytes.Count(text, []byte(".")) > maxDots {
			return d.fault(line, "the line has more than %d dots; break it up", maxDots)
		}
		line++
	}
	return nil
}

// flat is a line that heads a rule, or holds one list of plain values from its
// beginning to its end.
var flat = regexp.MustCompile(`^\s*(\[\[[\w. ]+\]\]|[\w.]+ *= *\[([^][{}"'#\\]|"[^][{}"\\]*"|'[^][{}']*')*\])\s*(#[^][{}]*)?$`)

// bracketed counts the opening brackets of a line that can make a value deeper.
func bracketed(line []byte) int {
	if flat.Match(line) && !bytes.Contains(line, []byte(`"""`)) && !bytes.Contains(line, []byte("'''")) {
		return 0
	}
	return bytes.Count(line, []byte("[")) + bytes.Count(line, []byte("{"))
}

// checkKeys bounds the keys of a file.
func (d *document) checkKeys(keys []toml.Key) error {
	if len(keys) > maxMore {
		return d.fault(0, "has %d keys; a profile has at most %d", len(keys), maxMore)
	}
	n := 0
	for _, k := range keys {
		if !isRule(k) {
			n++
		}
	}
	if n > maxKeys {
		return d.fault(0, "has %d keys besides rules; a profile has at most %d", n, maxKeys)
	}
	return nil
}

// isRule reports whether a key is of the list of rules, or in it.
func isRule(path toml.Key) bool { return len(path) > 1 && path[0] == "network" && path[1] == "rule" }

// take turns one key of the file into an assignment.
func (d *document) take(tree *tomlTree, path toml.Key) error {
	name := strings.Join(path, ".")
	if slices.ContainsFunc(path, func(part string) bool { return strings.Contains(part, ".") }) && !isVariable(path) {
		return d.fault(tree.line(path), "unknown key %s; write the parts of a key without quotes", clip(path.String()))
	}
	if isRule(path) {
		return d.takeRules(tree, path[:2])
	}
	if isTable(name) {
		if tree.md.Type(path...) != "Hash" {
			return d.fault(tree.line(path), "%s is a table; write [%s] and its keys below", name, name)
		}
		if row, known := keyNamed(name); known {
			d.renew(row, tree.lineOf(path))
		}
		return nil
	}
	value := tree.value(path)
	row, known := keyNamed(name)
	if isVariable(path) {
		row, known = keyNamed(strings.Join(path[:len(path)-1], "."))
		value = map[string]any{path[len(path)-1]: value}
		d.renew(row, tree.lineOf(path))
	}
	if !known {
		return d.fault(tree.line(path), "unknown key %s; %s", clip(path.String()), meantKey(name))
	}
	apply, err := row.parse(value)
	if err != nil {
		return d.fault(tree.line(path), "%s: %v", clip(path.String()), err)
	}
	if name == "extends" {
		d.extends = value.(string)
	}
	d.assignments = append(d.assignments, assignment{row, name, tree.lineOf(path), apply})
	return nil
}

// renew lets a file's table take the place of its parent's, if it does that, once.
func (d *document) renew(row *key, line func() int) {
	if row.replaces && !slices.ContainsFunc(d.assignments, func(a assignment) bool { return a.key == row }) {
		d.assignments = append(d.assignments, assignment{row, row.name, line, row.clear})
	}
}

// takeRules turns the list of rules into one assignment, when its first key
// comes.
func (d *document) takeRules(tree *tomlTree, path toml.Key) error {
	row, _ := keyNamed(networkRule.name)
	if slices.ContainsFunc(d.assignments, func(a assignment) bool { return a.key == row }) {
		return nil
	}
	value := tree.value(path)
	apply, err := row.parse(value)
	if f := (*ruleFault)(nil); errors.As(err, &f) {
		return d.fault(tree.ruleLine(path, value, f.rule, f.key), "%s: %v", row.name, f)
	}
	if err != nil {
		return d.fault(tree.line(path), "%s: %v", row.name, err)
	}
	d.assignments = append(d.assignments, assignment{row, row.name, tree.lineOf(path), func(p *Profile) {
		apply(p)
		rules := slices.Clone(p.Network.last().Rules)
		for i := range rules {
			rules[i].Origin = fmt.Sprintf("%s:%d", d.source, tree.ruleLine(path, value, i, ""))
		}
		p.Network.last().Rules = rules
	}})
	return nil
}

// isVariable reports whether path is a name in a table of variables.
func isVariable(path toml.Key) bool {
	row, known := keyNamed(strings.Join(path[:len(path)-1], "."))
	return known && row.table
}

// meantKey says which key somebody probably meant by an unknown one.
func meantKey(name string) string {
	known := make(map[string]bool)
	for _, k := range keys {
		known[k.name] = true
		if table, _, ok := strings.Cut(k.name, "."); ok {
			known[table] = true
		}
	}
	names := slices.Sorted(maps.Keys(known))
	name = clip(name)
	best := slices.MinFunc(names, func(a, b string) int { return cmp.Compare(distance(name, a), distance(name, b)) })
	if distance(name, best) <= max(2, len(best)/3) {
		return "did you mean " + best + "?"
	}
	// A right name in a wrong place: "memory" for limits.memory.
	last := name[strings.LastIndexByte(name, '.')+1:]
	for _, n := range names {
		if strings.HasSuffix(n, "."+last) {
			return "did you mean " + n + "?"
		}
	}
	return "see the profile reference for the keys there are"
}

// distance is how many letters must be inserted, deleted, replaced or swapped
// with their neighbour to make b of a (optimal string alignment).
func distance(a, b string) int {
	older, old := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range old {
		old[j] = j
	}
	for i := 1; i <= len(a); i++ {
		now := make([]int, len(b)+1)
		now[0] = i
		for j := 1; j <= len(b); j++ {
			change := old[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			now[j] = min(change, old[j]+1, now[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], older[j-2]+1)
			}
		}
		older, old = old, now
	}
	return old[len(b)]
}

// tomlTree is a decoded file with the places of its values, which the decoder
// gives only with an error.
type tomlTree struct {
	text  []byte
	lines [][]byte // of text, once they are needed
	heads []int    // places of lines that head a rule
	md    toml.MetaData
	top   map[string]toml.Primitive
	inner map[string]map[string]toml.Primitive // tables below, by dotted name
}

// at finds the value at path, or the nearest one above it that isn't a table.
func (t *tomlTree) at(path toml.Key) toml.Primitive {
	table := t.top
	for i, part := range path[:len(path)-1] {
		name := path[:i+1].String()
		inner, known := t.inner[name]
		if !known {
			if t.md.PrimitiveDecode(table[part], &inner) != nil {
				return table[part]
			}
			t.inner[name] = inner
		}
		table = inner
	}
	return table[path[len(path)-1]]
}

// value gives what the decoder made of the value at path.
func (t *tomlTree) value(path toml.Key) any {
	var v any
	if t.md.PrimitiveDecode(t.at(path), &v) != nil {
		return nil
	}
	return v
}

// line gives the line of the value at path.
func (t *tomlTree) line(path toml.Key) int {
	var pe toml.ParseError
	if errors.As(t.md.PrimitiveDecode(t.at(path), lineProbe{}), &pe) {
		return pe.Position.Line
	}
	return 0
}

// lineOf is line, for when it is needed.
func (t *tomlTree) lineOf(path toml.Key) func() int { return func() int { return t.line(path) } }

// ruleHead is how a rule of the list begins, and ruleEnd what ends it.
var (
	ruleHead = regexp.MustCompile(`^\s*\[\[\s*network\s*\.\s*rule\s*\]\]`)
	ruleEnd  = regexp.MustCompile(`^\s*\[`)
)

// ruleLine gives the line of the nth rule, or of a key in it. The decoder knows
// none of them apart, so they are looked for in the text; where what is found
// there can't be the list, it is the line of the whole.
func (t *tomlTree) ruleLine(path toml.Key, list any, nth int, key string) int {
	if t.lines == nil {
		t.lines = bytes.Split(t.text, []byte("\n"))
		for i, l := range t.lines {
			if ruleHead.Match(l) {
				t.heads = append(t.heads, i)
			}
		}
	}
	lines := t.lines
	tables, ok := list.([]map[string]any)
	if !ok || len(t.heads) != len(tables) {
		return t.line(path)
	}
	at := t.heads[nth]
	if key == "" {
		return at + 1
	}
	for i := at + 1; i < len(lines) && !ruleEnd.Match(lines[i]); i++ {
		name, _, found := bytes.Cut(lines[i], []byte("="))
		if name, _, _ := strings.Cut(string(name), "."); found && strings.Trim(name, " \t\"'") == key {
			return i + 1
		}
	}
	return at + 1
}

// lineProbe refuses every value, so that the decoder says where it stands.
type lineProbe struct{}

func (lineProbe) UnmarshalTOML(any) error { return errors.New("asked for its line") }

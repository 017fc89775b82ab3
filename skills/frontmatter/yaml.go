// SPDX-License-Identifier: Apache-2.0

package frontmatter

import (
	"errors"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// shape is what a value is.
type shape int

const (
	null shape = iota
	text
	list
	mapping
)

// value is one YAML value, unresolved.
type value struct {
	shape shape
	line  int // of SKILL.md
	text  string
	items []value // of a list
	pairs []pair  // of a mapping, in order
}

type pair struct {
	key   string
	line  int
	value value
}

// String says what the value is, for errors.
func (v value) String() string {
	switch v.shape {
	case text:
		return "the text " + show(v.text)
	case list:
		return "a list"
	case mapping:
		return "a mapping"
	}
	return "empty"
}

// show quotes the beginning of a foreign text.
func show(s string) string {
	const most = 60
	if len(s) > most {
		return strconv.Quote(s[:most]) + "..."
	}
	return strconv.Quote(s)
}

// printable is for messages of the YAML library, which quote the file at times.
func printable(s string) string {
	q := strconv.Quote(s[:min(len(s), 200)])
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

// lineOf gives the line of SKILL.md that a token is on: the block starts on its
// second line.
func lineOf(t *token.Token) int {
	if t == nil || t.Position == nil {
		return 0
	}
	return t.Position.Line + 1
}

// parseYAML reads the block between the two fences.
func parseYAML(block []byte) (value, error) {
	// The lexer counts a CR of a CRLF into some values.
	src := strings.ReplaceAll(string(block), "\r\n", "\n")
	tokens := lexer.Tokenize(src)
	if err := checkTokens(tokens); err != nil {
		return value{}, err
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey()) // converter refuses them, with a better error
	if err != nil {
		return value{}, syntaxError(err)
	}
	c := converter{}
	var root value
	for i, doc := range file.Docs {
		if i > 0 {
			return value{}, failf(lineOf(doc.Start), "there is a second YAML document; one is allowed")
		}
		if root, err = c.node(doc.Body, 0); err != nil {
			return value{}, err
		}
	}
	if root.shape != mapping {
		return value{}, failf(2, "the front matter is %s; it must be a mapping with name and description", root)
	}
	return root, nil
}

// syntaxError turns an error of the parser into one with our line, and without
// the piece of source that it would print.
func syntaxError(err error) error {
	var ye yaml.Error
	if !errors.As(err, &ye) {
		return failf(0, "the front matter is not YAML: %.200q", err.Error())
	}
	return failf(lineOf(ye.GetToken()), "the front matter is not YAML: %s", printable(ye.GetMessage()))
}

// refused are the tokens that no front matter needs and that make YAML
// dangerous or ambiguous.
var refused = map[token.Type]string{
	token.AnchorType:         "an anchor (&); write the value out, or quote the text",
	token.AliasType:          "an alias (*); write the value out, or quote the text",
	token.MergeKeyType:       "a merge key (<<); write the keys out",
	token.TagType:            "a tag (!); leave it out, or quote the text",
	token.DirectiveType:      "a directive (%); leave it out, or quote the text",
	token.DocumentHeaderType: "a second YAML document; one is allowed",
	token.DocumentEndType:    "a document end (...); leave it out",
}

// checkTokens bounds what the parser gets to see: it recurses, and keeps the
// path of every node.
func checkTokens(tokens token.Tokens) error {
	if len(tokens) > MaxTokens {
		return failf(lineOf(tokens[MaxTokens]), "the front matter has more than %d YAML tokens", MaxTokens)
	}
	flow := 0
	var columns []int // of the block collections that are open
	for i, t := range tokens {
		if what, bad := refused[t.Type]; bad {
			return failf(lineOf(t), "there is %s", what)
		}
		opener := t
		switch t.Type {
		case token.InvalidType:
			return failf(lineOf(t), "the front matter is not YAML: %s", printable(t.Error))
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow = max(0, flow-1)
		case token.MappingValueType:
			if i > 0 {
				opener = tokens[i-1]
			}
			fallthrough
		case token.SequenceEntryType, token.MappingKeyType:
			if flow > 0 {
				break
			}
			column := opener.Position.Column
			for len(columns) > 0 && columns[len(columns)-1] > column {
				columns = columns[:len(columns)-1]
			}
			if len(columns) == 0 || columns[len(columns)-1] < column {
				columns = append(columns, column)
			}
		}
		if flow+len(columns) > MaxDepth {
			return failf(lineOf(t), "the front matter is nested deeper than %d levels", MaxDepth)
		}
	}
	return nil
}

// converter makes values of syntax nodes and counts them.
type converter struct{ nodes int }

func (c *converter) count(line, depth int) error {
	if c.nodes++; c.nodes > MaxNodes {
		return failf(line, "the front matter has more than %d keys and values", MaxNodes)
	}
	if depth > MaxDepth {
		return failf(line, "the front matter is nested deeper than %d levels", MaxDepth)
	}
	return nil
}

func (c *converter) node(n ast.Node, depth int) (value, error) {
	if n == nil {
		return value{}, nil
	}
	v := value{line: lineOf(n.GetToken())}
	if err := c.count(v.line, depth); err != nil {
		return v, err
	}
	switch n := n.(type) {
	case *ast.NullNode:
		return v, nil
	case *ast.StringNode:
		v.shape, v.text = text, n.Value
	case *ast.LiteralNode:
		v.shape, v.text = text, n.Value.Value
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		v.shape, v.text = text, n.GetToken().Value
	case *ast.MappingNode:
		return c.mapping(v, n.Values, depth)
	case *ast.MappingValueNode:
		return c.mapping(v, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		v.shape = list
		for _, item := range n.Values {
			i, err := c.node(item, depth+1)
			if err != nil {
				return v, err
			}
			v.items = append(v.items, i)
		}
	default:
		return v, failf(v.line, "there is a YAML %s, which front matter may not have", n.Type())
	}
	return v, nil
}

func (c *converter) mapping(v value, pairs []*ast.MappingValueNode, depth int) (value, error) {
	v.shape = mapping
	seen := make(map[string]bool)
	for _, p := range pairs {
		var key ast.Node = p.Key
		if k, explicit := key.(*ast.MappingKeyNode); explicit {
			key = k.Value
		}
		k, err := c.node(key, depth+1)
		if err != nil {
			return v, err
		}
		if k.shape != text || len(k.text) > 256 {
			return v, failf(k.line, "a key is %s; it must be a short text", k)
		}
		if seen[k.text] {
			return v, failf(k.line, "the key %s is there twice", show(k.text))
		}
		seen[k.text] = true
		val, err := c.node(p.Value, depth+1)
		if err != nil {
			return v, err
		}
		v.pairs = append(v.pairs, pair{k.text, k.line, val})
	}
	return v, nil
}

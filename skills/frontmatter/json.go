// SPDX-License-Identifier: Apache-2.0

package frontmatter

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// parseJSON reads a mapping that stands as JSON in a text. Lines within it are
// not told apart: all of it is on the line of the text.
func parseJSON(src value) (value, error) {
	d := json.NewDecoder(strings.NewReader(src.text))
	d.UseNumber()
	c := converter{}
	v, err := c.json(d, src.line, 0)
	if err != nil {
		return v, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return v, failf(src.line, "something follows the JSON value")
	}
	return v, nil
}

func (c *converter) json(d *json.Decoder, line, depth int) (value, error) {
	v := value{line: line}
	if err := c.count(line, depth); err != nil {
		return v, err
	}
	t, err := d.Token()
	if err != nil {
		return v, failf(line, "the text is not JSON: %s", printable(err.Error()))
	}
	switch t := t.(type) {
	case string:
		v.shape, v.text = text, t
	case json.Number:
		v.shape, v.text = text, t.String()
	case bool:
		v.shape, v.text = text, map[bool]string{true: "true", false: "false"}[t]
	case json.Delim:
		if t == '[' {
			return c.jsonList(v, d, depth)
		}
		return c.jsonMapping(v, d, depth)
	}
	return v, nil
}

func (c *converter) jsonList(v value, d *json.Decoder, depth int) (value, error) {
	v.shape = list
	for d.More() {
		item, err := c.json(d, v.line, depth+1)
		if err != nil {
			return v, err
		}
		v.items = append(v.items, item)
	}
	return v, c.jsonEnd(v, d)
}

func (c *converter) jsonMapping(v value, d *json.Decoder, depth int) (value, error) {
	v.shape = mapping
	seen := make(map[string]bool)
	for d.More() {
		key, err := c.json(d, v.line, depth+1)
		if err != nil {
			return v, err
		}
		if seen[key.text] {
			return v, failf(v.line, "the key %s is there twice", show(key.text))
		}
		seen[key.text] = true
		val, err := c.json(d, v.line, depth+1)
		if err != nil {
			return v, err
		}
		v.pairs = append(v.pairs, pair{key.text, v.line, val})
	}
	return v, c.jsonEnd(v, d)
}

// jsonEnd takes the closing bracket, which Decoder.Token matches itself.
func (c *converter) jsonEnd(v value, d *json.Decoder) error {
	if _, err := d.Token(); err != nil {
		return failf(v.line, "the text is not JSON: %s", printable(err.Error()))
	}
	return nil
}
